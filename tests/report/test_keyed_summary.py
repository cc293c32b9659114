"""The keyed verdict of a report, as it is stated beside other evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence_samples import known_key
from support.passive_reports import written
from support.reports import edit, resealed
from support.score_sets import drawn

from siren_ext.errors import EvidenceError
from siren_ext.files import sha256_file
from siren_ext.report.keyed_summary import keyed_summary
from siren_ext.report.write import write_report
from siren_ext.verdict.verify import verify

KEY = known_key()


def report(folder: Path, *, keyed: bool = True) -> float:
    """A report, keyed or against a reference; returns p."""
    suspect, reference = drawn(0.0, 60, lean=KEY.signs()), drawn(1.0, 120, seed=2, start=500)
    verdict = verify(suspect, None if keyed else reference, key=KEY if keyed else None)
    write_report(verdict, suspect, None if keyed else reference, folder)
    return verdict.deciding.p_value


def test_the_verdict_is_that_of_the_report(tmp_path: Path) -> None:
    p = report(tmp_path)
    found = keyed_summary(tmp_path / "report.html")
    assert found.outcome == "coating found"
    assert (found.p_value, found.alpha) == (p, 1e-6)
    assert found.report_sha256 == sha256_file(tmp_path / "report.json")
    assert keyed_summary(tmp_path) == found


def test_changed_reports_and_others_are_refused(tmp_path: Path) -> None:
    report(tmp_path / "a", keyed=False)
    with pytest.raises(EvidenceError, match="has no keyed test; expected one"):
        keyed_summary(tmp_path / "a")
    written(tmp_path / "b")
    with pytest.raises(EvidenceError, match="never coated; expected one of the keyed test"):
        keyed_summary(tmp_path / "b")
    report(tmp_path / "c")
    edit(tmp_path / "c", lambda data: data["verdict"].update(outcome="no evidence"))
    with pytest.raises(EvidenceError, match=r"is not consistent \(files, verdict"):
        keyed_summary(tmp_path / "c")
    report(tmp_path / "e")

    def twice(data: dict[str, Any]) -> None:
        first = data["verdict"]["findings"][0]
        data["verdict"]["findings"].insert(0, first | {"p_value": 1e-14})

    assert not resealed(tmp_path / "e", twice).sound
    with pytest.raises(EvidenceError, match=r"is not consistent \(figures\)"):
        keyed_summary(tmp_path / "e")
    with pytest.raises(EvidenceError, match=r"There is no report at .*d; expected the folder"):
        keyed_summary(tmp_path / "d")
    (tmp_path / "d").mkdir()
    with pytest.raises(EvidenceError, match=r"There is no report\.json in"):
        keyed_summary(tmp_path / "d")
