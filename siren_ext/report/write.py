"""Writes a report: one self-contained HTML page, and the same as JSON."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from siren_ext.files import atomic, write_json
from siren_ext.keys.signing import Signer
from siren_ext.report.integrity import HTML, JSON, write_seal
from siren_ext.report.learnt import NAME as LEARNT
from siren_ext.report.learnt import StoredLikeness, tints_shown
from siren_ext.report.pictures import AMPLIFICATION, coating_shown, galleries_of
from siren_ext.report.pictures import CoatEvidence as CoatEvidence
from siren_ext.report.redaction import clean as clean
from siren_ext.report.redaction import pretty
from siren_ext.report.template import render
from siren_ext.scoring.decoys import SOURCE
from siren_ext.scoring.score_set import BASE, FIELD, TINT, ScoreSet
from siren_ext.stats.keyed import KeyedResult
from siren_ext.stats.sequential import SequentialResult, sequential_ks
from siren_ext.verdict.decoys import ways
from siren_ext.verdict.pools import distinct_scores
from siren_ext.verdict.verify import Verdict
from siren_ext.verdict.wording import NAMES, PREFERENCE_QUESTION, QUESTIONS

FORMAT = "siren_ext.report"
FORMAT_VERSION = 1

_ROWS = 300
PATH_LIMIT = 400_000
"""Most images times scores for which the sequential test is run; takes seconds."""
_PACKAGES = ("siren-ext", "torch", "numpy", "scipy", "pillow", "diffusers", "transformers", "peft")


@dataclass(frozen=True)
class ReportPaths:
    """Paths of a report's files.

    Attributes
    ----------
    html, json : Path
        The page, and the same as JSON.
    seal : Path | None
        Hashes of both files, to find changes; see :mod:`siren_ext.report.integrity`.
    """

    html: Path
    json: Path
    seal: Path | None = None


def write_report(
    verdict: Verdict,
    suspect: ScoreSet,
    reference: ScoreSet | None,
    out: Path,
    *,
    coated: CoatEvidence | None = None,
    mimicries: Sequence[Path] = (),
    reference_mimicries: Sequence[Path] = (),
    innocents: Sequence[ScoreSet] = (),
    learnt: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
    signer: Signer | None = None,
) -> ReportPaths:
    """Write ``report.html``, ``report.json`` and ``report.seal.json``.

    The page needs no network, script or other file. Folders of this machine, passwords and the
    images' features are removed: a guilty model's features would reveal the secret message.

    Parameters
    ----------
    verdict : Verdict
        The verdict on ``suspect``.
    suspect, reference : ScoreSet
        The scores behind it.
    out : Path
        Folder for the files.
    coated : CoatEvidence | None
        Pairs of originals and coated files; up to 24 are measured and 4 shown.
    mimicries, reference_mimicries : Sequence[Path]
        The scored images; those with the lowest and highest scores are shown.
    innocents : Sequence[ScoreSet]
        The scores behind the rank among innocent models.
    learnt : dict[str, Any] | None
        Of :func:`siren_ext.report.learnt.stored_likeness`, for a model's file.
    extra : dict[str, Any] | None
        Further settings to record; plain values.
    signer : Signer | None
        Signs the seal.

    Returns
    -------
    ReportPaths
        The written files.

    Raises
    ------
    OSError
        The folder can't be written.
    """
    quality, shown, notes = coating_shown(coated)
    data = {
        **_head(extra or {}),
        "quality": quality,
        "notes": notes,
        "verdict": clean(verdict.to_dict()),
        "suspect": clean(stored(suspect)),
        "reference": clean(stored(reference)) if reference else None,
        "innocents": [clean(stored(pool)) for pool in innocents],
    }
    data |= {} if learnt is None else {LEARNT: learnt}
    out = Path(out)
    write_json(out / JSON, data)
    galleries = galleries_of("Suspect", suspect, mimicries)
    if reference is not None:
        galleries += galleries_of("Reference", reference, reference_mimicries)
    page = render_page(verdict, data, suspect, reference, galleries=galleries, pairs=shown)
    with atomic(out / HTML) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return ReportPaths(out / HTML, out / JSON, write_seal(out, signer))


def render_page(
    verdict: Verdict,
    data: dict[str, Any],
    suspect: ScoreSet,
    reference: ScoreSet | None,
    *,
    galleries: Sequence[dict[str, Any]],
    pairs: Sequence[dict[str, Any]],
    tints: Sequence[str] = (),
) -> str:
    """The page of a report; the same arguments give the same page.

    Parameters
    ----------
    verdict : Verdict
        The verdict.
    data : dict[str, Any]
        The contents of ``report.json``.
    suspect, reference : ScoreSet
        The scores behind the verdict.
    galleries : Sequence[dict[str, Any]]
        Pictures of models, see :func:`siren_ext.report.pictures.galleries_of`.
    pairs : Sequence[dict[str, Any]]
        Pictures of the coating, see :func:`siren_ext.report.pictures.coating_shown`.
    tints : Sequence[str]
        Pictures of the learnt tint, if they are there already.

    Returns
    -------
    str
        HTML.
    """
    return render(
        "report.html",
        verdict=verdict,
        results=dict.fromkeys(NAMES) | {one.test: one.result for one in verdict.findings},
        names=NAMES,
        questions=QUESTIONS | ({"keyed": PREFERENCE_QUESTION} if suspect.preference else {}),
        preference=suspect.preference,
        learnt=tints_shown(StoredLikeness(**data[LEARNT]) if LEARNT in data else None, tints),
        ways=ways(suspect) if any(one.test == "decoys" for one in verdict.findings) else [],
        charts=_charts(verdict, suspect, reference),
        pairs=pairs,
        amplification=AMPLIFICATION,
        coater_name=data["quality"]["coater"] if data["quality"] else "",
        galleries=galleries,
        pools=_pools(data),
        extra_text=pretty(data["extra"]) if data["extra"] else "",
        **{key: data[key] for key in ("created", "environment", "quality", "notes")},
    )


def _head(extra: dict[str, Any]) -> dict[str, Any]:
    """The first fields of a report."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "environment": environment(),
        "extra": clean(extra),
    }


