"""A measurement is made again and compared."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
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
from siren_ext.preference.tint import Tint
from siren_ext.scoring.score_set import BASE, FIELD, TINT, ScoreSet
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
    tint = Tint.of(kept)
    assert tint is not None
    other = Tint(tint.learnt[:, ::-1].copy(), tint.images).to_plain()
    found = measured_again(
        replace(kept, source=kept.source | {TINT: other}), models[0], data, coater
    )
    assert (found.state, "the learnt tint is another one" in found.text) == ("differs", True)
    found = measured_again(replace(kept, scores=kept.scores * 1.1), models[0], data, coater)
    assert (found.state, "the losses are others" in found.text) == ("differs", True)
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


def test_what_the_base_model_shows_is_compared(models, data, tmp_path) -> None:
    coater, base = Coater(SHAPE, seed=1), models[0]
    file = tiny_lora(tmp_path / "lora.safetensors", base.pipeline, seed=1)
    suspect = LocalSuspect(base.model, file, dtype=torch.float32)
    kept = measure_preference(suspect, data, coater, PreferenceConfig(draws=1))
    found = measured_again(kept, suspect, data, coater)
    assert found.state == "matches"
    assert "base model" not in found.text
    plain = kept.source[BASE]
    features = (np.array(plain["features"]) + 1).tolist()
    for change, words in (
        ({"features": features}, "the figures of the base model are others"),
        ({FIELD: kept.source[FIELD]}, "the learnt field of the base model is another one"),
    ):
        forged = replace(kept, source=kept.source | {BASE: plain | change})
        found = measured_again(forged, suspect, data, coater)
        assert (found.state, words in found.text) == ("differs", True)
    before = {name: value for name, value in kept.source.items() if name != BASE}
    found = measured_again(replace(kept, source=before), suspect, data, coater)
    assert found.state == "not checked", "whoever takes it out hides what it shows"
    assert "would not have been noticed" in found.text


def test_a_file_may_have_another_name(models, data, tmp_path) -> None:
    coater, base = Coater(SHAPE, seed=1), models[0]
    first = tiny_lora(tmp_path / "first.safetensors", base.pipeline, seed=1)
    second = Path(shutil.copy(first, tmp_path / "second.safetensors"))
    known, renamed = (LocalSuspect(base.model, one, dtype=torch.float32) for one in (first, second))
    kept = measure_preference(known, data, coater, PreferenceConfig(draws=1))
    assert measured_again(kept, renamed, data, coater).state == "matches"
    other = tiny_lora(tmp_path / "other.safetensors", base.pipeline, seed=2)
    other.replace(second)
    renamed = LocalSuspect(base.model, second, dtype=torch.float32)
    assert measured_again(kept, renamed, data, coater).state == "differs"


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
            measured_again(kept, models[0], replace(data, items=data.items[::-1]), coater),
            "the images are not those that were measured",
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
