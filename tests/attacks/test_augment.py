"""Trainings with images that are handled afresh at each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.short_runs import SMALL, StopAt, load
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.attacks import augment
from siren_ext.attacks.augment import (
    AugmentConfig,
    AugmentingTrainer,
    augmentations,
    augmented,
    left_out,
    step_of,
)
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError, DatasetError
from siren_ext.personalize.data import prepare
from siren_ext.personalize.run import Trainer
from siren_ext.progress import NULL


def config(*names: str, **changes: Any) -> AugmentConfig:
    plain = SMALL.to_dict() | {"flip": False}
    return AugmentConfig.from_dict(plain | {"augment": names} | changes)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_models()
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("augment"), 5)).checked()


def trainer(model: Path, data: ImageSet, chosen: AugmentConfig) -> AugmentingTrainer:
    pipeline = load(model)
    training = prepare(data, pipeline, chosen, NULL)
    return AugmentingTrainer(pipeline, training, chosen, images=data)


# -- names and settings ---------------------------------------------------------------------


def test_a_step_has_all_settings() -> None:
    step = step_of("crop:low=0.5,keep_size=false")
    assert (step.name, step.settings["low"], step.settings["high"]) == ("crop", 0.5, 1.0)
    assert step.settings["keep_size"] is False
    for text in ("jpeg:chroma=4:4:4,quality=60", 'jpeg:quality=60,chroma="4:4:4"'):
        assert step_of(text).settings == {"quality": 60, "chroma": "4:4:4"}
    assert step_of("text:text=hello").settings["text"] == "hello"
    sizes = step_of("resolutions:sizes=[[64, 64], [32, 32]]").settings["sizes"]
    assert sizes == [[64, 64], [32, 32]]
    # which this size of picture can't have, but others can
    assert step_of("bucket:no_upscale=true,step=128").settings["step"] == 128
    assert step_of("mirror").settings == {"rate": 0.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drop-captions", "caption_dropout and prompt"),
        ("regenerate", "can't be used at each training step"),
        ("int8", "can't be used at each training step"),
        ("nothing", "expected one of centre-crop, hue"),
        ("crop:low", "'low' is not a setting of crop; expected one such as low=0.5"),
        ("crop:low=abc", "low is 'abc'"),
        ("crop:side=1", "no setting 'side'"),
        ("crop:low=2", "low is 2"),
        ("blur:strength=0", "changes nothing"),
    ],
)
def test_what_can_not_be_done(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config("mirror", text)


def test_none_of_them_needs_a_model() -> None:
    pytest.importorskip("kornia")
    for name in augmentations():
        assert step_of(name).name == name


# -- training -------------------------------------------------------------------------------


@pytest.mark.models
def test_without_handling_images_are_those_of_other_trainings(model: Path, data: ImageSet) -> None:
    made = trainer(model, data, config())
    plain = made.data.batch(0, made.config)
    # the autoencoder draws, so the same pixels differ a little
    apart = (made.batch().latents - plain.latents).abs().mean()
    assert apart < 0.1 * plain.latents.abs().mean()
    assert made.batch().texts.equal(plain.texts)


@pytest.mark.models
def test_draws_differ_between_steps_and_images(model: Path, data: ImageSet) -> None:
    made = trainer(model, data, config("crop:low=0.5,high=0.5"))
    image = torch.tensor(2)
    first = made._view(0, image)
    assert made._view(0, image).equal(first)
    assert not made._view(1, image).equal(first)
    made.step = 1
    assert not made._view(0, image).equal(first)


@pytest.mark.models
def test_steps_are_applied_in_order(
    model: Path, data: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    handle = augment.handle

    def watched(images: Any, captions: Any, steps: Any, generator: Any) -> Any:
        seen.append([step.name for step in steps])
        return handle(images, captions, steps, generator)

    made = trainer(model, data, config("jpeg:quality=1", "mirror:rate=1"))
    monkeypatch.setattr(augment, "handle", watched)
    both = made._view(0, torch.tensor(0))
    assert seen == [["jpeg", "mirror"]]
    plain = trainer(model, data, config("jpeg:quality=1"))._view(0, torch.tensor(0))
    assert torch.allclose(both, plain.flip(3))


@pytest.mark.models
def test_flip_mirrors_about_half_of_the_images(model: Path, data: ImageSet) -> None:
    plain = trainer(model, data, config())._view(0, torch.tensor(0))
    made = trainer(model, data, config(flip=True))
    mirrored = [made._view(place, torch.tensor(0)).equal(plain.flip(3)) for place in range(40)]
    assert 10 < sum(mirrored) < 30


@pytest.mark.models
def test_a_stopped_run_gives_the_same_model(model: Path, data: ImageSet, tmp_path: Path) -> None:
    chosen = config("crop", "colour", flip=True)
    whole = augmented(data, model, chosen, tmp_path / "whole.safetensors", device="cpu")
    assert whole.metadata["ss_cache_latents"] == "False"
    assert '"augment": ["crop", "colour"]' in whole.metadata["siren_settings"]
    out = tmp_path / "broken.safetensors"
    with pytest.raises(Cancelled):
        augmented(data, model, chosen, out, device="cpu", progress=StopAt(3))
    augmented(data, model, chosen, out, device="cpu")
    first, second = load_tensors(tmp_path / "whole.safetensors"), load_tensors(out)
    assert all(first[name].equal(second[name]) for name in first)
    plain = tmp_path / "plain.safetensors"
    augmented(data, model, config(flip=True), plain, device="cpu")
    other = load_tensors(plain)
    assert any(not first[name].equal(other[name]) for name in first)


@pytest.mark.models
def test_images_that_can_not_be_handled_are_left_out(model: Path, tmp_path: Path) -> None:
    folder = draw_images(tmp_path / "images", 3, size=40)
    Image.new("RGB", (12, 40)).save(folder / "narrow.png")
    (folder / "narrow.txt").write_text("a line")
    data = ImageSet.open(folder)
    chosen = config("bucket:no_upscale=true,step=16,min_side=16,resolution=[40,40]")
    written = augmented(data, model, chosen, tmp_path / "lora.safetensors", device="cpu")
    assert written.metadata["ss_num_train_images"] == "3"
    ((name, why),) = left_out(written)
    assert name == "narrow.png"
    assert "Leave it out" in why
    alone = ImageSet(tuple(one for one in data.items if one.name == "narrow.png"), folder, "one")
    with pytest.raises(DatasetError, match="No image in one can be changed in this way"):
        augmented(alone, model, chosen, tmp_path / "no.safetensors", device="cpu")


@pytest.mark.models
def test_an_unlucky_draw_does_not_end_the_training(model: Path, tmp_path: Path) -> None:
    data = ImageSet.open(draw_images(tmp_path / "images", 2, size=40)).checked()
    crop = "crop:low=0.5,keep_size=false"
    bucket = "bucket:no_upscale=true,step=32,min_side=32,resolution=[64,64]"
    made = trainer(model, data, config(crop, bucket))
    for step in range(20):
        made.step = step
        assert made._view(0, torch.tensor(0)).shape[2:] == (made._size, made._size)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


@pytest.mark.models
def test_class_images_stay_as_they_are(model: Path, data: ImageSet) -> None:
    chosen = config("crop", method="dreambooth", class_prompt="a bird", learning_rate=1e-3)
    pipeline = load(model)
    training = prepare(data, pipeline, chosen, NULL)
    made = AugmentingTrainer(pipeline, training, chosen, training, images=data)
    seen: list[bool] = []
    backward: Any = Trainer._backward

    def watched(self: Any, batch: Any, share: float = 1.0) -> float:
        seen.append(batch.images is None)
        return float(backward(self, batch, share))

    made._backward = watched.__get__(made)  # type: ignore[method-assign]
    made.advance()
    assert seen == [False, True]
