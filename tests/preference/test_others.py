"""Adapters of other people's images: their mean fields, resuming, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.keyed_coating import SHAPE
from support.stopping import StopAfter
from support.tiny_attribution import tiny_lora
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.fields import fields_of_items
from siren_ext.preference.measure import measure_preference
from siren_ext.preference.models import frozen
from siren_ext.preference.others import other_fields
from siren_ext.preference.parts import Parts
from siren_ext.suspects.local import LocalSuspect

need_models()
pytestmark = pytest.mark.models

CONFIG = PreferenceConfig(draws=2, batch_size=2, images=3)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")


@pytest.fixture(scope="module")
def loras(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, pipeline = tmp_path_factory.mktemp("loras"), LocalSuspect(base).pipeline
    return [tiny_lora(folder / f"{seed}.safetensors", pipeline, seed=seed) for seed in range(4)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("data"), 3))


def opened(base: Path, file: Path | None) -> LocalSuspect:
    return LocalSuspect(base, file, dtype=torch.float32)


def test_mean_fields_are_those_minus_the_base_and_resume(
    base: Path, loras: list[Path], data: ImageSet, tmp_path: Path
) -> None:
    others = [opened(base, file) for file in loras[:3]]
    part = tmp_path / "part"
    with pytest.raises(Cancelled):
        other_fields(others, data.items, 32, CONFIG, Parts(part, "run"), StopAfter(1))
    assert Parts(part, "run").done == {0}
    found = other_fields(others, data.items, 32, CONFIG, Parts(part, "run"))
    assert found.shape[0] == 3
    plain = frozen(opened(base, None))
    for row, file in zip(found, loras, strict=False):
        one = frozen(opened(base, file))
        fields, usual = (
            fields_of_items(model, data.items, [0, 1, 2], 32, CONFIG)[0] for model in (one, plain)
        )
        assert np.abs(row - (fields - usual).mean(0)).max() < 1e-5
        assert np.abs(row).max() > 1e-5


def test_they_change_the_reading_and_are_recorded(
    base: Path, loras: list[Path], data: ImageSet, tmp_path: Path
) -> None:
    coater, suspect = Coater(SHAPE, seed=1), opened(base, loras[3])
    others = [opened(base, file) for file in loras[:3]]
    part = tmp_path / "part"
    with_them = measure_preference(suspect, data, coater, CONFIG, others=others, partial=part)
    alone = measure_preference(suspect, data, coater, CONFIG)
    assert with_them.features is not None
    assert alone.features is not None
    assert not np.allclose(with_them.features, alone.features)
    assert np.array_equal(with_them.scores, alone.scores)
    made = with_them.source["provenance"]["others"]
    assert [one["adapters"][0]["hash"] for one in made] == [
        other.describe()["adapters"][0]["hash"] for other in others
    ]
    assert "others" not in alone.source["provenance"]
    assert not list(tmp_path.iterdir())


def test_the_suspect_and_whole_models_are_refused(
    base: Path, loras: list[Path], data: ImageSet
) -> None:
    coater, suspect = Coater(SHAPE, seed=1), opened(base, loras[3])
    with pytest.raises(ConfigError, match="is the suspicious one"):
        measure_preference(suspect, data, coater, CONFIG, others=[opened(base, loras[3])])
    with pytest.raises(ConfigError, match="is a whole model"):
        measure_preference(suspect, data, coater, CONFIG, others=[opened(base, None)])
    whole = opened(base, None)
    with pytest.raises(ConfigError, match="but the suspicious model is a whole model here"):
        measure_preference(whole, data, coater, CONFIG, others=[opened(base, loras[0])])
