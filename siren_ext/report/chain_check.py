"""Checks what a report says about when its key was chosen and how often it was tested."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.errors import EvidenceError
from siren_ext.evidence.chain import ChainFiles, check_scores
from siren_ext.evidence.ledger import (
    line_hash,
    price_of,
    read_ledger,
    read_lines,
    suspect_digest,
)
from siren_ext.evidence.precedence import Precedence
from siren_ext.report.commitment_words import words_of
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
    points = [_commitment_point(report, own, keys, given)]
    if points[0].state != "differs" and not (given.files or stated.created or keys):
        points = []  # there is nothing to say
    if own.twins:
        points.append(coins_point(own, given.twins))
    elif given.twins is not None:
        text = "this report is not on twins, so their record was not used"
        points.append(CheckPoint("coins", "not checked", text))
    if keys or (stated.created and (own.twins or decoys_of(own) is not None)):
        tested = "key" if keys else "commitment" if own.twins else "coater"
        points.append(_tests_point(report, own, given.ledger, tested))
    return points


def _commitment_point(
    report: StoredReport, own: ScoreSet, keys: list[str], given: ChainEvidence
) -> CheckPoint:
    name, stated, files = "commitment", report.verdict.commitment, given.files
    told = stated, report.verdict.wording, own, keys, files, given.salt
    try:
        misstated, left_open = words_of(*told)
        if files is None:
            return _without_files(misstated, left_open)
        found = check_scores(files, own, keys, given.salt)
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
    if wrong := list(dict.fromkeys([*wrong, *misstated])):
        text = f"The report states otherwise than the commitment: {', '.join(wrong)}"
        return CheckPoint(name, "differs", text)
    if left := [*found.unchecked, *left_open]:
        return CheckPoint(name, "not checked", f"{found.text} Open: {'; '.join(left)}")
    return CheckPoint(name, "matches", found.text)


def _without_files(misstated: list[str], left_open: list[str]) -> CheckPoint:
    """What can be said if there is no commitment at hand."""
    if misstated:
        text = f"The report names no commitment, and yet differs in: {', '.join(misstated)}"
        return CheckPoint("commitment", "differs", text)
    text = "No commitment was given to check it with"
    if left_open:
        text += f". Not checked either: {'; '.join(left_open)}"
    return CheckPoint("commitment", "not checked", text)


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
    if ledger is not None and (wrong := _against_ledger(own, ledger, stated)):
        return CheckPoint(name, "differs", wrong)
    if not number:
        kept = "No ledger was kept" if ledger is None else "The ledger lacks these pictures"
        text = f"{kept}, so how often the {tested} was tested is not known"
        return CheckPoint(name, "not checked", text)
    if ledger is None:
        text = f"The report calls itself test {number}, for which p was multiplied by {price:,}"
        return CheckPoint(name, "not checked", f"{text}; no ledger was given to check it with")
    return CheckPoint(name, "matches", f"It is test {number}, and p was multiplied by {price:,}")


def _against_ledger(own: ScoreSet, ledger: Path, stated: Precedence) -> str:
    """How the stated count differs from the ledger's, whatever is stated; "" if it does not."""
    number = stated.number
    try:
        lines = read_lines(ledger)
        entries, fault = read_ledger(ledger, lines)
    except EvidenceError as error:
        return str(error)[:300]
    names = {suspect_digest(own), suspect_digest(own, chosen=False)}
    known = {one.number for one in entries if one.suspect in names}
    if not fault and number and stated.ledger not in map(line_hash, lines):
        fault = (
            "The ledger lacks the line that was its last one when the report was written, so it "
            "was written anew since; ask for the ledger that the report was made with"
        )
    if fault or number in known:
        return fault
    if number:
        return f"The ledger has no test {number} of these pictures"
    if not known:
        return ""
    first = min(known)
    return (
        f"The report states no number, but the ledger has these pictures as test {first}, for "
        f"which p is multiplied by {price_of(first):,}"
    )
