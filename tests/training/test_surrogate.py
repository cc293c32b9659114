"""The frozen stand-in: its losses and samples, and where gradients may and may not go."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tiny_models import SIZE, need_models, shared_model

from siren_ext.diffusion import pipelines
from siren_ext.diffusion.sampling import sample_latents
from siren_ext.training import surrogate as module
from siren_ext.training.surrogate import DiffusionSurrogate

need_models()
pytestmark = pytest.mark.models

PREDICTIONS = ("epsilon", "v_prediction")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, side: int = SIZE, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=seeded(seed))


def build(root: Path, prediction: Any, vae: Any = "tiny", **options: Any) -> DiffusionSurrogate:
    folder = shared_model(root, vae, prediction)
    options = {"dtype": torch.float32} | options
    return DiffusionSurrogate(
        pipelines.load_pipeline(folder, device="cpu", **options), "a photo of a red cat"
    )


@pytest.fixture(scope="module", params=PREDICTIONS)
def surrogate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build(tmp_path_factory.getbasetemp(), request.param)


def parts(surrogate: DiffusionSurrogate) -> list[torch.nn.Module]:
    pipeline = surrogate.pipeline
    return [pipeline.unet, pipeline.vae, pipeline.text_encoder]


def test_frozen_and_at_the_models_own_size(surrogate: DiffusionSurrogate) -> None:
    assert surrogate.resolution == SIZE
    for part in parts(surrogate):
        assert not part.training
        assert not any(p.requires_grad for p in part.parameters())
    assert surrogate.embeddings(3).shape == (3, 32, 32)
    assert len(surrogate.kept) == 1000


def test_loss_is_the_diffusion_loss(surrogate: DiffusionSurrogate) -> None:
    """One draw, written out from Eq. 2 (noise) and for velocity."""
    images = pictures(2)
    found = surrogate.denoising_loss(images, generator=seeded(1))
    generator = seeded(1)
    pipeline = surrogate.pipeline
    latents = pipelines.encode_latents(pipeline, images)
    times = (torch.rand(2, generator=generator) * 1000).long()
    noise = torch.randn(latents.shape, generator=generator)
    kept = surrogate.kept[times].view(-1, 1, 1, 1)
    noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
    guess = pipeline.unet(noisy, times, surrogate.embeddings(2)).sample
    target = noise
    if pipeline.scheduler.config.prediction_type == "v_prediction":
        target = kept.sqrt() * noise - (1 - kept).sqrt() * latents
    expected = (guess - target).square().mean((1, 2, 3))
    torch.testing.assert_close(found, expected)


def test_draws_are_spread_over_the_schedule(
    surrogate: DiffusionSurrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def record(pipeline: Any, latents: torch.Tensor, *_: Any, timesteps: Any, **__: Any) -> Any:
        seen.append(timesteps)
        return torch.full((len(latents),), float(len(seen)))

    monkeypatch.setattr(pipelines, "denoising_loss", record)
    losses = surrogate.denoising_loss(pictures(6), generator=seeded(2), draws=4)
    assert losses.tolist() == [2.5] * 6
    for draw, times in enumerate(seen):
        assert (times // 250 == draw).all()
        assert len(set(times.tolist())) > 3


def test_posterior_is_sampled_in_the_loss_and_not_in_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    surrogate = build(tmp_path_factory.getbasetemp(), "epsilon", "kl")
    images = pictures(1)
    codes = [surrogate.encode(images, seeded(seed)) for seed in (1, 1, 2)]
    assert torch.equal(codes[0], codes[1])
    assert not torch.allclose(codes[0], codes[2])
    assert torch.equal(surrogate.round_trip(images), surrogate.round_trip(images))


@pytest.mark.parametrize("vae", ["tiny", "kl"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_gradient_reaches_the_images_and_no_weight(
    prediction: str, vae: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    surrogate = build(tmp_path_factory.getbasetemp(), prediction, vae)
    images = pictures(2).requires_grad_(True)
    views = {
        "learn": surrogate.denoising_loss(images, generator=seeded(3), draws=2).sum(),
        "round trip": surrogate.round_trip(images).mean(),
        "renoise": surrogate.renoise(images, 50, 500, generator=seeded(3)).mean(),
    }
    for name, value in views.items():
        (slope,) = torch.autograd.grad(value, images, retain_graph=True)
        assert torch.isfinite(slope).all(), name
        assert (slope.flatten(1).abs().sum(1) > 0).all(), name
    sum(views.values()).backward()
    assert images.grad is not None
    for part in parts(surrogate):
        assert all(p.grad is None for p in part.parameters())


def test_perfect_denoiser_gives_the_image_back(
    surrogate: DiffusionSurrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A UNet that knows the answer makes the one-step estimate exact."""
    pipeline = surrogate.pipeline
    latents = surrogate.encode(pictures(2))
    times, noise = torch.tensor([60, 700]), torch.randn(latents.shape, generator=seeded(4))
    noisy = pipelines.add_noise(pipeline, latents, noise, times)
    target = pipelines.denoising_target(pipeline, latents, noise, times)

    class Oracle(torch.nn.Module):
        dtype = torch.float32

        def forward(self, *_: Any, **__: Any) -> tuple[torch.Tensor]:
            return (target,)

    monkeypatch.setattr(
        surrogate, "pipeline", SimpleNamespace(**vars(pipeline) | {"unet": Oracle()})
    )
    back = surrogate.denoise(noisy, times)
    torch.testing.assert_close(back, latents, rtol=1e-3, atol=1e-4)
    estimate = pipelines.clean_estimate(pipeline, noisy, target, times)
    torch.testing.assert_close(estimate, latents, rtol=1e-3, atol=1e-4)


