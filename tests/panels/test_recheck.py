"""Reports are computed again, and what is none is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.decoy_sets import ranked
from support.keyed_coating import key
from support.measurements import coarse_coater, measured_with_field
from support.noise_files import noise_folder

from siren_ext.errors import ScoreError
from siren_ext.panels.actions import verify_step
from siren_ext.panels.host import PanelHost
from siren_ext.panels.html import chart_card, verdict_card
from siren_ext.panels.recheck import recheck_step
from siren_ext.panels.report import recheck_note
from siren_ext.report.write import write_report
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify


def test_a_report_is_computed_again(host: PanelHost, tmp_path: Path) -> None:
    first, second = noise_folder(tmp_path / "s", 6, 1, 255), noise_folder(tmp_path / "r", 6, 2, 255)
    verification = verify_step(
        first, second, host.coaters.load("mine.safetensors"), host.jobs.new("t"), alpha=1e-2
    )
    assert recheck_step(verification.report.json).agrees
    data = json.loads(verification.report.json.read_text(encoding="utf-8"))
    data["verdict"]["finding"]["p_value"] = 1e-9
    data["verdict"]["outcome"] = "coating found"
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(data), encoding="utf-8")
    found = recheck_step(forged)
    assert not found.agrees
    assert found.verdict.outcome == verification.verdict.outcome


@pytest.mark.usefixtures("few_messages")
def test_the_p_of_whole_changes_is_not_taken_for_checked(tmp_path: Path) -> None:
    coater = coarse_coater()
    measured = measured_with_field(coater)
    verdict = verify(measured, key=key(), coater=coater)
    written = write_report(verdict, measured, None, tmp_path / "report")
    found = recheck_step(written.json)
    assert found.agrees
    assert found.verdict.deciding.to_dict() == verdict.deciding.to_dict()
    note = recheck_note(found)
    assert "The p that decides, of whole changes and bits together, can be checked only" in note
    card = chart_card(verdict, measured, None)
    assert "by its bits alone. The verdict counts whole changes as well." in card
    assert "fit what the model adds to images" in card
    assert "how well the bits of the secret message fit what the model prefers" in verdict_card(
        verdict, preference=True
    )


def test_a_rank_among_decoys_is_computed_again(tmp_path: Path) -> None:
    suspect = ranked(0.5, [0.01 * i for i in range(9)])
    verdict = verify(suspect, None, VerifyConfig(alpha=0.2, price=2))
    written = write_report(verdict, suspect, None, tmp_path / "report")
    found = recheck_step(written.json)
    assert found.agrees
    assert (found.verdict.test, found.verdict.deciding.p_value) == ("decoys", 0.2)


@pytest.mark.parametrize(
    "content", ["[]", '{"format": "x"}', '{"format": "siren_ext.report"}', "{", '{"a": NaN}']
)
def test_what_is_no_report(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ScoreError):
        recheck_step(path)
