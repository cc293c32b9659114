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
        Whether the record is the one that the report names, and whether every coin and published
        file are those of the record.
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
    known = {(printable(one.name), one.published): one.coin for one in record.images}
    rows = list(zip(own.names, own.hashes, strict=True))
    if not isinstance(coins, list) or coins != [known.get(row) for row in rows]:
        return CheckPoint(_NAME, "differs", "The coins or files are not those of the record")
    text = f"{len(rows)} coins are those of the record and follow from its secret"
    return CheckPoint(_NAME, "matches", text)