def stored(pool: ScoreSet) -> dict[str, Any]:
    """Scores as stored in a report: without features, field and tint, which reveal the message.

    Parameters
    ----------
    pool : ScoreSet
        The scores.

    Returns
    -------
    dict[str, Any]
        Plain values.
    """
    secret = (FIELD, TINT, BASE)
    source = {name: value for name, value in pool.source.items() if name not in secret}
    return replace(pool, features=None, control=None, source=source).to_dict()


def environment() -> dict[str, str]:
    """Versions that scores depend on.

    Returns
    -------
    dict[str, str]
        Python, the operating system and packages.
    """
    found = {
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            module = sys.modules.get(name)
            if module is not None:
                found[name] = str(getattr(module, "__version__", "unknown"))
    return found


def _pools(data: dict[str, Any]) -> list[dict[str, Any]]:
    """What the page shows of every pool."""
    rows = {"Suspect": data["suspect"], "Reference": data["reference"]}
    innocents = enumerate(data["innocents"], start=1)
    rows |= {f"Innocent model {index}": pool for index, pool in innocents}
    return [_pool(title, pool) for title, pool in rows.items() if pool]


def _pool(title: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": title,
        "count": len(data["images"]),
        "rows": data["images"][:_ROWS],
        "failures": data["failures"][:_ROWS],
        "source": pretty(_shown(data["source"])),
    }


def _shown(source: dict[str, Any]) -> dict[str, Any]:
    """How the images were made, without the scores by decoys, which fill pages."""
    if SOURCE not in source:
        return source
    return source | {SOURCE: f"scores by {len(source[SOURCE]['decoys'])} decoys, in {JSON}"}


def _charts(
    verdict: Verdict, suspect: ScoreSet, reference: ScoreSet | None
) -> dict[str, list[tuple[str, Any]]]:
    from markupsafe import Markup

    from siren_ext.report.charts import decoys_svg, distributions_svg, histogram_svg, path_svg

    keyed: dict[str, str] = {}
    compared: dict[str, str] = {}
    for finding in verdict.findings:
        if isinstance(finding.result, KeyedResult):
            by = ", by the sum of bits" if finding.whole else ""
            keyed[f"The secret message among random ones{by}"] = decoys_svg(finding.result)
    if reference is not None and verdict.compared is not None:
        pools = distinct_scores(suspect), distinct_scores(reference)
        compared["Scores of the images"] = histogram_svg(*pools)
        compared["How the scores add up"] = distributions_svg(*pools, verdict.compared)
        path = _ks_path(verdict, suspect, reference)
        if path is not None:
            compared["Evidence image by image"] = path_svg(path)
    parts = {"keyed": keyed, "ks": compared}
    return {
        name: [(title, Markup(svg)) for title, svg in svgs.items()] for name, svgs in parts.items()
    }


def _ks_path(verdict: Verdict, suspect: ScoreSet, reference: ScoreSet) -> SequentialResult | None:
    """The sequential test in the order of the images; None if it would take too long."""
    first, second = distinct_scores(suspect), distinct_scores(reference)
    if verdict.config.two_sided or len(first) * (len(first) + len(second)) > PATH_LIMIT:
        return None
    return sequential_ks(first, second, alpha=verdict.alpha)
