"""Which images a step takes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from siren_ext.training.config import TrainConfig
from siren_ext.training.order import step_images


def images(config: TrainConfig, steps: range, count: int) -> Tensor:
    return torch.cat([step_images(config, s, count, torch.Generator()) for s in steps])


@pytest.mark.parametrize("batch", [1, 4, 7, 12])
def test_every_epoch_holds_each_image_once(batch: int) -> None:
    for order in ("shuffled", "listed"):
        config = TrainConfig(order=order, batch_size=batch, seed=3)
        epochs = images(config, range(70), 10)[: 70 * batch // 10 * 10].view(-1, 10)
        assert (epochs.sort(1).values == torch.arange(10)).all()
        assert (epochs == torch.arange(10)).all() == (order == "listed")


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [
        tuple(images(TrainConfig(order="shuffled", batch_size=10, seed=s), range(5), 10).tolist())
        for s in range(3)
    ]
    assert len(set(orders)) == 3
    assert len({orders[0][i : i + 10] for i in range(0, 50, 10)}) == 5
    high = TrainConfig(order="shuffled", batch_size=10, seed=2**63 - 1)
    assert sorted(images(high, range(1), 10).tolist()) == list(range(10))


def test_random_draws_are_those_of_the_step_as_before() -> None:
    config = TrainConfig(batch_size=6)
    found = step_images(config, 5, 100, torch.Generator().manual_seed(8))
    expected = torch.randint(100, (6,), generator=torch.Generator().manual_seed(8))
    assert torch.equal(found, expected)
