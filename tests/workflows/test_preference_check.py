"""A measurement is made again and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.keyed_coating import SHAPE
from support.tiny_attribution import tiny_lora
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ScoreError
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.scoring.score_set import FIELD, ScoreSet
from siren_ext.suspects.local import LocalSuspect
from siren_ext.workflows.preference_check import allows_partial, measured_again

need_models()
pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[LocalSuspect]:
    root = tmp_path_factory.getbasetemp()
    return [
        LocalSuspect(shared_model(root, "kl", prediction), dtype=torch.float32)
        for prediction in ("epsilon", "v_prediction")
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("data"), 3))


@pytest.fixture(scope="module")
def kept(models: list[LocalSuspect], data: ImageSet, tmp_path_factory) -> ScoreSet:
    file: Path = tmp_path_factory.mktemp("kept") / "p.json"
    plan = PreferenceConfig(draws=2, seed=3)
    measure_preference(models[0], data, Coater(SHAPE, seed=1), plan).save(file)
    return ScoreSet.load(file)


def test_the_same_files_give_the_same_figures(models, data, kept) -> None:
    coater = Coater(SHAPE, seed=1)
    found = measured_again(kept, models[0], data, coater)
    assert (found.name, found.state) == ("measurement", "matches")
    assert "largest difference of 48 figures 0 of" in found.text
    features = kept.features.copy()
    features[1, 2] += 0.1
    lost = {name: value for name, value in kept.source.items() if name != FIELD}
    found = measured_again(replace(kept, source=lost), models[0], data, coater)
    assert (found.state, "the learnt field is another one" in found.text) == ("differs", True)
    changed = measured_again(replace(kept, features=features), models[0], data, coater)
    assert changed.state == "differs"
    assert "largest difference of 48 figures 0.1 of" in changed.text


def test_clean_models_may_come_in_any_order(models, data, tmp_path) -> None:
    coater, base = Coater(SHAPE, seed=1), models[0]
    files = [tiny_lora(tmp_path / f"{n}.safetensors", base.pipeline, seed=n) for n in range(3)]
    suspect, *clean = (LocalSuspect(base.model, file, dtype=torch.float32) for file in files)
    kept = measure_preference(suspect, data, coater, PreferenceConfig(draws=1), controls=clean)
    found = measured_again(kept, suspect, data, coater, controls=clean[::-1])
    assert found.state == "matches"
    assert measured_again(kept, suspect, data, coater, controls=clean[:1]).state == "differs"


def test_a_measurement_says_whether_adapters_were_used_in_part(kept) -> None:
    assert not allows_partial(kept)
    made = {"suspect": kept.source["provenance"]["suspect"] | {"warnings": ["left out"]}}
    assert allows_partial(replace(kept, source=kept.source | {"provenance": made}))


def test_other_inputs_differ_before_anything_is_measured(models, data, kept, monkeypatch) -> None:
    monkeypatch.setattr("siren_ext.workflows.preference_check.measure_preference", None)
    coater = Coater(SHAPE, seed=1)
    for one, words in (
        (measured_again(kept, models[1], data, coater), "the suspicious model is another one"),
        (measured_again(kept, models[0], data, Coater(SHAPE, seed=2)), "the coater is another"),
        (
            measured_again(kept, models[0], data, coater, controls=models[1:]),
            "the clean models that are subtracted are others",
        ),
        (
            measured_again(
                replace(kept, source=kept.source | {"settings": {"draws": 0}}),
                models[0], data, coater,
            ),
            "its settings can't be used",
        ),
    ):  # fmt: skip
        assert one.state == "differs"
        assert words in one.text
    pictures = replace(kept, source={"kind": "folder"})
    with pytest.raises(ScoreError, match="expected the measurement of a model's file"):
        measured_again(pictures, models[0], data, coater)
