"""Checks the coins of a report on twins against the record that was committed to."""

from __future__ import annotations

from pathlib import Path

from siren_ext.errors import EvidenceError
from siren_ext.files import sha256_file
from siren_ext.report.points import CheckPoint
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.text import printable

_NAME = "coins"


def coins_point(own: ScoreSet, twins: Path | None) -> CheckPoint:
    """Compare the coins of a report with those of the record of the twins.

    Parameters
    ----------
    own : ScoreSet
        The report's comparison of twins.
    twins : Path | None
        The folder of the twins, or their record; None if it is not at hand.

    Returns
    -------
    CheckPoint
        Whether the record is the one that the report names, and whether the coins and published
        files are those of the record from its first image on, with none left out between.
    """
    from siren_ext.coating.twins import TwinsRecord, record_path

    if twins is None:
        text = "No record of the twins was given, to check that the coins are those of the record"
        return CheckPoint(_NAME, "not checked", text)
    try:
        record = TwinsRecord.load(twins)
    except EvidenceError as error:
        return CheckPoint(_NAME, "differs", str(error)[:400])
    if sha256_file(record_path(twins)) != own.source.get("record_sha256"):
        return CheckPoint(_NAME, "differs", "This is not the record that the report names")
    coins = own.source.get("coins")
    used = record.images[: len(own)]
    rows = list(zip(own.names, own.hashes, strict=True))
    fits = rows == [(printable(one.name), one.published) for one in used]
    if not fits or coins != [one.coin for one in used]:
        text = (
            f"The {len(rows)} images or their coins are not the first {len(rows)} of the record, "
            "in its order; expected these, as nobody may choose among them"
        )
        return CheckPoint(_NAME, "differs", text)
    text = f"{len(rows)} coins are those of the record and follow from its secret"
    if left := len(record.images) - len(rows):
        text += f"; the last {left} of the record were not compared"
    return CheckPoint(_NAME, "matches", text)
