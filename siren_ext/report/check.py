"""Checks somebody's report: changed files, the signature, and the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siren_ext.documents import read_json
from siren_ext.errors import ConfigError, EvidenceError, ImageError, ScoreError
from siren_ext.files import sha256_file
from siren_ext.formats import require_format
from siren_ext.report.chain_check import ChainEvidence, chain_points
from siren_ext.report.earlier import (
    as_before,
    decided_before,
    mirrored_before,
    worded_before,
)
from siren_ext.report.integrity import JSON, Seal, changed_fields, field_digests, read_seal
from siren_ext.report.keyed_before import as_today, keyed_before
from siren_ext.report.keyed_check import stored_keyed
from siren_ext.report.ks_check import restored_ks, takes_long
from siren_ext.report.learnt import likeness_points
from siren_ext.report.opening_check import OpeningEvidence, opening_points
from siren_ext.report.page_check import page_point
from siren_ext.report.passive_check import is_passive, passive_hashes, passive_points
from siren_ext.report.points import CheckPoint as CheckPoint
from siren_ext.report.points import ReportCheck as ReportCheck
from siren_ext.report.points import State, differences, point_of
from siren_ext.report.stored import ADVICE, StoredReport
from siren_ext.report.verdict_check import by_todays_rules, checked_verdict, copies_points
from siren_ext.schema import convert
from siren_ext.scoring.decoys import decoys_of
from siren_ext.scoring.score_set import CENTRED, ScoreSet, require_same_coater
from siren_ext.text import printable
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.decoys import decoys_finding
from siren_ext.verdict.findings import Finding, keyed_finding, rank_finding
from siren_ext.verdict.models import compared_models
from siren_ext.verdict.same_models import require_different_models
from siren_ext.verdict.twins import twins_finding
from siren_ext.verdict.verify import Verdict, conclude
from siren_ext.verdict.whole import coater_missing

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

_SHOWN = 8
DECOYS_AGAIN = (
    "that the decoys were made like the coater, and that the scores are theirs, can be shown only "
    "by making them and scoring the images again ('siren-ext decoys', 'siren-ext score --decoys')"
)
CENTRED_BY = (
    "that the pictures by which the features were centred carry no coating can be shown only by "
    "looking at them and scoring them again ('siren-ext score --centre')"
)
_NO_KEY = (
    "p follows from the statistic T and the strengths in the report; whether T belongs to the "
    "secret message can be checked only with the key and the suspect's scores"
)
_NO_KEY_WHOLE = (
    "the p that decides, of whole changes and bits together, can be checked only with the key, the "
    "measurement and the coater; p of the bits alone follows from T and the strengths"
)
_NO_COATER = (
    "the p that decides, of whole changes and bits together, can be checked only with the coater "
    "(--coater)"
)
_WITH_KEY = "T and p follow from the key and the features"
_WITH_COATER = "T and p follow from the key, the measurement and the coater"
_NO_FEATURES = (
    "p by the distance to the message's centre can be recomputed only with the key and the "
    "features of both models, which are not in the report"
)
_TOO_MANY = (
    "recomputing the exact p of so many images would take too long; the stated p agrees with the "
    "approximation for large samples"
)


def check_report(
    path: Path,
    *,
    public: str = "",
    key: CoatingKey | None = None,
    suspect: ScoreSet | None = None,
    images: Sequence[Path] = (),
    coater: Coater | None = None,
    chain: ChainEvidence | None = None,
    opening: OpeningEvidence | None = None,
) -> ReportCheck:
    """Compare a report's files with its seal, and its verdict with what its scores give.

    A consistent report may still be made up. The signature shows who wrote it, and only scoring
    the images again can show that the scores are theirs.

    Parameters
    ----------
    path : Path
        The report's folder, or a file in it.
    public : str
        The expected signer's public key; "" for any.
    key : CoatingKey | None
        The owner's secret. Needed to recompute the statistic of a keyed test.
    suspect : ScoreSet | None
        The suspect's scores with features, also needed for that. They are not in the report,
        because they would reveal the message.
    images : Sequence[Path]
        Image files; their hashes are compared with those of the scored images.
    coater : Coater | None
        The coater, also needed for the measurement of a model's file; None for a bundled one.
    chain : ChainEvidence | None
        Commitment, time stamp and ledger, to check what the report says of them.
    opening : OpeningEvidence | None
        Some bits of the key, to repeat the keyed test with these alone.

    Returns
    -------
    ReportCheck
        What matches, what differs and what could not be checked.

    Raises
    ------
    EvidenceError
        There is no report, or it can't be read.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    if not (folder / JSON).is_file():
        missing = f"{JSON} in {folder}" if Path(path).exists() else f"file or folder {path}"
        raise EvidenceError(f"There is no {missing}. Name the folder of a report, or a file in it.")
    data = read_json(folder / JSON, error=EvidenceError, advice=ADVICE)
    if is_passive(data):
        return _passive(folder, data, public, images)
    require_format(data, StoredReport, name=JSON, error=EvidenceError, advice=ADVICE)
    seal = read_seal(folder)
    points = [_bytes_point(folder, seal, data), _signature_point(seal, public)]
    try:
        report = convert(data, StoredReport, name=JSON, error=EvidenceError)
        pools = report.config(), *report.pools()
        decoys_of(pools[1])  # malformed ones are an error wherever they are used
    except (EvidenceError, ConfigError, ScoreError) as error:
        text = f"The figures can't be recomputed: {error}"
        points.append(CheckPoint("figures", "differs", text))
        return ReportCheck(tuple(points))
    figures, verdict = _figure_points(report, data["verdict"], pools, key, suspect, coater)
    points += [*figures, *likeness_points(report.learnt_tint, suspect, coater, key)]
    if verdict is None or not ReportCheck(tuple(figures)).sound:
        points.append(CheckPoint("page", "not checked", "Its figures differ, see above"))
    else:
        page = page_point(folder, data, verdict, *pools[1:3], tint=report.learnt_tint)
        points.append(page)
    points += chain_points(report, pools[1], chain or ChainEvidence())
    if opening is not None:
        files = chain.files if chain else None
        points += opening_points(folder, report, opening, files, suspect)
    if images:
        points.append(_images_point(_scored_hashes(report), images))
    return ReportCheck(tuple(points))


