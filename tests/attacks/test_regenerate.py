"""Pictures made again: by tiny random diffusion models, by a filter, by a stand-in for a codec."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tiny_models import need_models, shared_model
from torch import Tensor

from siren_ext.attacks import regenerate as module
from siren_ext.attacks.regenerate import img2img_denoise, learned_codec, regenerate, restore
from siren_ext.errors import ConfigError, ImageError, MissingExtraError, ModelError


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures() -> Tensor:
    return torch.rand(2, 3, 40, 56, generator=draws(4))


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    need_models()
    return str(shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon"))


# -- diffusion ------------------------------------------------------------------------------


def test_step_zero_is_the_autoencoder_and_noise_changes_more(base: str) -> None:
    images = pictures()
    made = [regenerate(images, draws(1), base=base, step=step, size=64) for step in (0, 60, 400)]
    assert all(one.shape == images.shape for one in made)
    assert all(0 <= float(one.min()) <= float(one.max()) <= 1 for one in made)
    pipeline = module._model(base, torch.device("cpu"))
    sides = module._sides(pipeline, 40, 56, 64)
    assert sides == (64, 64)
    view = module.resize(images, *sides)
    coded = module.decode_latents(pipeline, module.encode_latents(pipeline, view, draws(1)))
    assert torch.allclose(made[0], module.resize(coded, 40, 56), atol=1e-5)
    assert torch.equal(made[1], regenerate(images, draws(1), base=base, step=60, size=64))
    assert not torch.equal(made[1], regenerate(images, draws(2), base=base, step=60, size=64))
    far = [float((one - made[0]).square().mean()) for one in made[1:]]
    assert 0 < far[0] < far[1]


@pytest.mark.parametrize(("step", "calls"), [(1, 1), (60, 3), (400, 20), (999, 49)])
def test_the_part_of_the_schedule(
    base: str, step: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """max(step / 20, 1) of 50 steps, as in WatermarkAttacker."""
    pipeline = module._model(base, torch.device("cpu"))
    seen: list[int] = []

    def unet(view: Tensor, time: Tensor, *rest: Any, **options: Any) -> tuple[Tensor]:
        seen.append(int(time))
        return (view,)

    unet.dtype = torch.float32  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "encode_prompts", lambda *_: torch.zeros(2, 1, 1))
    pipe = SimpleNamespace(unet=unet, scheduler=pipeline.scheduler)
    module._denoised(pipe, torch.zeros(1, 4, 8, 8), step, ("", ""), 7.5)
    assert len(seen) == calls
    assert seen == sorted(seen, reverse=True)


def test_prompted_denoising_follows_strength_and_words(base: str) -> None:
    images = pictures()
    options: dict[str, Any] = {"base": base, "size": 64}
    weak = img2img_denoise(images, draws(), strength=0, **options)
    assert torch.equal(weak, regenerate(images, draws(), step=0, **options))
    made = img2img_denoise(images, draws(), **options)
    assert made.shape == images.shape
    assert not torch.equal(made, weak)
    other = img2img_denoise(images, draws(), prompt="a red cat", **options)
    assert not torch.equal(made, other)


def test_mistakes_are_named(tmp_path: Path) -> None:
    for settings, words in (
        ({"step": 1000}, "step is 1000; expected a whole number from 0 to 999"),
        ({"guidance": 0}, "guidance is 0"),
        ({"size": 8}, "size is 8; expected a whole number from 16 to 4096"),
        ({"prompt": 1}, "prompt is 1; expected a text"),
        ({"base": None}, "base is None; expected a text"),
    ):
        with pytest.raises(ConfigError, match=words):
            regenerate(pictures(), draws(), **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="strength is 2"):
        img2img_denoise(pictures(), draws(), strength=2)
    with pytest.raises(ImageError, match="expected a batch"):
        regenerate(pictures()[0], draws())
    with pytest.raises(ModelError):
        regenerate(pictures(), draws(), base=str(tmp_path / "none"))


# -- others ---------------------------------------------------------------------------------


def test_restoring_keeps_edges_better_than_grain() -> None:
    pytest.importorskip("kornia")
    images = pictures()
    assert torch.equal(restore(images, draws(), sigma=0, shrink=1, smooth=0), images)
    found = restore(images, draws())
    assert found.shape == images.shape
    assert torch.equal(found, restore(images, draws()))
    edge = torch.cat((torch.full((1, 3, 24, 12), 0.2), torch.full((1, 3, 24, 12), 0.8)), 3)
    grain = 0.02 * torch.randn(edge.shape, generator=draws())
    left = restore(edge + grain, draws(), sigma=0, shrink=1) - edge
    assert float(left.abs().mean()) < 0.6 * float(grain.abs().mean())
    with pytest.raises(ConfigError, match="smooth is 2"):
        restore(images, draws(), smooth=2)


def test_restoring_names_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia.filters", None)
    with pytest.raises(MissingExtraError, match="kornia"):
        restore(pictures(), draws())


class Codec:
    """In place of a network of CompressAI: halves all values, and wants whole blocks."""

    def eval(self) -> Codec:
        return self

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        assert images.shape[2] % 64 == images.shape[3] % 64 == 0
        return {"x_hat": images / 2}


def test_codecs_pad_to_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def make(quality: int, **options: Any) -> Codec:
        asked.append((quality, options))
        return Codec()

    zoo = SimpleNamespace(image_models={"mbt2018": make})
    monkeypatch.setattr(module.importlib, "import_module", lambda name: zoo)
    module._codec.cache_clear()
    images = pictures()
    for _ in range(2):
        assert torch.equal(learned_codec(images, model="mbt2018", quality=5), images / 2)
    assert asked == [(5, {"metric": "mse", "pretrained": True})]
    module._codec.cache_clear()

    def offline(quality: int, **options: Any) -> Codec:
        raise OSError("no route")

    zoo.image_models["mbt2018"] = offline
    with pytest.raises(ModelError, match=r"weights of mbt2018, quality 5: no route\. Check"):
        learned_codec(images, model="mbt2018", quality=5)


def test_codecs_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "compressai.zoo", None)
    module._codec.cache_clear()
    with pytest.raises(ModelError, match="pip install compressai"):
        learned_codec(pictures())
    with pytest.raises(ConfigError, match="model is 'h265'; expected one of bmshj2018-fact"):
        learned_codec(pictures(), model="h265")
    with pytest.raises(ConfigError, match="quality is 7; expected a whole number from 1 to 6"):
        learned_codec(pictures(), model="cheng2020-anchor", quality=7)
