"""The study of source attribution: its plan, and a run with toy models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.toy_source import SIDE, toy_model, toy_study, write_scenes

from siren_ext.attribution.source_config import SourceConfig
from siren_ext.experiments import source_attribution
from siren_ext.experiments.source_attribution import FULL, MIDDLE, QUICK, Study, study_rows
from siren_ext.experiments.source_models import Length

SMALL = Length(("first",), 1, 4, source_steps=1, steps=1, source_batch=1, batch=1, images=10)
CONFIG = SourceConfig(keys=8, repeats=2, pictures=2, margin=0.0, band=0.01)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose training is to learn by heart, and whose base knows nothing."""
    monkeypatch.setattr(source_attribution, "SIZE", SIDE)
    monkeypatch.setattr(source_attribution, "LocalSuspect", lambda base: toy_model("base", []))
    colours = lambda config: lambda pictures: pictures.mean((2, 3)).double().numpy()  # noqa: E731
    monkeypatch.setattr(source_attribution, "embedding", colours)
    return Study(toy_study(tmp_path, monkeypatch, SMALL, "first"), CONFIG)


@pytest.mark.parametrize("query", ["img2img", "t2i"])
def test_rows_of_a_strategy(study: Study, query: str) -> None:
    study = Study(study.models, replace(CONFIG, query=query))
    rows = study_rows([study], ["detection"])
    conf = {row["rho"]: row["value"] for row in rows if row["metric"] == "conf"}
    assert conf[1.0] > conf[0.5] > conf[0.0]
    assert {(row["source"], row["keys"]) for row in rows} == {("first", "detection")}
    asked = len(list((study.models.out / "answers").iterdir()))
    assert asked == 8 + 2  # all models, the source and the base
    study_rows([study], ["random"])  # asks nothing new
    assert len(list((study.models.out / "answers").iterdir())) == asked
    metrics = {row["metric"] for row in rows}
    assert {"conf auc", "shadow auc", "accused", "gap at N = 10", "distance from 0"} <= metrics
    table = {row["rho"]: row for row in rows if row["metric"] == "conf auc"}
    assert list(table) == ["", 1.0, 0.7, 0.5, 0.3]
    assert table[1.0]["value"] == 1
    assert table[1.0]["models"] == 5


def test_sources_are_reported_alone_and_together(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Study(toy_study(tmp_path / "other", monkeypatch, SMALL, "second"), CONFIG)
    rows = study_rows([study, other], ["detection"])
    conf = {row["source"]: row for row in rows if row["metric"] == "conf" and row["rho"] == 0.5}
    assert list(conf) == ["all", "first", "second"]
    assert [row["models"] for row in conf.values()] == [2, 1, 1]
    values = [row["value"] for row in conf.values()]
    assert values[0] == pytest.approx((values[1] + values[2]) / 2)


def test_closeness_of_pictures_tells_infringing_models_and_asks_nothing_new(study: Study) -> None:
    study = Study(study.models, replace(CONFIG, query="t2i"))
    study_rows([study], ["detection"])
    folder = study.models.out / "answers"
    asked = sorted(path.name for path in folder.iterdir())
    close = study.closeness()
    assert sorted(path.name for path in folder.iterdir()) == asked
    known = {share: close[name] for name, share in study.models.shares.items() if share}
    innocent = [close[name] for name, share in study.models.shares.items() if not share]
    assert known[1.0] > known[0.5] > max(innocent)


def test_a_strategy_without_key_samples_is_left_out(study: Study, capsys) -> None:
    strict = Study(study.models, replace(CONFIG, margin=2.0))
    assert study_rows([strict], ["detection"]) == []
    assert "first, detection, is left out: Of 10 candidates, 0 are usable" in (
        capsys.readouterr().out
    )


def test_lengths_differ_and_too_few_images_are_refused(tmp_path: Path, call) -> None:
    assert QUICK.each < MIDDLE.each < FULL.each
    assert QUICK.training == MIDDLE.training == FULL.training  # models serve longer studies
    data = write_scenes(tmp_path / "data", range(5))
    assert len(data) == 5
    code, _, err = call(
        "--out", tmp_path / "out", "--data", tmp_path / "data", "--quick", of=source_attribution.app
    )
    assert code == 2
    assert "has 5 images; the study needs 48" in err
    code, _, err = call("--out", tmp_path, "--sources", "first,third", of=source_attribution.app)
    assert code == 2
    assert "'third' is none of first, second, full, small_first" in " ".join(err.split())
