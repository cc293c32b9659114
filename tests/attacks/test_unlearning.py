"""ABL: which images are isolated, whose loss is reversed, and that losses stay bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.short_runs import SMALL, StopAt, load
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.attacks.unlearning import (
    FACT,
    TIMES,
    UnlearnConfig,
    UnlearningTrainer,
    image_losses,
    isolated_images,
    isolation_quality,
    lowest,
    unlearn,
)
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.errors import Cancelled, ConfigError, ScoreError
from siren_ext.personalize.data import prepare
from siren_ext.personalize.run import Trainer, personalize
from siren_ext.progress import NULL

IMAGES = 5


def config(**changes: Any) -> UnlearnConfig:
    plain = SMALL.to_dict() | {"caption_dropout": 0.0, "isolation_noises": 1}
    return UnlearnConfig.from_dict(plain | {"isolation_rate": 0.4} | changes)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_models()
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("unlearning"), IMAGES))


def trainer(model: Path, data: ImageSet, chosen: UnlearnConfig) -> UnlearningTrainer:
    pipeline = load(model)
    return UnlearningTrainer(pipeline, prepare(data, pipeline, chosen, NULL), chosen)


# -- isolation ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "rate", "count"),
    [(833, 0.05, 42), (100, 0.05, 5), (100, 0.07, 7), (20, 0.05, 1), (3, 0.05, 1), (4, 1.0, 4)],
)
def test_exactly_so_many_of_the_lowest_losses(images: int, rate: float, count: int) -> None:
    losses = torch.rand(images, generator=torch.Generator().manual_seed(images)).numpy()
    found = lowest(losses, rate)
    assert len(found) == count
    assert sorted(losses[found]) == sorted(losses)[:count]
    assert list(found) == sorted(found)


def test_of_equal_losses_the_first_are_taken() -> None:
    assert lowest([2.0, 1.0, 1.0, 1.0], 0.5).tolist() == [1, 2]


def test_so_few_steps_that_nothing_is_unlearnt_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"2 steps are too few: .* at least 3 steps"):
        config(steps=2)
    assert config(steps=3).first_unlearning == 2
    config(steps=2, unlearning_share=0.0)


def test_wrong_rates_and_losses() -> None:
    for rate in (0.0, 1.5):
        with pytest.raises(ConfigError, match="isolation rate is"):
            lowest([1.0], rate)
    with pytest.raises(ScoreError, match="not finite"):
        lowest([1.0, float("nan")], 0.5)


def test_precision_and_recall() -> None:
    found = isolation_quality(range(42), range(38, 121))
    assert (found.isolated, found.coated, found.both) == (42, 83, 4)
    assert found.precision == pytest.approx(4 / 42)
    assert found.recall == pytest.approx(4 / 83)
    assert isolation_quality([1], []).recall != isolation_quality([1], []).recall  # NaN


class Remembering(torch.nn.Module):
    """Sees the noise exactly in latents that it remembers, and none in others."""

    def __init__(self, pipeline: Any, latents: torch.Tensor) -> None:
        super().__init__()
        self.kept, self.latents = pipeline.scheduler.alphas_cumprod, latents
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.calls: list[tuple[int, int]] = []
        self.drawn = torch.empty(0)

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, embeds: Any, **_: Any) -> Any:
        self.calls.append((int(times[0]), len(noisy)))
        kept = self.kept[times].view(-1, 1, 1, 1, 1)
        implied = (noisy[:, None] - kept.sqrt() * self.latents) / (1 - kept).sqrt()
        apart = (implied[:, :, None] - self.drawn).abs().amax((3, 4, 5))
        known = (apart < 1e-3).any(2)[:, :, None, None, None]
        return ((implied * known).sum(1),)


@pytest.mark.models
def test_planted_images_with_a_low_loss_are_all_found(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = load(model)
    latents = torch.randn(20, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    planted = [3, 8, 17]
    network = Remembering(pipeline, latents[planted])
    draw = pipelines.seeded_normal

    def seen(*arguments: Any) -> torch.Tensor:
        network.drawn = draw(*arguments)
        return network.drawn

    monkeypatch.setattr(pipelines, "seeded_normal", seen)
    pipeline.unet = network
    words = torch.zeros(1, 1, 1)
    losses = image_losses(pipeline, latents, lambda rows: words, 2)
    found = lowest(losses.numpy(), 0.15)
    assert isolation_quality(found, planted).recall == 1
    assert losses[planted].max() < 1e-3
    assert losses.sort().values[3] > 0.5
    # every time, with two noises, for each of the two batches
    assert [time for time, _ in network.calls] == [t for t in TIMES for _ in "12"] * 2
    assert sum(count for _, count in network.calls) == 20 * len(TIMES) * 2


@pytest.mark.models
def test_losses_are_those_of_the_noise_whatever_a_model_predicts(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    words = torch.zeros(1, 1, 1)
    found = {}
    for kind in ("epsilon", "v_prediction"):
        pipeline = load(shared_model(tmp_path_factory.getbasetemp(), "tiny", kind))

        class Silent(torch.nn.Module):
            """Takes an image for what it shows, without any noise in it."""

            device, dtype = torch.device("cpu"), torch.float32

            def __init__(self, kept: torch.Tensor, velocity: bool) -> None:
                super().__init__()
                self.kept, self.velocity = kept, velocity

            def forward(self, noisy: torch.Tensor, times: torch.Tensor, *_: Any, **__: Any) -> Any:
                a = self.kept[times].view(-1, 1, 1, 1)
                # no noise: v = -x * sqrt(1 - a) with x = noisy / sqrt(a)
                return (-noisy * ((1 - a) / a).sqrt() if self.velocity else 0 * noisy,)

        kept = pipeline.scheduler.alphas_cumprod
        pipeline.unet = Silent(kept, kind == "v_prediction")
        found[kind] = image_losses(pipeline, latents, lambda rows: words, 1)
    assert torch.allclose(found["epsilon"], found["v_prediction"], rtol=1e-4)


# -- unlearning -----------------------------------------------------------------------------


@pytest.mark.models
def test_the_sign_is_reversed_for_isolated_images_alone(model: Path, data: ImageSet) -> None:
    made = trainer(model, data, config(steps=10, ascent=0.5))
    made.isolated = torch.tensor([1, 4])
    images, losses = torch.tensor([0, 1, 4, -1, 1]), torch.tensor([3.0, 0.5, 1.0, 0.1, 1.5])
    made.step = 7
    assert made.factors(images, losses).tolist() == [1, 1, 1, 1, 1]
    made.step = 8
    assert made.factors(images, losses).tolist() == [1, -0.5, -0.5, 1, 0]


@pytest.mark.models
def test_gradients_are_those_of_the_reversed_losses(model: Path, data: ImageSet) -> None:
    def gradient(isolated: list[int]) -> torch.Tensor:
        made = trainer(model, data, config(steps=1, unlearning_share=1.0, loss_cap=100.0))
        made.isolated = torch.tensor(isolated)
        made.weights.clear()
        made._backward(made.data.batch(0, made.config))
        made.weights.collect()
        assert made.weights.vector.grad is not None
        return made.weights.vector.grad

    plain, reversed_ = gradient([]), gradient(list(range(IMAGES)))
    assert float(plain.abs().max()) > 1e-4
    assert torch.allclose(reversed_, -plain, atol=1e-7)


@pytest.mark.models
def test_the_cap_prevents_divergence(model: Path, data: ImageSet) -> None:
    """Ascent alone drives a random model's loss up from about 1: to a plateau, or without end."""

    def growth(cap: float) -> float:
        every = config(
            steps=40, unlearning_share=1.0, isolation_rate=1.0, loss_cap=cap, learning_rate=0.02
        )
        made = trainer(model, data, every)
        found = []
        for step in range(every.steps):
            made.advance()
            if step in (19, 39):
                words = made._prompt_embeds(made.data.texts)
                latents = made.data.latents[0]
                losses = image_losses(made.pipeline, latents, words.__getitem__, 1)
                found.append(float(losses.mean()))
        assert made.isolated is not None
        assert made.isolated.tolist() == list(range(IMAGES))
        assert found[0] > 1.3
        return found[1] / found[0]

    assert growth(1.3) < 1.05
    assert growth(1e6) > 1.1


