"""Measured gradients: against a direct computation, batches, order, resuming, errors."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from support.stopping import StopAfter
from support.tiny_attribution import adapted, tiny_lora
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.adapters.read import read_adapter
from siren_ext.attribution import gradients
from siren_ext.attribution.config import AttributionConfig
from siren_ext.attribution.factors import Recorder, find_factors
from siren_ext.attribution.gradients import measure_gradients
from siren_ext.attribution.projection import project
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import denoiser
from siren_ext.errors import AdapterError, Cancelled, ConfigError, DatasetError, ModelError
from siren_ext.passive.batch import noise_seed
from siren_ext.progress import Progress
from siren_ext.suspects.local import LocalSuspect, WeightedAdapter

need_models()
pytestmark = pytest.mark.models

FEW = AttributionConfig(times=2, noises=2, dimension=32, batch_size=4)


@pytest.fixture(scope="module")
def suspect(tmp_path_factory: pytest.TempPathFactory) -> LocalSuspect:
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    return adapted(base, tmp_path_factory.mktemp("adapter") / "lora.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("data"), 3))


def close(one: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(one, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("output", ["norm", "loss"])
def test_it_is_the_mean_gradient_of_the_output_projected(
    suspect: LocalSuspect, data: ImageSet, output: str
) -> None:
    config = dataclasses.replace(FEW, output=output)  # type: ignore[arg-type]
    table = measure_gradients(suspect, data, config)
    assert table.values.shape == (3, 2, 32)
    model = denoiser(suspect.pipeline)
    factors, _ = find_factors(suspect.pipeline, read_adapter(suspect.adapters[0].path))
    view = next(iter(data.tensors(model.native_size)))
    latents = pipelines.encode_latents(suspect.pipeline, view).detach()
    rng = np.random.default_rng(noise_seed(0, table.hashes[0], "attribution", 1))
    noise = torch.from_numpy(rng.standard_normal((1, 4, 4, 4), dtype=np.float32))
    condition = {k: v.detach() for k, v in model.condition([data.captions()[0]], 32).items()}
    total = torch.zeros(1, sum(factor.size for factor in factors))
    with Recorder(factors) as recorder:
        for time in (250, 750):
            guess = model.noise_in(model.noisy(latents, noise, time), time, condition)
            error = guess if output == "norm" else guess - noise
            recorder.add(error.square().sum((1, 2, 3)), total)
    total /= 2
    layers = [(factor.name, factor.size) for factor in factors]
    assert close(table.values[0, 1], project(total, layers, 32)[0].numpy())


def test_batches_order_and_memory_change_nothing(
    suspect: LocalSuspect, data: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure_gradients(suspect, data, dataclasses.replace(FEW, batch_size=64))
    again = measure_gradients(suspect, data, dataclasses.replace(FEW, batch_size=64))
    assert np.array_equal(whole.values, again.values)
    monkeypatch.setattr(gradients, "_BUFFER", 1)
    backwards = dataclasses.replace(data, items=data.items[::-1])
    single = measure_gradients(suspect, backwards, dataclasses.replace(FEW, batch_size=1))
    assert single.hashes == whole.hashes[::-1]
    assert close(single.values[::-1], whole.values)
    other = measure_gradients(suspect, data, dataclasses.replace(FEW, seed=1))
    assert not close(other.values, whole.values)


def test_strength_and_captions_matter(suspect: LocalSuspect, data: ImageSet) -> None:
    own = measure_gradients(suspect, data, FEW)
    none = measure_gradients(suspect, data, dataclasses.replace(FEW, captions="none"))
    assert not close(none.values, own.values)
    weak = LocalSuspect(
        suspect.model,
        [WeightedAdapter(suspect.adapters[0].path, 0.5)],
        device="cpu",
        dtype=torch.float32,
    )
    assert not close(measure_gradients(weak, data, FEW).values, own.values)


class Counted(Progress):
    """Remembers how much was done when a stage began, and counts what was done then."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.units = -1, 0

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.before = done

    def advance(self, units: int = 1, note: str = "") -> None:
        self.units += units


def test_a_stopped_run_resumes_and_finished_images_are_kept(
    suspect: LocalSuspect,
    data: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gradients, "_BUFFER", 1)  # one image at a time
    cache = tmp_path / "cache"
    with pytest.raises(Cancelled):
        measure_gradients(suspect, data, FEW, cache=cache, progress=StopAfter(5))
    seen = Counted()
    again = measure_gradients(suspect, data, FEW, cache=cache, progress=seen)
    assert (seen.before, seen.units) == (4, 8)
    assert np.array_equal(again.values, measure_gradients(suspect, data, FEW).values)
    later = Counted()
    batched = dataclasses.replace(FEW, batch_size=1, ridge=0.1, repeats=10)
    kept = measure_gradients(suspect, data, batched, cache=cache, progress=later)
    assert (later.before, later.units) == (12, 0)
    assert np.array_equal(kept.values, again.values)


def test_a_cache_of_other_settings_or_a_damaged_one_is_not_used(
    suspect: LocalSuspect, data: ImageSet, tmp_path: Path
) -> None:
    few = dataclasses.replace(data, items=data.items[:1])
    cache = tmp_path / "cache"
    first = measure_gradients(suspect, few, FEW, cache=cache)
    for spoil in (dataclasses.replace(FEW, output="loss"), None):
        if spoil is None:
            cache.write_bytes(cache.read_bytes()[:100])
        else:
            measure_gradients(suspect, few, spoil, cache=cache)
        seen = Counted()
        again = measure_gradients(suspect, few, FEW, cache=cache, progress=seen)
        assert (seen.before, seen.units) == (0, 4)
        assert np.array_equal(again.values, first.values)


def test_errors(
    suspect: LocalSuspect, data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = LocalSuspect(suspect.model, device="cpu", dtype=torch.float32)
    with pytest.raises(ConfigError, match="has 0 adapters; expected one LoRA"):
        measure_gradients(plain, data, FEW)
    with pytest.raises(DatasetError, match="contains no images"):
        measure_gradients(suspect, dataclasses.replace(data, items=()), FEW)
    with pytest.raises(ConfigError, match="expected a multiple of 8"):
        measure_gradients(suspect, data, dataclasses.replace(FEW, resolution=33))
    with pytest.raises(AdapterError, match="There is no adapter file"):
        measure_gradients(
            LocalSuspect(suspect.model, tmp_path / "absent.safetensors", device="cpu"), data, FEW
        )
    monkeypatch.setattr(gradients, "project", lambda *_, **__: torch.full((4, 32), torch.nan))
    few = dataclasses.replace(data, items=data.items[:2])
    with pytest.raises(ModelError, match="gradient of the model is not finite"):
        measure_gradients(suspect, few, FEW)


def test_a_lora_of_another_seed_gives_other_gradients(
    suspect: LocalSuspect, data: ImageSet, tmp_path: Path
) -> None:
    path = tiny_lora(tmp_path / "other.safetensors", suspect.pipeline, seed=5)
    other = LocalSuspect(suspect.model, path, device="cpu", dtype=torch.float32)
    one, two = (measure_gradients(model, data, FEW).values for model in (suspect, other))
    assert not close(one, two)
