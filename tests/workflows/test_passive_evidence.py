"""From two folders to a passive report: what is left out, resumed and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.feature_pairs import QUICK, Stub, imitate_measuring
from support.owned_sets import owned_sets, picture

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError, DatasetError
from siren_ext.passive.config import CompletionConfig, PassiveConfig
from siren_ext.passive.judge_config import JudgeConfig
from siren_ext.report.check import check_report
from siren_ext.workflows.passive_evidence import PassiveEvidence, passive_evidence


def evidence(folders: tuple[Path, Path], out: Path, **values: Any) -> PassiveEvidence:
    sets = [ImageSet.open(folder) for folder in folders]
    config = JudgeConfig.from_dict(QUICK)
    suspect, control = (Stub(values.pop(name, name)) for name in ("suspect", "control"))
    features = values.pop("features", PassiveConfig())
    return passive_evidence(*sets, suspect, control, out, features, config, **values)


def test_training_is_found_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = imitate_measuring(monkeypatch, trained=0.4)
    found = evidence(owned_sets(tmp_path, 24), tmp_path / "report")
    assert found.verdict.outcome == "training found"
    assert found.problems == ()
    assert calls == [48]
    assert check_report(tmp_path / "report").sound
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p", "report", "u"]
    source = json.loads(found.report.json.read_text())["published"]["source"]
    assert len(source["captions_sha256"]) == 64


def test_a_stopped_call_resumes_without_measuring_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = imitate_measuring(monkeypatch, trained=0.4)
    folders = owned_sets(tmp_path, 24)

    def stop(*_: Any, **__: Any) -> None:
        raise Cancelled("stopped")

    with monkeypatch.context() as patch:
        patch.setattr("siren_ext.workflows.passive_evidence.judge", stop)
        with pytest.raises(Cancelled):
            evidence(folders, tmp_path / "report")
    assert (tmp_path / "report.features.json").is_file()
    evidence(folders, tmp_path / "report")
    assert calls == [48]
    assert not (tmp_path / "report.features.json").exists()


@pytest.mark.parametrize("change", ["image", "caption", "suspect", "control", "settings", "file"])
def test_features_of_other_inputs_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    calls = imitate_measuring(monkeypatch, trained=0.4)
    folders = owned_sets(tmp_path, 24)
    values: dict[str, Any] = {}
    with monkeypatch.context() as patch:
        patch.setattr("siren_ext.workflows.passive_evidence.judge", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evidence(folders, tmp_path / "report")
    if change == "image":
        picture(500).save(folders[0] / "0.png")
    elif change == "caption":
        (folders[0] / "0.txt").write_text("a house")
    elif change == "settings":
        values["features"] = PassiveConfig(seed=1)
    elif change == "file":
        (tmp_path / "report.features.json").write_text("{}")
    else:
        values[change] = "another"
    evidence(folders, tmp_path / "report", **values)
    assert calls == [48, 48]


def test_what_is_left_out_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = imitate_measuring(monkeypatch, trained=0.0)
    folders = owned_sets(tmp_path, 23, others=20)
    (folders[1] / "broken.png").write_bytes(b"no image")
    found = evidence(folders, tmp_path / "report")
    assert calls == [40]
    assert [name for name, _ in found.problems] == ["broken.png"]
    assert any("3 of the published ones" in text for text in found.verdict.warnings)


def test_sets_are_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = imitate_measuring(monkeypatch, trained=0.0)
    published, unpublished = owned_sets(tmp_path, 20)
    with pytest.raises(
        DatasetError, match="20 images are in both the published and the unpublished set"
    ):
        evidence((published, published), tmp_path / "report")
    with pytest.raises(ConfigError, match="are the same model"):
        evidence((published, unpublished), tmp_path / "report", suspect="a", control="a")
    assert calls == []
    assert not (tmp_path / "report").exists()


def test_pictures_are_completed_if_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate_measuring(monkeypatch, trained=0.4)
    folders = owned_sets(tmp_path, 20)
    asked: list[tuple[str, int, int]] = []

    def complete(suspect: Any, control: Any, *sets: Any, **_: Any) -> tuple[()]:
        asked.append((f"{suspect.name} {control.name}", len(sets[0]), sets[2].count))
        return ()

    monkeypatch.setattr("siren_ext.workflows.passive_evidence.complete_pictures", complete)
    evidence(folders, tmp_path / "report")
    evidence(folders, tmp_path / "report", completion=CompletionConfig(count=0))
    assert asked == []
    evidence(folders, tmp_path / "report", completion=CompletionConfig(count=3))
    assert asked == [("suspect control", 20, 3)]
