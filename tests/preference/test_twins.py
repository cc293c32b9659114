"""Twins compared by a tiny model: the right differences, resumption, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.keyed_coating import SHAPE
from support.stopping import StopAfter
from support.tiny_attribution import tiny_lora
from support.tiny_models import draw_images, need_models, shared_model
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.coating.twins import TwinsRecord, coat_twins
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import Denoiser, each
from siren_ext.errors import Cancelled, ConfigError, EvidenceError, ModelError
from siren_ext.preference.models import noise_of
from siren_ext.preference.twins import TwinFolders, measure_twins, without_control
from siren_ext.preference.twins_config import TwinsConfig
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.coins import coins_test
from siren_ext.suspects.local import LocalSuspect

need_models()
pytestmark = pytest.mark.models

CONFIG = TwinsConfig(draws=3, batch_size=2)


@pytest.fixture(scope="module")
def suspects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LocalSuspect]:
    root = tmp_path_factory.getbasetemp()
    return {
        prediction: LocalSuspect(shared_model(root, "kl", prediction), dtype=torch.float32)
        for prediction in ("epsilon", "v_prediction")
    }


def coated(root: Path, count: int = 5) -> TwinFolders:
    photos = ImageSet.open(draw_images(root / "photos", count, size=40))
    coater = Coater(dataclasses.replace(SHAPE, message_bits=0), seed=1)
    coat_twins(photos, coater, root / "out", root / "private")
    return TwinFolders(root / "out", root / "private")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> TwinFolders:
    return coated(tmp_path_factory.mktemp("twins"))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_scores_are_differences_of_losses_between_the_sides(
    suspects: dict[str, LocalSuspect], folders: TwinFolders, prediction: str
) -> None:
    found = measure_twins(suspects[prediction], folders, CONFIG)
    record = TwinsRecord.load(folders.twins)
    pipeline, twin = suspects[prediction].pipeline, record.images[3]
    assert found.twins
    assert not found.preference
    assert found.source["coins"] == [one.coin for one in record.images]
    assert found.hashes[3] == twin.published
    text = (folders.published / "3.txt").read_text()
    places = [folders.published, folders.twins]

    def loss(side: int, draw: int, sign: int) -> float:
        path = places[side ^ twin.coin] / twin.name
        view = crop_view(to_tensor(read_picture(path).rgb), 32)
        with torch.no_grad():
            latents = pipelines.encode_latents(pipeline, view)
            times, noise = noise_of(latents, [3], draw, CONFIG)
            embeds = pipelines.encode_prompts(pipeline, [text])
            one = pipelines.loss_at(pipeline, latents, embeds, noise=sign * noise, timesteps=times)
        return float(one)

    pairs = [(draw, sign) for draw in range(3) for sign in (1, -1)]
    wanted = np.mean([loss(1, *pair) - loss(0, *pair) for pair in pairs])
    assert found.scores[3] == pytest.approx(wanted, abs=1e-6)
    assert np.ptp(found.scores) > 1e-5


def test_batches_and_stops_change_nothing(
    suspects: dict[str, LocalSuspect], folders: TwinFolders, tmp_path: Path
) -> None:
    suspect, control = suspects["epsilon"], suspects["v_prediction"]
    whole = measure_twins(suspect, folders, CONFIG, control=control)
    one, part = dataclasses.replace(CONFIG, batch_size=1), tmp_path / "part"
    with pytest.raises(Cancelled):
        measure_twins(suspect, folders, one, control=control, partial=part, progress=StopAfter(3))
    assert part.exists()
    seen: list[int] = []

    class Counted(StopAfter):
        def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
            seen.append(done)

    again = measure_twins(
        suspect, folders, CONFIG, control=control, partial=part, progress=Counted(99)
    )
    assert seen == [3]
    assert not part.exists()
    assert np.allclose(again.scores, whole.scores, atol=1e-6)
    every, few = (
        measure_twins(suspect, folders, dataclasses.replace(CONFIG, images=count)).scores
        for count in (0, 2)
    )
    assert np.allclose(few, every[:2], atol=1e-6)
    whole.save(tmp_path / "x.json")
    loaded = ScoreSet.load(tmp_path / "x.json")
    assert coins_test(loaded.scores, loaded.source["coins"]) == coins_test(
        whole.scores, whole.source["coins"]
    )


def test_what_a_control_predicts_is_taken_out() -> None:
    rng = np.random.default_rng(3)
    control, own = rng.normal(size=(2, 50, 2))
    suspect = own + control * [2.0, -0.5]
    found = without_control(suspect, control)
    assert np.abs((found * control).sum(axis=0)).max() < 1e-9
    assert np.corrcoef(found[:, 0], own[:, 0])[0, 1] > 0.95
    sides = np.where(rng.random((50, 1)) < 0.5, -1, 1)  # whichever copy is called side 0
    assert np.allclose(without_control(sides * suspect, sides * control), sides * found)
    assert np.array_equal(without_control(suspect, 0 * control), suspect)


def test_a_control_that_leaves_nothing_is_refused(
    suspects: dict[str, LocalSuspect], folders: TwinFolders, tmp_path: Path
) -> None:
    same = suspects["epsilon"]
    with pytest.raises(ConfigError, match="is the suspicious model itself"):
        measure_twins(same, folders, CONFIG, control=same)
    lora = tiny_lora(tmp_path / "lora.safetensors", same.pipeline, seed=1)
    fitted = LocalSuspect(same.model, lora, dtype=torch.float32)
    with pytest.raises(ConfigError, match="is the suspicious model itself"):
        measure_twins(fitted, folders, CONFIG, control=fitted)
    with pytest.raises(ConfigError, match="but the suspicious model is a whole model here"):
        measure_twins(same, folders, CONFIG, control=fitted)
    assert measure_twins(fitted, folders, CONFIG, control=same).scores.any()


def test_the_published_side_is_found_wherever_the_coin_put_it(
    suspects: dict[str, LocalSuspect], folders: TwinFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that knows nothing but the published copies."""
    record = TwinsRecord.load(folders.twins)
    known = torch.cat(
        [
            pipelines.encode_latents(
                suspects["epsilon"].pipeline,
                crop_view(to_tensor(read_picture(folders.published / twin.name).rgb), 32),
            )
            for twin in record.images
        ]
    )

    given: list[Tensor] = []
    noisy_of = Denoiser.noisy

    def noisy(model: Denoiser, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        given.append(latents)
        return noisy_of(model, latents, noise, times)

    def noise_in(model: Denoiser, noisy: Tensor, times: Tensor, _: Any) -> Tensor:
        near = [int((one - known).square().sum((1, 2, 3)).argmin()) for one in given.pop()]
        return (noisy - each(model.signal, times) * known[near]) / each(model.rest, times)

    monkeypatch.setattr(Denoiser, "noisy", noisy)
    monkeypatch.setattr(Denoiser, "noise_in", noise_in)
    found = measure_twins(suspects["epsilon"], folders, CONFIG)
    result = coins_test(found.scores, found.source["coins"])
    assert result.right == len(record.images)
    assert result.p_value == result.smallest_p


def test_what_is_refused(suspects: dict[str, LocalSuspect], tmp_path: Path) -> None:
    suspect, folders = suspects["epsilon"], coated(tmp_path, 2)
    with pytest.raises(ConfigError, match="multiple of 8"):
        measure_twins(suspect, folders, TwinsConfig(resolution=33))
    swapped = TwinFolders(folders.twins, folders.twins)
    with pytest.raises(EvidenceError, match="2 of 2 files of the kind 'published copy'"):
        measure_twins(suspect, swapped)
    (folders.twins / "1.png").unlink()
    with pytest.raises(EvidenceError, match=r"1 of 2 files of the kind 'twin'.*'1\.png'"):
        measure_twins(suspect, folders)
    dataclasses.replace(TwinsRecord.load(folders.twins), images=()).save(folders.twins)
    with pytest.raises(EvidenceError, match="has no images"):
        measure_twins(suspect, folders)


def test_a_damaged_model_and_other_families_are_refused(
    folders: TwinFolders, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp()
    broken = LocalSuspect(shared_model(root, "kl", "epsilon"), dtype=torch.float32)
    next(broken.pipeline.unet.parameters()).data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        measure_twins(broken, folders, CONFIG)

    class VQDiffusionPipeline:
        pass

    broken.__dict__["_loaded"] = (VQDiffusionPipeline(), ())
    with pytest.raises(ModelError, match="This model is a VQDiffusionPipeline"):
        measure_twins(broken, folders, CONFIG)
