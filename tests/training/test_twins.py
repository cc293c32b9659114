"""Twins: adapters in the surrogate's own UNet, which is itself whenever none of them is active."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.tiny_models import SIZE, need_models, tiny_surrogate

from siren_ext.diffusion import pipelines
from siren_ext.personalize.lora import adapter_names
from siren_ext.training import surrogate as module
from siren_ext.training.surrogate import DiffusionSurrogate
from siren_ext.training.twins import Twins

need_models()
pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> DiffusionSurrogate:
    made: DiffusionSurrogate = tiny_surrogate(tmp_path_factory.getbasetemp())
    return made


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def learn(surrogate: DiffusionSurrogate, twins: Twins, steps: int) -> list[float]:
    """Losses of steps on the same draw: only the weights change."""
    picks, found = torch.arange(4) % 3, []
    for _ in range(steps):
        generator = torch.Generator().manual_seed(9)
        parts = surrogate.captioned(pictures(4), picks, generator, 4)
        found.append(twins.first.learn(parts, 4, generator))
    return found


def seen(surrogate: DiffusionSurrogate) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return surrogate.renoise(pictures(1), 100, 300, generator=generator)


def test_learning_lowers_the_loss(surrogate: DiffusionSurrogate) -> None:
    twins = Twins(surrogate.pipeline, rate=2e-3)
    steps = learn(surrogate, twins, 8)
    assert steps[-1] < 0.97 * steps[0]
    twins.close()


def test_a_batch_in_parts_gives_the_step_of_the_whole(
    surrogate: DiffusionSurrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = Twins(surrogate.pipeline, rate=2e-3)
    latents, texts = surrogate.encode(pictures(2)), surrogate.texts(torch.arange(2))

    def calm(pipeline: Any, latents: torch.Tensor, texts: torch.Tensor, **_: Any) -> torch.Tensor:
        """A loss without draws."""
        times = torch.full((len(latents),), 300)
        guess = pipeline.unet(latents, times, texts, return_dict=False)[0]
        loss: torch.Tensor = (guess - latents).square().mean((1, 2, 3))
        return loss

    monkeypatch.setattr(pipelines, "denoising_loss", calm)
    generator = torch.Generator()
    whole = twins.first.learn([(latents, texts)], 2, generator)
    parts = [(latents[:1], texts[:1]), (latents[1:], texts[1:])]
    assert twins.second.learn(parts, 2, generator) == pytest.approx(whole)
    found = [twin.optimiser.state_dict()["state"][0]["exp_avg"] for twin in twins]
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-7)
    twins.close()


def test_the_surrogate_is_itself_unless_a_twin_is_active(surrogate: DiffusionSurrogate) -> None:
    own = seen(surrogate)
    twins = Twins(surrogate.pipeline, rate=5e-2)
    torch.testing.assert_close(seen(surrogate), own, rtol=0, atol=0)
    with twins.first.active():
        torch.testing.assert_close(seen(surrogate), own)  # untrained: no change yet
    learn(surrogate, twins, 3)
    with twins.first.active():
        assert (seen(surrogate) - own).abs().max() > 1e-4
    with twins.second.active():
        torch.testing.assert_close(seen(surrogate), own)
    torch.testing.assert_close(seen(surrogate), own, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="halfway"), twins.first.active():
        raise RuntimeError("halfway")
    torch.testing.assert_close(seen(surrogate), own, rtol=0, atol=0)
    twins.close()


@pytest.mark.parametrize("pixels", [1, 10**9])
def test_the_gradient_is_that_of_the_twin_that_denoised(
    surrogate: DiffusionSurrogate, monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    """Large pictures are computed again for the gradient, when the twin is no longer active."""
    monkeypatch.setattr(module, "PIXELS_WITH_GRADIENT", pixels)
    twins = Twins(surrogate.pipeline, rate=5e-2)
    learn(surrogate, twins, 3)

    def slope(wait: bool) -> torch.Tensor:
        images = pictures(1).requires_grad_()
        generator = torch.Generator().manual_seed(7)
        with twins.first.active():
            loss = surrogate.renoise(images, 100, 300, generator=generator).square().sum()
            if not wait:
                loss.backward()
        if wait:
            loss.backward()
        assert images.grad is not None
        return images.grad

    torch.testing.assert_close(slope(wait=True), slope(wait=False), rtol=0, atol=0)
    twins.close()


def test_closing_leaves_the_network_as_it_was(surrogate: DiffusionSurrogate) -> None:
    before = [name for name, _ in surrogate.pipeline.unet.named_modules()]
    assert not adapter_names(surrogate.pipeline.unet)
    first, second = Twins(surrogate.pipeline), Twins(surrogate.pipeline)
    assert len(adapter_names(surrogate.pipeline.unet)) == 4
    first.close()
    assert len(adapter_names(surrogate.pipeline.unet)) == 2
    second.close()
    assert [name for name, _ in surrogate.pipeline.unet.named_modules()] == before
    assert not any(p.requires_grad for p in surrogate.pipeline.unet.parameters())
    second.close()  # a second time does no harm
