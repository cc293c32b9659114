"""Checks what a report says about when its key was chosen and how often it was tested."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.errors import EvidenceError
from siren_ext.evidence.chain import ChainFiles, check_chain
from siren_ext.evidence.ledger import price_of, read_ledger, suspect_digest
from siren_ext.evidence.precedence import Precedence
from siren_ext.report.points import CheckPoint
from siren_ext.report.stored import StoredReport
from siren_ext.report.twins_check import coins_point
from siren_ext.scoring.decoys import decoys_of
from siren_ext.scoring.score_set import ScoreSet

if TYPE_CHECKING:
    from siren_ext.keys.derived import KeySalt

_FIELDS = {"created": "its date", "sha256": "its hash"}


@dataclass(frozen=True)
class ChainEvidence:
    """What the checking person has besides the report; None for what they have not.

    Attributes
    ----------
    files : ChainFiles | None
        The commitment and what belongs to it.
    salt : KeySalt | None
        Of a derived key.
    ledger : Path | None
        Of the key file, or of the commitment to a coater without a key.
    twins : Path | None
        The folder of the twins, or their record.
    """

    files: ChainFiles | None = None
    salt: KeySalt | None = None
    ledger: Path | None = None
    twins: Path | None = None


def chain_points(report: StoredReport, own: ScoreSet, given: ChainEvidence) -> list[CheckPoint]:
    """Check commitment, time stamp, price and number of tests.

    Parameters
    ----------
    report : StoredReport
        The report.
    own : ScoreSet
        Its suspect's scores.
    given : ChainEvidence
        What there is to check it with.

    Returns
    -------
    list[CheckPoint]
        One for the commitment, if the report claims one or one is given; for a keyed test, a rank
        among decoys and twins also one for the number of tests, and for twins one for their coins.
    """
    keys = [one.committed_as for one in report.verdict.findings if one.test == "keyed"]
    stated = report.verdict.commitment
    points = []
    if given.files is not None:
        points.append(_commitment_point(stated, own, keys, given, given.files))
    elif stated.created or keys:
        what = "No commitment was given to check it with"
        points.append(CheckPoint("commitment", "not checked", what))
    if own.twins:
        points.append(coins_point(own, given.twins))
    if keys or (stated.created and (own.twins or decoys_of(own) is not None)):
        tested = "key" if keys else "commitment" if own.twins else "coater"
        points.append(_tests_point(report, own, given.ledger, tested))
    return points


def _commitment_point(
    stated: Precedence,
    own: ScoreSet,
    keys: list[str],
    given: ChainEvidence,
    files: ChainFiles,
) -> CheckPoint:
    name = "commitment"
    try:
        found = check_chain(
            files,
            coater=own.coater,
            keys=keys,
            salt=given.salt,
            source=own.source,
            images=len(own) + len(own.failures),
            hashes=own.hashes,
        )
    except EvidenceError as error:
        return CheckPoint(name, "differs", str(error)[:400])
    if found.status == "does not fit":
        return CheckPoint(name, "differs", found.text)
    wrong = []
    if stated.created:  # whoever checks may know more or less than the report's writer
        wrong += [
            words
            for field, words in _FIELDS.items()
            if getattr(stated, field) != getattr(found, field)
        ]
    if stated.stamped and found.stamped and stated.stamped != found.stamped:
        wrong.append("the time of its time stamp")
    if stated.status == "committed before" and found.status == "no commitment":
        return CheckPoint(name, "not checked", found.text)
    if max(stated.keys, 1) < found.keys:
        wrong.append(f"the number of keys, which is {found.keys:,}")
    if wrong:
        text = f"The report states otherwise than the commitment: {', '.join(wrong)}"
        return CheckPoint(name, "differs", text)
    if found.unchecked:
        return CheckPoint(name, "not checked", f"{found.text} Open: {'; '.join(found.unchecked)}")
    return CheckPoint(name, "matches", found.text)


def _tests_point(
    report: StoredReport, own: ScoreSet, ledger: Path | None, tested: str
) -> CheckPoint:
    """Whether p was multiplied by what the keys and the number of tests ask for."""
    name, stated = "number of tests", report.verdict.commitment
    price, number = report.config().price, stated.number
    due = (1 if own.twins else max(stated.keys, 1)) * (price_of(number) if number else 1)
    if price < due:
        text = f"p was multiplied by {price:,}; keys and tests ask for {due:,}"
        return CheckPoint(name, "differs", text)
    if not number:
        text = f"No ledger was kept, so how often the {tested} was tested is not known"
        return CheckPoint(name, "not checked", text)
    if ledger is None:
        text = f"The report calls itself test {number}, for which p was multiplied by {price:,}"
        return CheckPoint(name, "not checked", f"{text}; no ledger was given to check it with")
    try:
        entries, fault = read_ledger(ledger)
    except EvidenceError as error:
        return CheckPoint(name, "differs", str(error)[:300])
    suspect = suspect_digest(own)
    known = {one.number for one in entries if one.suspect == suspect}
    if fault or number not in known:
        text = fault or f"The ledger has no test {number} of these pictures"
        return CheckPoint(name, "differs", text)
    return CheckPoint(name, "matches", f"It is test {number}, and p was multiplied by {price:,}")
