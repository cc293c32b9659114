"""Reports with a key are computed again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.keyed_samples import noise, owners_key

from siren_ext.coater.coater import Coater
from siren_ext.errors import EvidenceError, ScoreError
from siren_ext.panels import html as cards
from siren_ext.panels.actions import verify_step
from siren_ext.panels.host import PanelHost
from siren_ext.panels.recheck import recheck_step
from siren_ext.panels.report import recheck_note

pytestmark = pytest.mark.usefixtures("cheap")


def test_a_keyed_report_is_computed_again(host: PanelHost, keyed: Coater, tmp_path: Path) -> None:
    suspect = noise(tmp_path / "s", 8, seed=2)
    key, job = owners_key(keyed, suspect), host.jobs.new("t")
    verification = verify_step(suspect, None, keyed, job, alpha=1e-6, key=key)
    renamed = tmp_path / "report (1).json"
    renamed.write_bytes(verification.report.json.read_bytes())
    found = recheck_step(renamed)
    assert found.agrees
    assert found.verdict.deciding.p_value == pytest.approx(verification.verdict.deciding.p_value)
    assert "its figures follow from its scores" in recheck_note(found)
    assert "can be checked only with the key" in recheck_note(found)
    assert cards.chart_card(found.verdict, found.suspect, found.reference).count("<svg") == 1
    other = replace(found, stated="no evidence")
    assert (
        "It states 'no evidence', based on a test that looked at the images one by one"
        in recheck_note(other)
    )
    data = json.loads(renamed.read_text(encoding="utf-8"))
    data["verdict"]["findings"][0]["p_value"] = 1e-40
    renamed.write_text(json.dumps(data), encoding="utf-8")
    forged = recheck_step(renamed)
    assert not forged.agrees
    assert "Do not rely on this report" in recheck_note(forged)
    for finding in (None, {"test": "keyed"}, {"test": "keyed", "result": {}}, 5):
        data["verdict"]["findings"] = [finding]
        renamed.write_text(json.dumps(data), encoding="utf-8")
        with pytest.raises((ScoreError, EvidenceError)):
            recheck_step(renamed)
