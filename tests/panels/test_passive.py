"""The panel for images without a coating: its step, its form, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from support.evidence_samples import known_key
from support.feature_pairs import imitate_measuring
from support.owned_sets import owned_sets
from support.score_sets import drawn

from siren_ext.errors import Cancelled, DatasetError
from siren_ext.panels import passive
from siren_ext.panels.host import PanelHost
from siren_ext.panels.passive import RISKS, passive_panel, passive_step
from siren_ext.progress import NULL, Progress
from siren_ext.report.write import write_report
from siren_ext.verdict.verify import verify


class Named:
    """A model that can't be loaded; only its name is needed."""

    warnings: tuple[str, ...] = ()

    def __init__(self, model: str, adapter: Path | None = None, **_: Any) -> None:
        self.facts = {"model": model, "adapters": [] if adapter is None else [adapter.name]}

    def describe(self) -> dict[str, Any]:
        return self.facts


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setattr("siren_ext.suspects.local.LocalSuspect", Named)
    return owned_sets(tmp_path, 20)


def step(sets: tuple[Path, Path], out: Path, progress: Progress = NULL) -> tuple[str, str]:
    return passive_step(*sets, "pocket", Path("suspect.safetensors"), 1e-3, out, progress)


def test_the_verdict_and_its_report_are_shown(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate_measuring(monkeypatch, trained=0.5)
    card, page = step(sets, tmp_path / "report")
    assert "Training found" in card
    assert "Only 20 images per set" in card
    assert Path(page).read_text().startswith("<!DOCTYPE html>")


def keyed_report(folder: Path, *, keyed: bool = True) -> Path:
    """The report.json of a keyed test, as a browser names a second download of it."""
    key = known_key()
    suspect, reference = drawn(0.0, 60, lean=key.signs()), drawn(1.0, 120, seed=2, start=500)
    pools = (suspect, None if keyed else reference)
    write_report(verify(*pools, key=key if keyed else None), *pools, folder)
    return (folder / "report.json").rename(folder / "report (1).json")


def test_a_keyed_verdict_is_stated_beside_it(
    sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate_measuring(monkeypatch, trained=0.5)
    found = passive._keyed(str(keyed_report(tmp_path / "keyed")))
    assert found is not None
    given = (*sets, "pocket", Path("suspect.safetensors"), 1e-3, tmp_path / "report", NULL)
    card, page = passive_step(*given, keyed=found)
    assert "The keyed test counts first" in card
    assert "The keyed test counts first" in Path(page).read_text()
    assert passive._keyed(None) is None


def test_sets_that_do_not_fit_and_stops_are_passed_on(
    sets: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        DatasetError, match="20 images are in both the published and the unpublished set"
    ):
        step((sets[0], sets[0]), tmp_path / "report")
    with pytest.raises(Cancelled):
        step(sets, tmp_path / "report", Progress(cancelled=lambda: True))


def form(host: PanelHost) -> tuple[dict[str, Any], Any]:
    """The panel's components, and the check behind its button."""
    gr = MagicMock(__version__="6.31.0")
    gr.HTML.side_effect = gr.Textbox.side_effect = gr.Dropdown.side_effect = lambda *_, **options: (
        MagicMock(**options)
    )
    gr.File.side_effect = lambda *_, **options: MagicMock(**options)
    parts = passive_panel(gr, host)
    (look,) = [
        call.args[0]
        for call in gr.Button.return_value.click.call_args_list
        if call.args[0].__name__ == "look"
    ]
    return parts, look


def test_the_form_is_checked_before_the_job_waits(
    host: PanelHost, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    pytest.importorskip("diffusers")
    limits = dataclasses.replace(host.limits, files=30)
    parts, look = form(dataclasses.replace(host, limits=limits))
    assert "siren_passive_published_folder" in parts
    lora = tmp_path / "suspect.safetensors"
    lora.touch()
    risk = list(RISKS)[-1]
    good = [None, str(sets[0]), None, str(sets[1]), "pocket", risk, str(lora), None]
    assert look(*good)[0] == ""
    for place, value, words in (
        (1, "", "No published images were given"),
        (3, str(tmp_path / "gone"), "There is no folder"),
        (4, str(tmp_path / "gone"), "There is no model"),
        (5, "none", "to choose; expected one of"),
        (6, None, "No LoRA was given"),
        (7, str(keyed_report(tmp_path / "ks", keyed=False)), "has no keyed test"),
    ):
        changed = [*good[:place], value, *good[place + 1 :]]
        assert words in look(*changed)[0]


def test_without_the_packages_there_is_a_message(
    host: PanelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siren_ext.panels.packages.missing_packages", lambda: ["diffusers"])
    gr = MagicMock()
    assert list(passive_panel(gr, host)) == ["siren_passive_absent"]
    assert "diffusers" in str(gr.HTML.call_args_list)
