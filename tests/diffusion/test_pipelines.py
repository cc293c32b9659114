"""The maps of a pipeline: latents, prompts, the loss."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tiny_models import SIZE, need_models, shared_model

from siren_ext.diffusion import pipelines
from siren_ext.errors import ImageError, ModelError

need_models()
pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def velocity(root: Path) -> Any:
    folder = shared_model(root, "tiny", "v_prediction")
    return pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)


def test_latents_are_those_of_the_autoencoder(pipeline: Any) -> None:
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    latents = pipelines.encode_latents(pipeline, images)
    coded = pipeline.vae.encode(images * 2 - 1)
    plain = coded.latents if hasattr(coded, "latents") else coded.latent_dist.mode()
    expected = plain * pipeline.vae.config.scaling_factor
    assert latents.shape == (2, 4, SIZE // 8, SIZE // 8)
    torch.testing.assert_close(latents, expected)
    back = pipelines.decode_latents(pipeline, latents)
    assert back.shape == images.shape
    assert 0 <= back.min() <= back.max() <= 1
    free = pipelines.decode_latents(pipeline, latents * 50, clamp=False)
    raw = pipeline.vae.decode(latents * 50 / pipeline.vae.config.scaling_factor).sample
    torch.testing.assert_close(free, raw / 2 + 0.5)


def test_posterior_is_sampled_only_with_a_generator(root: Path) -> None:
    folder = shared_model(root, "kl", "epsilon")
    kl = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    images = torch.rand(1, 3, SIZE, SIZE)
    mode = pipelines.encode_latents(kl, images)
    one = pipelines.encode_latents(kl, images, torch.Generator().manual_seed(1))
    again = pipelines.encode_latents(kl, images, torch.Generator().manual_seed(1))
    other = pipelines.encode_latents(kl, images, torch.Generator().manual_seed(2))
    assert torch.equal(mode, pipelines.encode_latents(kl, images))
    assert torch.equal(one, again)
    assert not torch.allclose(one, mode)
    assert not torch.allclose(one, other)


def test_gradients_reach_the_images_and_nothing_else(pipeline: Any) -> None:
    images = torch.rand(1, 3, SIZE, SIZE, requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    latents = pipelines.encode_latents(pipeline, images, generator)
    loss = (
        pipelines.denoising_loss(
            pipeline, latents, pipelines.encode_prompts(pipeline, ["a cat"]), generator=generator
        ).sum()
        + pipelines.decode_latents(pipeline, latents, clamp=False).square().mean()
    )
    loss.backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().sum() > 0
    for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("shape", [(1, 3, 33, 32), (3, 32, 32), (1, 1, 32, 32)])
def test_bad_pictures_are_refused(pipeline: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="multiples of 8"):
        pipelines.encode_latents(pipeline, torch.zeros(shape))


def test_prompts_are_padded_and_independent_of_the_batch(pipeline: Any) -> None:
    both = pipelines.encode_prompts(pipeline, ["a red cat", "a drawing of a house " * 30])
    one = pipelines.encode_prompts(pipeline, ["a red cat"])
    assert both.shape == (2, 32, 32)
    torch.testing.assert_close(both[:1], one, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(both[0], both[1])
    with pytest.raises(ModelError, match="at least one"):
        pipelines.encode_prompts(pipeline, [])


def test_target_matches_the_scheduler_of_diffusers(pipeline: Any, velocity: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(3, 4, 4, 4, generator=generator)
    noise = torch.randn(3, 4, 4, 4, generator=generator)
    times = torch.tensor([0, 400, 999])
    for pipe in (pipeline, velocity):
        noisy = pipelines.add_noise(pipe, latents, noise, times)
        torch.testing.assert_close(noisy, pipe.scheduler.add_noise(latents, noise, times))
    assert torch.equal(pipelines.denoising_target(pipeline, latents, noise, times), noise)
    expected = velocity.scheduler.get_velocity(latents, noise, times)
    torch.testing.assert_close(
        pipelines.denoising_target(velocity, latents, noise, times), expected
    )
    torch.testing.assert_close(
        pipelines.signal_to_noise(velocity, times)[2],
        velocity.scheduler.alphas_cumprod[999] / (1 - velocity.scheduler.alphas_cumprod[999]),
    )


def test_loss_is_zero_for_a_perfect_denoiser(velocity: Any) -> None:
    """A denoiser that is told the clean latents must reach zero under v-prediction."""
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(5))
    times = torch.tensor([10, 700])

    class Oracle:
        dtype = torch.float32

        def __call__(
            self, noisy: torch.Tensor, t: torch.Tensor, *_: Any, **__: Any
        ) -> tuple[torch.Tensor]:
            kept = velocity.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
            noise = (noisy - kept.sqrt() * latents) / (1 - kept).sqrt()
            return (kept.sqrt() * noise - (1 - kept).sqrt() * latents,)

    def loss(unet: Any) -> torch.Tensor:
        return pipelines.denoising_loss(
            SimpleNamespace(**vars(velocity) | {"unet": unet}),
            latents,
            pipelines.encode_prompts(velocity, ["x"]),
            generator=torch.Generator().manual_seed(0),
            timesteps=times,
        )

    assert loss(Oracle()).shape == (2,)
    assert loss(Oracle()).max() < 1e-8
    own = loss(velocity.unet)
    assert own.min() > 0.1
    assert torch.equal(loss(velocity.unet), own)


def test_fingerprint_follows_the_weights(root: Path, tmp_path: Path) -> None:
    folder = shared_model(root, "tiny", "epsilon")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "README.md").write_text("a card")
    assert pipelines.model_fingerprint(copy) == pipelines.model_fingerprint(folder)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert pipelines.model_fingerprint(copy) != pipelines.model_fingerprint(folder)
