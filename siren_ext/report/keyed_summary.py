"""Reads the keyed verdict from a report, to state it beside other evidence."""

from __future__ import annotations

from pathlib import Path

from siren_ext.documents import read_json
from siren_ext.errors import EvidenceError
from siren_ext.files import is_folder, is_present, sha256_file
from siren_ext.passive.judge import KeyedEvidence
from siren_ext.report.check import check_report
from siren_ext.report.integrity import JSON
from siren_ext.report.passive_check import is_passive
from siren_ext.report.stored import StoredReport
from siren_ext.schema import convert


def keyed_summary(path: Path) -> KeyedEvidence:
    """The keyed verdict of a report.

    Parameters
    ----------
    path : Path
        The report's folder, or a file in it.

    Returns
    -------
    KeyedEvidence
        Outcome, p and accepted risk.

    Raises
    ------
    EvidenceError
        There is no report, something in it was changed, or it has no keyed test.
    """
    path = Path(path)
    if not is_present(path):
        raise EvidenceError(
            f"There is no report at {path}; expected the folder of a report of "
            "'siren-ext verify --key', or a file in it."
        )
    folder = path if is_folder(path) else path.parent
    found = check_report(folder)
    data = read_json(folder / JSON, error=EvidenceError)
    if is_passive(data):
        raise EvidenceError(
            f"{folder} is a report on images that were never coated; expected one of the keyed "
            "test ('siren-ext verify --key')."
        )
    if not found.sound:
        wrong = ", ".join(point.name for point in found.points if point.state == "differs")
        raise EvidenceError(
            f"The report in {folder} is not consistent ({wrong}); make it again with "
            "'siren-ext verify --key'."
        )
    verdict = convert(data, StoredReport, name=JSON, error=EvidenceError).verdict
    keyed = next((finding for finding in verdict.findings if finding.test == "keyed"), None)
    if keyed is None:
        raise EvidenceError(
            f"The report in {folder} has no keyed test; expected one that was made with "
            "'siren-ext verify --key'."
        )
    digest = sha256_file(folder / JSON)
    return KeyedEvidence(keyed.outcome, keyed.p_value, verdict.alpha, digest)