@pytest.mark.models
@pytest.mark.parametrize("late", [0, 3])
def test_a_stopped_run_gives_the_same_model(
    model: Path, data: ImageSet, tmp_path: Path, late: int
) -> None:
    chosen = config(isolate_after=late, unlearning_share=0.34)
    whole = unlearn(data, model, chosen, tmp_path / "whole.safetensors", device="cpu")
    assert len(isolated_images(whole)) == 2
    out = tmp_path / "broken.safetensors"
    with pytest.raises(Cancelled):
        unlearn(data, model, chosen, out, device="cpu", progress=StopAt(5))
    watch = StopAt(10**9)
    resumed = unlearn(data, model, chosen, out, device="cpu", progress=watch)
    assert len(watch.notes) == 1
    assert resumed.hash == whole.hash
    assert isolated_images(resumed) == isolated_images(whole)
    assert unlearn(data, model, chosen, out, device="cpu") == resumed


@pytest.mark.models
def test_without_unlearning_it_is_ordinary_training(
    model: Path, data: ImageSet, tmp_path: Path
) -> None:
    usual = personalize(data, model, SMALL, tmp_path / "a.safetensors", device="cpu")
    chosen = config(unlearning_share=0.0, caption_dropout=SMALL.caption_dropout)
    other = unlearn(data, model, chosen, tmp_path / "b.safetensors", device="cpu")
    assert other.hash == usual.hash
    assert FACT in other.metadata
    with pytest.raises(ConfigError, match="which images were isolated"):
        isolated_images(usual)
    pipeline = load(model)
    plain = Trainer(pipeline, prepare(data, pipeline, SMALL, NULL), SMALL)
    assert plain.factors(torch.tensor([0, 1]), torch.tensor([0.5, 0.5])).tolist() == [1, 1]


def test_settings_that_do_not_fit() -> None:
    assert config(steps=10).first_unlearning == 8
    with pytest.raises(ConfigError, match="unlearning begins at step 8 of 10"):
        config(steps=10, isolate_after=9)
