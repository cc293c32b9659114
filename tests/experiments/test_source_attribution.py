"""The study of source attribution: its plan, and a run with toy models."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.toy_source import SIDE, scene, toy_model, write_scenes

from siren_ext.attribution.mixtures import read_mixture
from siren_ext.attribution.source_config import SourceConfig
from siren_ext.experiments import source_attribution
from siren_ext.experiments.source_attribution import FULL, QUICK, Length, Study

SMALL = Length(each=1, innocent=4, source_steps=1, steps=1, own=10, images=10, batch=1)
CONFIG = SourceConfig(keys=8, repeats=2, pictures=2, band=0.01)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose training is to learn by heart, and whose base knows nothing."""

    def learn(self, name, data, seed, steps):
        memory = {}
        for item in data.items:
            number = int(item.caption.split()[1])
            memory[item.caption] = scene(number)
        model = toy_model(name, memory)
        model.release = lambda: None
        return model

    monkeypatch.setattr(Study, "trained", learn)
    monkeypatch.setattr(source_attribution, "SIZE", SIDE)
    monkeypatch.setattr(source_attribution, "LocalSuspect", lambda base: toy_model("base", []))
    colours = lambda config: lambda pictures: pictures.mean((2, 3)).double().numpy()  # noqa: E731
    monkeypatch.setattr(source_attribution, "embedding", colours)
    return Study(write_scenes(tmp_path / "data", range(30)), tmp_path / "out", SMALL)


def test_models_are_trained_on_their_share(study: Study) -> None:
    models = study.models
    assert list(models) == [
        *("rho100_0", "rho70_0", "rho50_0", "rho30_0"),
        *(f"innocent_{number}" for number in range(4)),
    ]
    own = {item.caption for item in study.own.items}
    assert len(own) == 10
    for name, share in study.shares.items():
        rows = read_mixture(study.out / "sets" / name)
        assert sum(row["origin"] == "generated" for row in rows) == round(10 * share)
        # only pictures of the source bear its captions: no model sees its training images
        assert {row["caption"] in own for row in rows if row["origin"] == "real"} <= {False}


def test_rows_of_a_strategy(study: Study) -> None:
    rows = study.rows("detection", CONFIG)
    conf = {row["rho"]: row["value"] for row in rows if row["metric"] == "conf"}
    assert conf[1.0] > conf[0.5] > conf[0.0]
    assert {row["keys"] for row in rows} == {"detection"}
    metrics = {row["metric"] for row in rows}
    asked = len(list((study.out / "answers").iterdir()))
    assert asked == 8 + 2  # all models, the source and the base
    study.rows("random", CONFIG)  # asks nothing new
    assert len(list((study.out / "answers").iterdir())) == asked
    assert {"conf auc", "shadow auc", "accused", "gap at N = 8", "distance from 0"} <= metrics


def test_lengths_differ_and_too_few_images_are_refused(tmp_path: Path, call) -> None:
    assert QUICK.each * QUICK.steps < FULL.each * FULL.steps
    data = write_scenes(tmp_path / "data", range(5))
    assert len(data) == 5
    code, _, err = call(
        "--out", tmp_path / "out", "--data", tmp_path / "data", "--quick", of=source_attribution.app
    )
    assert code == 2
    assert "has 5 images; the study needs 32" in err
