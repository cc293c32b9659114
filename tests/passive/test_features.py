"""Features of tiny models: independence from batch and order, resumption, controls, families."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from support.stopping import StopAfter
from support.tiny_families import tiny_family
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError, DatasetError, ModelError
from siren_ext.passive.config import PassiveConfig
from siren_ext.passive.features import measure_features
from siren_ext.suspects.local import LocalSuspect

need_models()
pytestmark = pytest.mark.models

ALL = PassiveConfig(features="all", batch_size=3)


@pytest.fixture(scope="module")
def suspects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LocalSuspect]:
    root = tmp_path_factory.getbasetemp()
    return {
        prediction: LocalSuspect(
            shared_model(root, "kl", prediction), device="cpu", dtype=torch.float32
        )
        for prediction in ("epsilon", "v_prediction")
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("data"), 3))


def test_batches_and_order_change_nothing(
    suspects: dict[str, LocalSuspect], data: ImageSet
) -> None:
    suspect = suspects["epsilon"]
    whole = measure_features(suspect, data, ALL)
    assert whole.names == ALL.columns
    assert whole.images == tuple(item.name for item in data.items)
    backwards = dataclasses.replace(data, items=data.items[::-1])
    again = measure_features(suspect, backwards, dataclasses.replace(ALL, batch_size=1))
    assert again.image_hashes == whole.image_hashes[::-1]
    assert np.allclose(again.values[::-1], whole.values, rtol=1e-3, atol=1e-4)
    assert again.source["settings"] == whole.source["settings"]


def test_the_same_call_gives_the_same_numbers(
    suspects: dict[str, LocalSuspect], data: ImageSet
) -> None:
    data = dataclasses.replace(data, items=data.items[:2])
    config = PassiveConfig(features="adapter")
    found = [measure_features(suspects["v_prediction"], data, config).values for _ in range(2)]
    assert np.array_equal(*found)
    other = measure_features(suspects["v_prediction"], data, dataclasses.replace(config, seed=1))
    assert not np.allclose(found[0], other.values, rtol=1e-3)


@pytest.mark.parametrize("variant", ["default", "official"])
def test_a_stopped_run_is_resumed(
    suspects: dict[str, LocalSuspect], data: ImageSet, tmp_path: Path, variant: str
) -> None:
    config = PassiveConfig(
        features="grey" if variant == "default" else "white", batch_size=2, variant=variant
    )  # type: ignore[arg-type]
    suspect, part = suspects["epsilon"], tmp_path / "part"
    whole = measure_features(suspect, data, config)
    with pytest.raises(Cancelled):
        measure_features(suspect, data, config, partial=part, progress=StopAfter(1))
    seen: list[int] = []

    class Counted(StopAfter):
        def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
            seen.append(done)

    again = measure_features(suspect, data, config, partial=part, progress=Counted(99))
    assert seen == [2]
    assert not part.exists()
    assert np.array_equal(again.values, whole.values)


def test_parts_of_another_run_are_not_used(
    suspects: dict[str, LocalSuspect], data: ImageSet, tmp_path: Path
) -> None:
    config = PassiveConfig(features="grey", batch_size=2)
    part = tmp_path / "part"
    with pytest.raises(Cancelled):
        measure_features(suspects["epsilon"], data, config, partial=part, progress=StopAfter(1))
    other = dataclasses.replace(config, seed=3)
    again = measure_features(suspects["epsilon"], data, other, partial=part)
    assert np.array_equal(again.values, measure_features(suspects["epsilon"], data, other).values)


def test_a_control_is_subtracted_with_the_same_noise(
    suspects: dict[str, LocalSuspect], data: ImageSet
) -> None:
    config = PassiveConfig(features="grey")
    suspect, control = suspects["epsilon"], suspects["v_prediction"]
    both = measure_features(suspect, data, config, control=control)
    own, theirs = (measure_features(model, data, config) for model in (suspect, control))
    joined = own.minus(theirs)
    assert both.names == joined.names
    assert np.allclose(both.values, joined.values, rtol=1e-4, atol=1e-4)
    assert both.source["control"] == joined.source["control"] == control.describe()
    same = measure_features(suspect, data, config, control=suspect)
    assert not same.difference().values.any()


def test_grey_features_record_no_gradients(
    suspects: dict[str, LocalSuspect], data: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a gradient was computed")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    table = measure_features(suspects["epsilon"], data, PassiveConfig(features="adapter"))
    assert len(table.names) > 14


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("sd2", "paper"),
        ("xl", "official"),
        ("lcm", "default"),
        ("sd3", "official"),
        ("flux", "default"),
    ],
)
def test_families_and_variants(
    tmp_path_factory: pytest.TempPathFactory, data: ImageSet, name: str, variant: str
) -> None:
    folder = tiny_family(tmp_path_factory.getbasetemp(), name)
    suspect = LocalSuspect(folder, device="cpu", dtype=torch.float32)
    few = dataclasses.replace(data, items=data.items[:2])
    table = measure_features(
        suspect,
        few,
        dataclasses.replace(ALL, variant=variant, resolution=32),  # type: ignore[arg-type]
    )
    assert table.values.shape == (2, len(ALL.columns))
    assert (table.values.std(axis=0) > 0).sum() > 30
    assert table.source["experimental"] == (name in ("sd3", "flux"))


def test_without_captions_both_losses_are_equal(
    suspects: dict[str, LocalSuspect], data: ImageSet
) -> None:
    config = PassiveConfig(features="adapter", captions="none")
    table = measure_features(suspects["epsilon"], data, config)
    assert not table.columns(["clid"]).values.any()
    with_captions = measure_features(suspects["epsilon"], data, PassiveConfig(features="adapter"))
    assert with_captions.columns(["clid"]).values.all()
    assert table.source["settings"]["captions"] == "none"


def test_what_is_refused(
    tmp_path_factory: pytest.TempPathFactory, suspects: dict[str, LocalSuspect], data: ImageSet
) -> None:
    root = tmp_path_factory.getbasetemp()
    with pytest.raises(DatasetError, match="no images"):
        measure_features(suspects["epsilon"], ImageSet((), data.root, data.name))
    with pytest.raises(ConfigError, match="multiple of 8"):
        measure_features(suspects["epsilon"], data, PassiveConfig(resolution=33))
    coarse = LocalSuspect(shared_model(root, "kl", "epsilon"), device="cpu", dtype=torch.bfloat16)
    with pytest.raises(ConfigError, match="bfloat16; expected float32"):
        measure_features(coarse, data)
    other = LocalSuspect(tiny_family(root, "vq"), device="cpu", dtype=torch.float32)
    with pytest.raises(ModelError, match="VQDiffusionPipeline, but only StableDiffusionPipeline"):
        measure_features(other, data)
    broken = LocalSuspect(shared_model(root, "kl", "epsilon"), device="cpu", dtype=torch.float32)
    next(broken.pipeline.unet.parameters()).data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        measure_features(broken, data)
