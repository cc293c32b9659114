"""What several processes compute of a step of coater training adds up to what one computes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from support.fake_ranks import pretend
from support.tiny_models import need_models
from support.toy_training import SMALL, quick, trainer

from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.training.config import TrainConfig
from siren_ext.training.distortions import distort

need_models()
pytestmark = [pytest.mark.models, pytest.mark.usefixtures("float32")]
KEYED = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, message_bits=4, working_size=16
)
FULL = quick(
    batch_size=7, warmup=0, learn_images=3, learn_draws=2, round_trips=1, denoised=3,
    mse_weight=1.0, colour_weight=0.1, tint_weight=0.5, tint_limit=0.0,
)  # fmt: skip


def gradients(
    images: ImageSet, surrogate: Any, config: TrainConfig, shape: CoaterConfig, together: int
) -> tuple[list[torch.Tensor], float]:
    """Gradients and objective that this process finds in the first step."""
    run = trainer(images, config, coater=shape, surrogate=surrogate)
    state = run.state
    state.together = together
    generator = state.generator(0)
    clean = state.batch(state.step_picks(generator), generator)
    state.clear_gradients()
    run._advance(state, clean, generator)
    pair = (state.coater.generator, state.coater.extractor)
    found = [
        torch.zeros_like(weight) if weight.grad is None else weight.grad
        for network in pair
        for weight in network.parameters()
    ]
    return found, state.loss


@pytest.mark.parametrize("together", [2, 64])
@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (FULL, SMALL),
        (FULL, KEYED),
        (dataclasses.replace(FULL, objective="published"), SMALL),
        (dataclasses.replace(FULL, batch_size=1, denoised=1, round_trips=0), SMALL),
    ],
)
def test_gradients_add_up(
    photos: ImageSet,
    surrogate: Any,
    monkeypatch: pytest.MonkeyPatch,
    config: TrainConfig,
    shape: CoaterConfig,
    together: int,
) -> None:
    whole, loss = gradients(photos, surrogate, config, shape, together)
    total = [torch.zeros_like(one) for one in whole]
    objective = 0.0
    for rank in range(2):
        pretend(monkeypatch, rank, 2)
        found, part = gradients(photos, surrogate, config, shape, together)
        total = [one + two for one, two in zip(total, found, strict=True)]
        objective += part
    assert objective == pytest.approx(loss, rel=1e-4)
    largest = max(float(one.abs().max()) for one in whole)
    assert largest > 0
    for one, two in zip(total, whole, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-4 * largest)


def test_a_share_is_distorted_as_in_the_whole() -> None:
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    whole = distort(images, 1.0, torch.Generator().manual_seed(2))
    own = slice(1, None, 2)
    part = distort(images, 1.0, torch.Generator().manual_seed(2), rows=own)
    assert torch.equal(part, whole[own])


def test_norms_over_whole_batches_need_one_process(
    photos: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, 0, 2)
    running = dataclasses.replace(SMALL, norm="running")
    with pytest.raises(ConfigError, match="started in 2 processes; expected norm = 'image'"):
        trainer(photos, coater=running)
