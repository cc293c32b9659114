"""The log binds a folder to one run, and adds up over interruptions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.hostile_files import check_reader, wrong_values

from siren_ext.errors import ConfigError
from siren_ext.workflows.run_log import RunLog, peak_memory_gb

SETTINGS = {"coater": "x", "prompts": ("p",)}


def test_a_log_of_an_earlier_version_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    old = {"config": {"coater": "x", "prompts": ["p"]}, "seconds": {"score": 1.5}}
    path.write_text(json.dumps({**old, "peak_memory_gb": 1e6}))
    log = RunLog(path, "demo", SETTINGS, key="config")
    with log.step("score suspect"):
        pass
    costs = log.costs()
    assert costs["seconds"].keys() == {"score", "score suspect"}
    assert (costs["seconds"]["score"], costs["peak_memory_gb"]) == (1.5, 1e6)
    assert json.loads(path.read_text()) == {"config": old["config"], **costs}


def test_what_was_not_asked_before_may_be_missing_now(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    RunLog(path, "study", SETTINGS)
    RunLog(path, "study", {"coater": "x"})
    (tmp_path / "coated").mkdir()
    with pytest.raises(ConfigError, match=r"a study that differs in coater, seed \(see study"):
        RunLog(path, "study", {"coater": "y", "seed": 1})


def test_a_run_that_made_nothing_binds_no_folder(tmp_path: Path) -> None:
    """As after a mistyped path: the call with the right one may use the same folder."""
    path = tmp_path / "study.json"
    with RunLog(path, "study", {"base": "mistyped"}).step("load"):
        pass
    log = RunLog(path, "study", {"base": "right"})
    assert log.costs() == {"seconds": {}, "peak_memory_gb": None}
    assert json.loads(path.read_text())["identity"] == {"base": "right"}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"identity": 3}', '{"identity": {}, "seconds": []}', "[" * 9999]
)
def test_damaged_logs_are_refused_and_untouched(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"study\.json.* [Nn]ame another folder\."):
        RunLog(path, "study", {})
    assert path.read_text() == text


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    with RunLog(path, "study", SETTINGS).step("train"):
        pass
    check_reader(
        path,
        lambda path: RunLog(path, "study", SETTINGS).costs(),
        ConfigError,
        but=("only []", "only {}", "only null", "only true", 'only "text"', "only 1"),
    )
    good = json.loads(path.read_text())
    for what, data in wrong_values(good):
        if what in ("seconds = {}", "peak_memory_gb = 3", "peak_memory_gb = None"):
            continue
        path.write_text(json.dumps(data))
        with pytest.raises(ConfigError, match=r"study"):
            pytest.fail(f"{what}: {RunLog(path, 'study', SETTINGS).costs()}")


def test_a_folder_of_something_else_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="do not belong to a study; choose a new or empty folder"):
        RunLog(tmp_path / "study.json", "study", {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_peak_memory_is_plausible() -> None:
    peak = peak_memory_gb()
    assert peak is None or 0.01 < peak < 1000
