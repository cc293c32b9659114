"""The objectives by hand, their gradients against the uncut graph, and keyed coaters."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.tiny_models import tiny_surrogate
from support.toy_training import QUICK, Toy
from torch import Tensor

from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import quantise
from siren_ext.training import losses, objectives
from siren_ext.training.config import TrainConfig
from siren_ext.training.objectives import keyed_messages
from siren_ext.training.state import TrainerState
from siren_ext.training.trainer import CoaterTrainer
from siren_ext.training.views import distorted_views, model_views

pytestmark = pytest.mark.usefixtures("float32")  # compared to many digits

BITS = 8


class Calm(Toy):
    """Without noise of its own, so that a batch and its parts have equal losses."""

    def denoising_loss(
        self, images: Tensor, *, generator: torch.Generator, draws: int = 1
    ) -> Tensor:
        return (images - F.avg_pool2d(images, 3, 1, 1)).square().mean((1, 2, 3))

    def renoise(self, images: Tensor, low: int, high: int, *, generator: torch.Generator) -> Tensor:
        return self.round_trip(0.9 * images + 0.01)


def whole_loss(state: TrainerState, clean: Tensor, generator: torch.Generator) -> Tensor:
    """The objective as one graph, term by term as the methods state it."""
    config, coater = state.config, state.coater
    message = None
    if coater.keyed:
        message = keyed_messages(state, len(clean), generator)
    coated = clean + coater.residual(clean, message)
    coated = coated + (quantise(coated) - coated).detach()
    seed = int(torch.randint(2**62, (), generator=generator))
    if config.objective == "budget":
        views = [
            model_views(state, coated, seed, coated=True),
            model_views(state, clean, seed + 1, coated=False),
        ]
    else:
        views = [distorted_views(state, coated, seed), distorted_views(state, clean, seed + 1)]
    shown = [torch.cat([view for _, view in part]) for part in views]
    near, far = torch.split(coater.features(torch.cat(shown)), [len(part) for part in shown])
    if message is not None:
        secret = 4 * ((near / 4 - message).square().mean() + (far / 4).square().mean())
    elif coater.config.head == "binary":
        one = F.binary_cross_entropy_with_logits(near[:, 0], torch.ones(len(near)))
        zero = F.binary_cross_entropy_with_logits(far[:, 0], torch.zeros(len(far)))
        secret = (one + zero) / 2
    elif config.sphere == "radius":
        reach = [(features - coater.center).norm(dim=1) for features in (near, far)]
        radius = state.radius.value
        secret = radius**2 + (reach[0] ** 2 - radius**2).clamp_min(0).mean() / config.nu
        secret = secret + (radius**2 - reach[1] ** 2).clamp_min(0).mean() / config.nu
    else:
        h = [((f - coater.center).square().sum(1) + 1).sqrt() - 1 for f in (near, far)]
        secret = (h[0].mean() - torch.log(1 - torch.exp(-0.3 * h[1]) + 1e-9).mean()) / 2
    learn = state.surrogate.denoising_loss(coated[: config.learn_images], generator=generator)
    image = config.mse_weight * (coated - clean).square().mean()
    image = image + config.colour_weight * losses.colour_loss(clean, coated)
    if config.objective == "published":
        weight = state.schedule.image_weight(state.seen)
        return config.learn_weight * learn.mean() + (weight * image + 10 * secret) / (weight + 10)
    tint = losses.tint_loss(clean, coated, limit=config.tint_limit)
    return secret + config.learn_weight * learn.mean() + image + config.tint_weight * tint


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ({}, {}),
        ({"head": "binary"}, {}),
        ({"norm": "running"}, {}),
        ({}, {"objective": "published"}),
        ({}, {"objective": "sum", "sphere": "radius"}),
        ({"message_bits": BITS, "coarse": 6}, {}),
    ],
)
def test_the_cut_gradient_is_that_of_the_whole_graph(
    few: ImageSet, shape: dict[str, Any], changes: dict[str, Any]
) -> None:
    """Image by image and term by term, or all in one graph: equal to 1e-6."""
    config = dataclasses.replace(
        QUICK,
        batch_size=6,
        learn_images=3,
        round_trips=2,
        denoised=2,
        mse_weight=2.0,
        colour_weight=0.01,
        learn_weight=3.0,
        tint_limit=0.01,
        **changes,
    )
    small = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=2, bits=2, features=3, working_size=16
    )
    run = CoaterTrainer(
        few,
        Calm(16),
        config,
        coater=dataclasses.replace(small, strength=5, **shape),
        start=None,
        device="cpu",
    )
    run.begin()
    state = run.state
    state.step, state.together = 7, 1
    state.schedule.eot_start = state.schedule.ramp_start = -4000
    state.radius.value = 0.4
    state.coater.to("cpu", torch.float64).train()
    clean = state.images[torch.tensor([0, 1, 2, 0, 1, 2])].double() / 255
    pair = [*state.coater.generator.parameters(), *state.coater.extractor.parameters()]
    state.together = 1000
    loss = whole_loss(state, clean, torch.Generator().manual_seed(5))
    wanted = torch.autograd.grad(loss, pair, allow_unused=True)
    state.together = 1
    state.clear_gradients()
    run._advance(state, clean, torch.Generator().manual_seed(5))
    assert state.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    largest = max(float(slope.abs().max()) for slope in wanted if slope is not None)
    for weight, slope in zip(pair, wanted, strict=True):
        if slope is None:
            assert weight.grad is None or not weight.grad.any()
        else:
            assert weight.grad is not None
            assert float((weight.grad - slope).abs().max()) < 1e-6 * largest


def test_published_loss_by_hand(few: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"mse_weight": 2.0, "colour_weight": 0.0, "learn_weight": 3.0}
    run = by_hand(few, monkeypatch, dataclasses.replace(QUICK, objective="published", **changes))
    run.state.step, run.state.schedule.ramp_start = 2550, 100
    learn, image, found = terms_by_hand(run)
    assert found == pytest.approx(3 * learn + (50.5 * 2 * image + 10 * 0.7) / 60.5, rel=1e-5)


def test_plain_sum_by_hand(few: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    run = by_hand(few, monkeypatch, TrainConfig.preset("paper", colour_weight=0.0))
    learn, image, found = terms_by_hand(run)
    assert found == pytest.approx(0.7 + learn + image, rel=1e-5)


def by_hand(few: ImageSet, monkeypatch: pytest.MonkeyPatch, config: TrainConfig) -> CoaterTrainer:
    """A run whose detection term is 0.7 whatever the images are."""

    def constant(state: TrainerState, leaf: Tensor, *_: Any, weight: float) -> None:
        state.add(weight * (0.7 + 0 * leaf.sum()), leaf)

    monkeypatch.setattr(objectives, "detect_coating", constant)
    return CoaterTrainer(few, Calm(16), config, coater=None, start=None, device="cpu")


def terms_by_hand(run: CoaterTrainer) -> tuple[float, float, float]:
    """Learnability of the first image, mean squared error, and the loss of the step."""
    state = run.state
    clean = state.images.float() / 255
    coated = state.coated(clean)
    generator = torch.Generator().manual_seed(1)
    learn = float(state.surrogate.denoising_loss(coated[:1], generator=generator))
    state.clear_gradients()
    run._advance(state, clean, generator)
    return learn, float((coated - clean).square().mean()), state.loss


@pytest.mark.models
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_learnability_teaches_the_generator_alone(
    few: ImageSet,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    prediction: Any,
) -> None:
    surrogate = tiny_surrogate(tmp_path_factory.getbasetemp(), prediction)
    monkeypatch.setattr(objectives, "detect_coating", lambda *_, **__: None)
    config = dataclasses.replace(QUICK, objective="published")
    run = CoaterTrainer(few, surrogate, config, coater=None, start=None, device="cpu")
    run.begin()
    run.state.clear_gradients()
    clean = run.state.images.float() / 255
    run._advance(run.state, clean, torch.Generator().manual_seed(0))
    slopes = [weight.grad for weight in run.state.coater.generator.parameters()]
    assert all(slope is not None for slope in slopes)
    assert sum(float(slope.abs().sum()) for slope in slopes if slope is not None) > 0
    assert all(weight.grad is None for weight in run.state.coater.extractor.parameters())
    pipeline = surrogate.pipeline
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        assert all(p.grad is None for p in part.parameters())
