"""The three maps of a pipeline, its loss, and loading without a hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.original_format import original_format
from support.tiny_models import SIZE, need_models, shared_model, tiny_pipeline

from siren_ext.diffusion import pipelines
from siren_ext.diffusion.sampling import ddim, sample_latents, seeded_noise
from siren_ext.errors import ImageError, ModelError

need_models()
pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module", params=["tiny", "kl"])
def pipeline(request: pytest.FixtureRequest, root: Path) -> Any:
    folder = shared_model(root, request.param, "epsilon")
    return pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def velocity(root: Path) -> Any:
    folder = shared_model(root, "tiny", "v_prediction")
    return pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)


def test_loading_freezes_everything(pipeline: Any) -> None:
    for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert pipelines.native_size(pipeline) == SIZE
    assert pipelines.latent_factor(pipeline) == 8


def test_loading_takes_the_asked_format(root: Path) -> None:
    folder = shared_model(root, "tiny", "epsilon")
    loaded = pipelines.load_pipeline(folder, device="cpu", dtype=torch.bfloat16)
    assert {p.dtype for p in loaded.unet.parameters()} == {torch.bfloat16}
    images = pipelines.decode_latents(loaded, torch.zeros(1, 4, 4, 4))
    assert images.dtype == torch.float32


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

    def oracle(noisy: torch.Tensor, t: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor]:
        kept = velocity.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = (noisy - kept.sqrt() * latents) / (1 - kept).sqrt()
        return (kept.sqrt() * noise - (1 - kept).sqrt() * latents,)

    def loss(unet: Any) -> torch.Tensor:
        return pipelines.denoising_loss(
            velocity,
            latents,
            pipelines.encode_prompts(velocity, ["x"]),
            generator=torch.Generator().manual_seed(0),
            timesteps=times,
            unet=unet,
        )

    assert loss(oracle).shape == (2,)
    assert loss(oracle).max() < 1e-8
    assert loss(None).min() > 0.1
    assert torch.equal(loss(None), loss(None))


def test_sampling_agrees_with_diffusers(pipeline: Any) -> None:
    size = SIZE
    noise = seeded_noise(pipeline, [11, 12], size)
    ours = sample_latents(
        pipeline,
        noise,
        pipelines.encode_prompts(pipeline, ["a cat", "a dog"]),
        pipelines.encode_prompts(pipeline, ["bad"]),
        steps=4,
        guidance=3.0,
    )
    original = pipeline.scheduler
    pipeline.scheduler = ddim(pipeline)
    try:
        theirs = pipeline(
            prompt=["a cat", "a dog"],
            negative_prompt=["bad", "bad"],
            num_inference_steps=4,
            guidance_scale=3.0,
            latents=noise,
            height=size,
            width=size,
            output_type="latent",
        ).images
    finally:
        pipeline.scheduler = original
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_fingerprint_follows_the_weights(root: Path, tmp_path: Path) -> None:
    folder = shared_model(root, "tiny", "epsilon")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "README.md").write_text("a card")
    assert pipelines.model_fingerprint(copy) == pipelines.model_fingerprint(folder)
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert pipelines.model_fingerprint(copy) != pipelines.model_fingerprint(folder)


def test_wrong_models_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is nothing that can't be used"):
        pipelines.load_pipeline(tmp_path / "absent")
    pickled = tmp_path / "model.ckpt"
    pickled.write_bytes(b"x")
    with pytest.raises(ModelError, match="safetensors"):
        pipelines.load_pipeline(pickled)
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"x" * 64)
    with pytest.raises(ModelError, match=r"model\.safetensors is not a readable"):
        pipelines.load_pipeline(broken)
    shutil.copytree(shared_model(root, "tiny", "epsilon"), tmp_path / "model")
    with pytest.raises(ModelError, match=r"model\.safetensors can't be loaded"):
        pipelines.load_pipeline(broken)
    for name, change, words in (
        ("kind", {"_class_name": "FluxPipeline"}, "FluxPipeline"),
        ("part", {"unet": ["os", "system"]}, "system from os"),
    ):
        copy = Path(shutil.copytree(shared_model(root, "tiny", "epsilon"), tmp_path / name))
        index = json.loads((copy / "model_index.json").read_text())
        (copy / "model_index.json").write_text(json.dumps(index | change))
        with pytest.raises(ModelError, match=words):
            pipelines.load_pipeline(copy)


def test_other_predictions_are_refused(tmp_path: Path) -> None:
    pipeline = tiny_pipeline(tmp_path)
    pipeline.scheduler.register_to_config(prediction_type="sample")
    with pytest.raises(ModelError, match="'sample'"):
        pipelines.prediction_type(pipeline)


def test_missing_weights_are_not_made_up(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shared_model(root, "tiny", "epsilon"), tmp_path / "copy"))
    for part, file in (("text_encoder", "model"), ("unet", "diffusion_pytorch_model")):
        path = copy / part / f"{file}.safetensors"
        whole = load_file(path)
        victim = sorted(key for key in whole if key.endswith("weight"))[0]
        save_file({k: v for k, v in whole.items() if k != victim}, path, {"format": "pt"})
        # older diffusers refuse by themselves
        with pytest.raises(ModelError, match=r"don't fit its settings|keys are missing"):
            pipelines.load_pipeline(copy, device="cpu")
        save_file(whole, path, {"format": "pt"})


def test_single_file_checkpoint_equals_its_folder(root: Path, tmp_path: Path) -> None:
    folder = shared_model(root, "kl", "epsilon")
    whole = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    path = tmp_path / "original.safetensors"
    save_file(original_format(whole), path)
    shutil.copytree(folder, path.with_suffix(""), ignore=shutil.ignore_patterns("*.safetensors"))
    single = pipelines.load_pipeline(path, device="cpu", dtype=torch.float32)
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(single, name).state_dict(), getattr(whole, name).state_dict()
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert pipelines.model_fingerprint(path) != pipelines.model_fingerprint(folder)
    assert single.tokenizer("a red cat").input_ids == whole.tokenizer("a red cat").input_ids