def _passive(folder: Path, data: Any, public: str, images: Sequence[Path]) -> ReportCheck:
    """Check a report on images that were never coated."""
    seal = read_seal(folder)
    points = [_bytes_point(folder, seal, data), _signature_point(seal, public)]
    points += passive_points(folder, data)
    if images:
        points.append(_images_point(passive_hashes(data), images))
    return ReportCheck(tuple(points))


def _bytes_point(folder: Path, seal: Seal | None, data: Any) -> CheckPoint:
    if seal is None:
        return CheckPoint("files", "not checked", "There is no seal, so changes can't be detected")
    changed = [
        name
        for name, digest in seal.files.items()
        if not (folder / name).is_file() or sha256_file(folder / name) != digest
    ]
    if not changed:
        return CheckPoint("files", "matches", f"{' and '.join(seal.files)} have not been changed")
    places = changed_fields(seal.fields, field_digests(data))
    text = f"{' and '.join(changed)}: changed since the report was sealed."
    if places:
        shown = ", ".join(printable(place[:200]) for place in places[:_SHOWN])
        more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        text += f" Changed in {JSON}: {shown}{more}."
    elif JSON in changed:
        text += f" In {JSON} no value has changed, only spelling or spacing."
    return CheckPoint("files", "differs", text)


def _signature_point(seal: Seal | None, public: str) -> CheckPoint:
    if seal is None or seal.valid is None:
        state: State = "differs" if public else "not checked"
        why = "The report is not signed, so anybody could have written it and its seal"
        return CheckPoint("signature", state, why)
    if not seal.valid:
        return CheckPoint(
            "signature", "differs", "The signature does not fit the seal: the seal was changed."
        )
    if public and public != seal.public:
        text = f"Signed by {seal.public}, not by the expected {public}."
        return CheckPoint("signature", "differs", text)
    if not public:
        text = (
            f"Signed by a key you have not named, {seal.public}. Get the signer's public key from "
            "the signer and name it with --signer."
        )
        return CheckPoint("signature", "not checked", text)
    return CheckPoint("signature", "matches", f"signed by the holder of {seal.public}")


