"""The guided demo reports its steps, stops, and keeps nothing of a visitor."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.gradio_servers import ROOT
from support.scripts import load_script

from siren_ext.errors import Cancelled
from siren_ext.panels.host import CoaterLibrary, JobFolders, PanelHost
from siren_ext.samples.folder import sample_folder

DEMO = ROOT / "gradio_demo"


@pytest.fixture
def guided() -> ModuleType:
    return load_script(DEMO / "guided.py")


@pytest.fixture
def tiny(guided: ModuleType) -> Any:
    length = guided.Length(
        images=3, training_steps=2, training_batch=2, suspect_images=3, sampling_steps=1,
        alpha=0.05,
    )  # fmt: skip
    return guided.Guided(
        PanelHost(coaters=CoaterLibrary(device="cpu"), jobs=JobFolders(60)), length
    )


@pytest.mark.models
@pytest.mark.slow
def test_all_steps_from_coating_to_verdict(tiny: Any) -> None:
    states = list(tiny.run(None, "", tiny.host.stops.new_job()))
    last = states[-1]
    assert last.error == ""
    assert [state.step for state in states] == sorted(state.step for state in states)
    assert {state for state, _, _ in last.lines()} == {"done"}
    finding = last.verification.verdict.deciding
    assert (finding.test, finding.suspects, finding.others) == ("keyed", 3, 0)
    assert any(
        re.fullmatch(r"Personalising: \d of 2", state.note) for state in states if state.step == 1
    )
    assert len(last.coated.files) == 3
    again = list(tiny.run(None, "", tiny.host.stops.new_job()))
    assert again[-1].verification.verdict.deciding.key != finding.key, "every run draws a key"


@pytest.mark.models
def test_stop_before_the_first_step(tiny: Any) -> None:
    job_id = tiny.host.stops.new_job()
    tiny.host.stops.request(job_id)
    last = list(tiny.run(None, "", job_id))[-1]
    assert last.stopped
    assert last.verification is None


def test_a_visitors_images_are_deleted(tiny: Any, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for path in sorted(sample_folder().glob("*.png"))[:2]:
        shutil.copy(path, own)
    job_id = tiny.host.stops.new_job()
    tiny.host.stops.request(job_id)
    list(tiny.run(own, "icon", job_id))
    assert not own.exists()


def test_errors_are_reported(tiny: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    last = list(tiny.run(empty, "dog", tiny.host.stops.new_job()))[-1]
    assert last.error
    assert "now" not in {state for state, _, _ in last.lines()}


def test_a_long_step_keeps_its_files(
    tiny: Any, guided: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.host.jobs.keep_minutes = 0.001
    there = []

    def coat_slowly(data: Any, coater: Any, job: Path, **_: Any) -> None:
        time.sleep(0.6)  # longer than a folder is kept in which nothing is written
        there.append(job.is_dir())
        raise Cancelled("end of the test")

    monkeypatch.setattr(guided, "coat_step", coat_slowly)
    assert list(tiny.run(None, "", tiny.host.stops.new_job()))[-1].stopped
    assert there == [True]


def test_words_say_what_is_shortened() -> None:
    words = json.loads((DEMO / "words.json").read_text(encoding="utf-8"))
    assert "shortened" in words["try"]
    assert "{steps}" in words["try"]
    assert "{minutes}" in words["foot"]
