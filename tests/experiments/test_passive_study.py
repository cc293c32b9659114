"""The passive study: a tiny run that is shared, resumed and read back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import typer
from support.tiny_models import draw_images, need_models, shared_model
from typer.testing import CliRunner

from siren_ext.errors import ConfigError
from siren_ext.experiments.passive_roster import PassiveStudyConfig, roster
from siren_ext.experiments.passive_study import PassiveStudy, app, selected
from siren_ext.experiments.study import open_set
from siren_ext.passive.config import PassiveConfig
from siren_ext.progress import NULL

MODELS = roster(PassiveStudyConfig(guilty=3, innocent=3), {"a": 96})


def test_models_are_selected_by_name_kind_and_shard() -> None:
    assert selected(MODELS, "", "0/1") == MODELS
    assert [model.name for model in selected(MODELS, "guilty_01,base", "0/1")] == [
        "base_0",
        "guilty_01",
    ]
    parts = [selected(MODELS, "", f"{part}/3") for part in range(3)]
    assert sorted(model.name for part in parts for model in part) == sorted(
        model.name for model in MODELS
    )
    with pytest.raises(typer.BadParameter, match="'guilty_99' is neither"):
        selected(MODELS, "guilty_99", "0/1")
    for shard in ("3/3", "1", "a/b"):
        with pytest.raises(typer.BadParameter, match="expected i/n"):
            selected(MODELS, "", shard)


@pytest.mark.models
def test_a_study_is_run_in_parts(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_models()
    monkeypatch.setattr("siren_ext.experiments.passive_roster.STEPS", (2,))
    monkeypatch.setattr("siren_ext.experiments.passive_roster.RANKS", (2,))
    monkeypatch.setattr("siren_ext.experiments.passive_study.FEATURES", "grey")
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    photos = draw_images(tmp_path / "photos", 42)
    out = tmp_path / "study"
    line = ["--data", str(photos), "--base", str(model), "--out", str(out), "--device", "cpu"]
    line += ["--guilty", "1", "--innocent", "0", "--batch", "21", "--pool", "40"]
    plan = CliRunner().invoke(app, [*line, "--stage", "plan"])
    assert plan.exit_code == 0, plan.output
    assert "guilty_00: asked about set 0, trained on 20 images" in plan.output
    assert not (out / "tables").exists()
    for shard in ("1/2", "0/2"):
        made = CliRunner().invoke(app, [*line, "--shard", shard])
        assert made.exit_code == 0, made.output
    assert not list((out / "adapters").iterdir())
    before = (out / "tables" / "guilty_00.json").stat().st_mtime_ns
    again = CliRunner().invoke(app, line)
    assert again.output.count("finished") == 2
    assert (out / "tables" / "guilty_00.json").stat().st_mtime_ns == before
    study = PassiveStudy(
        (open_set(str(photos)),),
        str(model),
        PassiveStudyConfig(guilty=1, innocent=0, pool=40),
        PassiveConfig(features="grey"),
        out,
        False,
        "cpu",
        NULL,
    )
    tables = study.tables()
    assert list(tables) == ["guilty_00"]
    table = tables["guilty_00"]
    assert table.difference().values.any()
    assert len(table) == 40
    trained = table.source["study"]["trained"]
    assert len(trained) == 20
    assert set(trained) <= set(table.image_hashes)
    empty = dataclasses.replace(study, out=tmp_path / "empty")
    with pytest.raises(ConfigError, match="Of 2 models, 0 are finished; expected the base"):
        empty.tables()


def test_unknown_stages_are_refused(tmp_path: Path) -> None:
    failed = CliRunner().invoke(app, ["--out", str(tmp_path), "--stage", "guess"])
    assert failed.exit_code == 2
    assert "expected plan or measure or test" in failed.output