def _figure_points(
    report: StoredReport,
    stated: Mapping[str, Any],
    pools: tuple[VerifyConfig, ScoreSet, ScoreSet | None, list[ScoreSet]],
    key: CoatingKey | None,
    suspect: ScoreSet | None,
    coater: Coater | None,
) -> tuple[list[CheckPoint], Verdict | None]:
    """Compare the verdict as it was read, ``stated``, with what the scores give."""
    config, own, reference, innocents = pools
    kept = {finding.test: finding for finding in report.verdict.findings}
    as_read = {finding["test"]: finding for finding in stated["findings"]}
    findings: list[Finding] = []
    points = []
    alike = [pool for pool in innocents if pool.coater == own.coater]
    points += mirrored_before(report.verdict.wording, [own, reference, *innocents], suspect)
    try:
        _require_comparable(report, *pools[1:])
        restored = stored_keyed(report, config)
        if restored is not None:
            if key is None or suspect is None or coater_missing(suspect, coater):
                findings.append(restored)
                text = _NO_KEY if restored.whole is None else _NO_KEY_WHOLE
                text = text if key is None or suspect is None else _NO_COATER
                points.append(CheckPoint("keyed statistic", "not checked", text))
            else:
                findings.append(_keyed(report, config, own, key, suspect, coater))
                wrong = differences(findings[0].to_dict(), as_read["keyed"], "keyed finding")
                text = _WITH_KEY if restored.whole is None else _WITH_COATER
                points.append(point_of("keyed statistic", wrong, text))
            if CENTRED in own.source:
                points.append(CheckPoint("centring", "not checked", CENTRED_BY))
        if own.twins:
            findings.append(twins_finding(own, config.alpha, price=config.price))
        if decoys_of(own) is not None:
            findings.append(decoys_finding(own, config.alpha, price=config.price))
            points.append(CheckPoint("decoys", "not checked", DECOYS_AGAIN))
        if "rank" in kept or alike:
            findings.append(rank_finding(own, alike, config.alpha))
        if reference is not None:
            findings += compared_models(own, reference, config.alpha)
            findings.append(restored_ks(kept.get("ks"), own, reference, config))
            if findings[-1].by_message is not None:
                points.append(CheckPoint("message's centre", "not checked", _NO_FEATURES))
            if takes_long(config, own, reference):
                points.append(CheckPoint("exact p", "not checked", _TOO_MANY))
        concluded = partial(
            conclude,
            own,
            reference,
            innocents,
            config=config,
            precedence=report.verdict.commitment,
            withheld=report.verdict.withheld,
        )
        verdict = today = concluded(as_today(findings, config))
        if worded_before(report.verdict.wording):
            findings = [as_before(finding, own, reference, config.alpha) for finding in findings]
            verdict = concluded(findings, deciding=decided_before(findings))
    except (EvidenceError, ScoreError) as error:
        return [*points, CheckPoint("figures", "differs", str(error)[:300])], None
    now = verdict.to_dict()
    has, allowed = ([one.test for one in made] for made in (report.verdict.findings, findings))
    wrong = [
        f"findings: the report has {', '.join(has)}, the scores allow {', '.join(allowed)}"
    ] * (sorted(has) != sorted(allowed))
    for one in findings:
        stated_one = {name: as_read.get(one.test, {}).get(name) for name in one.to_dict()}
        wrong += differences(one.to_dict(), stated_one, f"{one.test} finding")
    wrong += differences(now["finding"], stated.get("finding"), "verdict.finding")
    points += copies_points(stated, now)
    figures = "p and every other figure follow from the scores in the report"
    if any(one.whole is not None for one in findings):
        figures = "every figure but p of whole changes follows from the scores in the report"
    points.append(point_of("figures", wrong, figures))
    verdict, point = checked_verdict(report, stated, verdict, own, reference)
    points.append(by_todays_rules(report, stated["outcome"], today, point))
    return points, verdict


def _require_comparable(
    report: StoredReport, own: ScoreSet, reference: ScoreSet | None, innocents: list[ScoreSet]
) -> None:
    """Refuse comparisons that are refused before a report is written."""
    if reference is not None:
        require_same_coater(own, reference)
    if not worded_before(report.verdict.wording):
        require_different_models(innocents, "innocent model")


def _keyed(
    report: StoredReport,
    config: VerifyConfig,
    own: ScoreSet,
    key: CoatingKey,
    suspect: ScoreSet,
    coater: Coater | None,
) -> Finding:
    """The keyed finding, recomputed with the secret."""
    if not _same_images(own, suspect):
        raise EvidenceError(
            "The given scores are not those of the report's suspect images. Use the scores that "
            "the report was made from."
        )
    tested = next(one.committed_as for one in report.verdict.findings if one.test == "keyed")
    if tested and tested != key.fingerprint():
        raise EvidenceError(
            f"The given key has the fingerprint {key.fingerprint()[:12]}…, but the report tested "
            f"the one with {tested[:12]}…. Use that key; of a file with several, name its "
            "--recipient."
        )
    if worded_before(report.verdict.wording):
        return keyed_before(suspect, key, report.verdict.settings, config.alpha)
    return keyed_finding(suspect, key, config.alpha, price=config.price, coater=coater)


def _scored_hashes(report: StoredReport) -> list[str]:
    pools = [report.suspect, *report.innocents]
    if report.reference is not None:
        pools.append(report.reference)
    return [image.sha256 for pool in pools for image in pool.images]


def _images_point(scored: Sequence[str], images: Sequence[Path]) -> CheckPoint:
    hashes, total = set(scored), len(scored)
    found, changed = 0, []
    try:
        for path in images:
            if sha256_file(path) in hashes:
                found += 1
            else:
                changed.append(printable(path.name))
    except (ImageError, OSError) as error:
        raise EvidenceError(f"An image can't be read: {str(error)[:200]}") from error
    if changed:
        shown = ", ".join(changed[:_SHOWN]) + (", \u2026" if len(changed) > _SHOWN else "")
        text = f"{len(changed)} of {len(images)} files are not among the scored images: {shown}"
        return CheckPoint("images", "differs", text)
    return CheckPoint("images", "matches", f"{found} files are among the {total} scored images")


def _same_images(first: ScoreSet, second: ScoreSet) -> bool:
    return (first.coater, first.hashes) == (second.coater, second.hashes) and bool(
        np.array_equal(first.scores, second.scores)
    )