def test_more_noise_is_a_larger_change(surrogate: DiffusionSurrogate) -> None:
    images = pictures(4)
    trip = surrogate.round_trip(images)
    changes = [
        float((surrogate.renoise(images, low, low + 1, generator=seeded(5)) - trip).abs().mean())
        for low in (0, 300)
    ]
    assert changes[0] < changes[1]


def test_sample_is_what_a_suspect_draws(surrogate: DiffusionSurrogate) -> None:
    pipeline = surrogate.pipeline
    images = surrogate.sample(2, generator=seeded(6), steps=3, guidance=2.0)
    assert images.shape == (2, 3, SIZE, SIZE)
    assert 0 <= images.min() <= images.max() <= 1
    assert not images.requires_grad
    noise = torch.randn(2, 4, SIZE // 8, SIZE // 8, generator=seeded(6))
    texts = pipelines.encode_prompts(pipeline, ["", surrogate.prompt])
    latents = sample_latents(pipeline, noise, texts[1:], texts[:1], steps=3, guidance=2.0)
    torch.testing.assert_close(images, pipelines.decode_latents(pipeline, latents))


def test_few_large_pictures_are_drawn_at_once(
    surrogate: DiffusionSurrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [module.at_once(side) for side in (128, 512, 768, 4096)] == [64, 4, 1, 1]
    texts = torch.randn(3, *surrogate.embedding.shape[1:], generator=seeded(8))
    given = {"steps": 2, "guidance": 2.0, "texts": texts}
    together = surrogate.sample(3, generator=seeded(9), **given)
    sizes: list[int] = []
    drawn = sample_latents

    def counted(pipeline: Any, noise: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        sizes.append(len(noise))
        return drawn(pipeline, noise, *args, **kwargs)

    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 2 * SIZE**2)
    monkeypatch.setattr(module, "sample_latents", counted)
    torch.testing.assert_close(surrogate.sample(3, generator=seeded(9), **given), together)
    assert sizes == [2, 1]


def test_images_of_another_size_are_fitted(surrogate: DiffusionSurrogate) -> None:
    images = pictures(2, 50)
    assert surrogate.round_trip(images).shape == (2, 3, SIZE, SIZE)
    assert surrogate.denoising_loss(images, generator=seeded(8)).shape == (2,)


def test_low_precision_keeps_float_outside(tmp_path_factory: pytest.TempPathFactory) -> None:
    surrogate = build(tmp_path_factory.getbasetemp(), "epsilon", dtype=torch.bfloat16)
    exact = build(tmp_path_factory.getbasetemp(), "epsilon")
    images = pictures(2)
    for method in (
        lambda s: s.denoising_loss(images, generator=seeded(9)),
        lambda s: s.renoise(images, 50, 60, generator=seeded(9)),
        lambda s: s.round_trip(images),
    ):
        rough = method(surrogate)
        assert rough.dtype == torch.float32
        torch.testing.assert_close(rough, method(exact), rtol=0.1, atol=0.05)
