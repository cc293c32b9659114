"""Noise predictions: kinds of models agree, and the schedule is the model's own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_families import tiny_family
from support.tiny_models import need_models, shared_model

from siren_ext.diffusion import families, pipelines
from siren_ext.diffusion.denoiser import (
    SMALL,
    Denoiser,
    arrange,
    denoiser,
    picture_size,
    same_encoder,
    taken,
)
from siren_ext.errors import ConfigError, ModelError

need_models()
pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


def load(folder: Path) -> Any:
    return families.load_any_pipeline(folder, device="cpu", dtype=torch.float32)


class Network:
    """Knows the clean latents and the noise, and answers as its kind of model does."""

    def __init__(self, owner: Denoiser, clean: torch.Tensor, noise: torch.Tensor) -> None:
        self.owner, self.clean, self.noise = owner, clean, noise

    def __call__(self, noisy: torch.Tensor, time: int, **_: Any) -> tuple[torch.Tensor]:
        signal, rest = self.owner.signal(time), self.owner.rest(time)
        answers = {
            "epsilon": self.noise,
            "v_prediction": signal * self.noise - rest * self.clean,
            "sample": self.clean,
        }
        variance = torch.zeros_like(self.noise)
        return (torch.cat([answers[self.owner.guess], variance], dim=1),)


@pytest.mark.parametrize("guess", ["epsilon", "v_prediction", "sample"])
def test_all_kinds_of_predictions_give_the_same_noise(root: Path, guess: str) -> None:
    model = Denoiser(load(shared_model(root, "tiny", "epsilon")))
    model.guess = guess
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 2, 4, 4, 4, generator=generator)
    model.network = Network(model, clean, noise)  # type: ignore[assignment]
    for time in (0, 100, 500, 900):
        noisy = model.noisy(clean, noise, time)
        rounding = 1e-5 if guess != "sample" else 1e-4 if time else 1e-3
        assert torch.allclose(model.noise_in(noisy, time, {}), noise, atol=rounding)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_losses_are_those_of_training(root: Path, prediction: Any) -> None:
    pipeline = load(shared_model(root, "kl", prediction))
    model = denoiser(pipeline)
    clean, noise = torch.randn(2, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    texts = ["a red cat", ""]
    condition = model.condition(texts, 32)
    for time in (0, 300, 900):
        trained = pipelines.loss_at(
            pipeline,
            clean,
            pipelines.encode_prompts(pipeline, texts),
            noise=noise,
            timesteps=torch.tensor([time, time]),
        )
        error = model.noise_in(model.noisy(clean, noise, time), time, condition) - noise
        found = error.square().mean((1, 2, 3)) * model.weight(time)
        assert torch.allclose(found, trained, rtol=1e-3)


@pytest.mark.parametrize("name", ["kl", "v", "xl", "sd3", "flux"])
def test_every_image_may_have_a_timestep_of_its_own(root: Path, name: str) -> None:
    kinds: dict[str, Any] = {"kl": "epsilon", "v": "v_prediction"}
    folder = shared_model(root, "kl", kinds[name]) if name in kinds else tiny_family(root, name)
    model = denoiser(load(folder))
    shape = (3, model.pipeline.vae.config.latent_channels, 4, 4)
    clean, noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    condition, times = model.condition(["a cat", "", "a dog"], 32), [0, 90, 700]
    noisy = model.noisy(clean, noise, torch.tensor(times))
    with torch.no_grad():
        seen = model.noise_in(noisy, torch.tensor(times), condition)
        for row, time in enumerate(times):
            among = [row] * 3
            alone = model.noisy(clean[among], noise[among], time)
            assert torch.allclose(alone[0], noisy[row], atol=1e-6)
            found = model.noise_in(alone, time, condition)[row]
            assert torch.allclose(found, seen[row], atol=1e-4)
            one = model.clean(noisy, seen, torch.tensor(times))[row]
            assert torch.allclose(model.clean(alone, found[None], time)[0], one, atol=1e-3)
    exact = model.clean(noisy, noise, torch.tensor(times))
    assert torch.allclose(exact, clean, atol=1e-4)


@pytest.mark.parametrize("name", ["xl", "sd3", "flux"])
def test_a_condition_is_repeated_for_versions(root: Path, name: str) -> None:
    model = denoiser(load(tiny_family(root, name)))
    texts = ["a cat", "a dog"]
    found, again = taken(model.condition(texts, 32), [0, 1, 0, 1]), model.condition(texts * 2, 32)
    channels = model.pipeline.vae.config.latent_channels
    noisy = torch.randn(4, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = model.noise_in(noisy, 500, found)
        assert torch.allclose(seen, model.noise_in(noisy, 500, again), atol=1e-4)
        swapped = taken(model.condition(texts, 32), [1, 0, 1, 0])
        assert not torch.allclose(seen, model.noise_in(noisy, 500, swapped), atol=1e-3)


@pytest.mark.parametrize("name", ["xl", "sd3", "flux"])
def test_texts_of_a_condition_are_taken_in_any_order(root: Path, name: str) -> None:
    model = denoiser(load(tiny_family(root, name)))
    found = taken(model.condition(["a cat", "a dog"], 32), [1, 0, 1])
    again = model.condition(["a dog", "a cat", "a dog"], 32)
    channels = model.pipeline.vae.config.latent_channels
    noisy = torch.randn(3, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = model.noise_in(noisy, 500, found)
        assert torch.allclose(seen, model.noise_in(noisy, 500, again), atol=1e-4)
    assert not torch.equal(found["encoder_hidden_states"][0], found["encoder_hidden_states"][1])


def test_weights_are_arranged_for_small_pictures_without_another_result(root: Path) -> None:
    model = denoiser(load(tiny_family(root, "xl")))
    noisy = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    condition = model.condition(["a cat", "a dog"], 32)

    def is_arranged() -> bool:
        weight = model.network.conv_in.weight
        return bool(weight.is_contiguous(memory_format=torch.channels_last))

    with torch.no_grad():
        before = model.noise_in(noisy, 500, condition)
        arrange(model, SMALL + 8)
        assert not is_arranged()
        arrange(model, SMALL)
        assert is_arranged()
        assert torch.allclose(before, model.noise_in(noisy, 500, condition), atol=1e-4)


def test_the_schedule_is_that_of_training(root: Path) -> None:
    model = denoiser(load(tiny_family(root, "xl")))  # its Euler sampler has other timesteps
    assert model.rest(0) ** 2 == pytest.approx(0.00085, rel=1e-3)
    assert model.signal(999) == pytest.approx(math.sqrt(0.00466), rel=1e-2)
    flow = denoiser(load(tiny_family(root, "sd3")))
    assert flow.experimental
    assert flow.signal(499) == pytest.approx(0.5)
    assert flow.signal(900) + flow.rest(900) == pytest.approx(1)


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_flow_models_are_asked_as_their_pipelines_ask(root: Path, name: str) -> None:
    pipeline = load(tiny_family(root, name))
    model = denoiser(pipeline)
    asked: list[dict[str, Any]] = []

    def answer(**given: Any) -> tuple[torch.Tensor]:
        asked.append(given)
        return (torch.zeros_like(given["hidden_states"]),)

    original = pipeline.transformer.forward
    pipeline.transformer.forward = answer
    try:
        size = picture_size(model, 32)
        pipeline("a cat", num_inference_steps=1, guidance_scale=1.0, height=size, width=size,
                 output_type="latent")  # fmt: skip
        theirs = asked.pop()
        channels = pipeline.vae.config.latent_channels
        noisy = torch.randn(1, channels, 4, 4, generator=torch.Generator().manual_seed(0))
        found = model.noise_in(noisy, 999, model.condition(["a cat"], size))
    finally:
        pipeline.transformer.forward = original
    ours = asked.pop()
    assert torch.equal(found, noisy)  # no velocity
    for key, value in ours.items():
        if isinstance(value, torch.Tensor) and key != "hidden_states":
            assert torch.allclose(value.float(), theirs[key].float(), atol=1e-5), key
    assert ours["hidden_states"].shape == theirs["hidden_states"].shape
    if name == "flux":
        assert torch.equal(ours["hidden_states"], pipeline._pack_latents(noisy, 1, channels, 4, 4))


def test_encoders_are_compared(root: Path) -> None:
    first, second = (denoiser(load(shared_model(root, "kl", "epsilon"))) for _ in range(2))
    assert same_encoder(first.pipeline.vae, first.pipeline.vae)
    assert same_encoder(first.pipeline.vae, second.pipeline.vae)
    assert not same_encoder(first.pipeline.vae, load(shared_model(root, "tiny", "epsilon")).vae)
    # another folder, and so another name in its settings
    assert same_encoder(first.pipeline.vae, load(shared_model(root, "kl", "v_prediction")).vae)
    next(second.pipeline.vae.decoder.parameters()).data.add_(1)
    assert same_encoder(first.pipeline.vae, second.pipeline.vae)
    for weights in second.pipeline.vae.encoder.parameters():
        weights.data = weights.data.half().float()
    assert not same_encoder(first.pipeline.vae, second.pipeline.vae)
    assert same_encoder(first.pipeline.vae, second.pipeline.vae, tolerance=0.01)
    next(second.pipeline.vae.encoder.parameters()).data.add_(1)
    assert not same_encoder(first.pipeline.vae, second.pipeline.vae, tolerance=0.01)


def test_what_is_refused(root: Path) -> None:
    pipeline = load(shared_model(root, "tiny", "epsilon"))
    model = denoiser(pipeline)
    assert picture_size(model, 0) == 32
    with pytest.raises(ConfigError, match=r"expected a multiple of 8 for this model\. Use 32"):
        picture_size(model, 36)
    pipeline.scheduler.register_to_config(prediction_type="flow")
    with pytest.raises(ModelError, match="The model predicts 'flow'"):
        denoiser(pipeline)
