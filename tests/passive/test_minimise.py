"""L-BFGS on several problems at once, against torch's own on each."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from siren_ext.passive.minimise import minimise

SIZES = torch.linspace(0.5, 3.0, 6)


def bowl(place: Tensor) -> Tensor:
    centre = torch.arange(len(place), dtype=torch.float32)[:, None]
    return (SIZES * (place - centre - 1).square()).sum(1)


def valley(place: Tensor) -> Tensor:
    return (place[:, 1:] - place[:, :-1] ** 2).square().sum(1) + (1 - place[:, :-1]).square().sum(1)


def test_a_quadratic_is_solved() -> None:
    place, value = minimise(bowl, torch.zeros(3, 6), iterations=30)
    assert torch.allclose(place, (torch.arange(3.0)[:, None] + 1).expand(3, 6), atol=1e-3)
    assert torch.allclose(value, bowl(place))
    assert value.max() < 1e-5


def test_the_first_steps_are_those_of_torch() -> None:
    place, value = minimise(bowl, torch.zeros(1, 6), iterations=3)
    own = torch.zeros(1, 6, requires_grad=True)
    optimiser = torch.optim.LBFGS([own], max_iter=3, max_eval=100)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = bowl(own).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert torch.allclose(place, own.detach(), atol=1e-4)
    assert float(value) < float(bowl(torch.zeros(1, 6)))


@pytest.mark.parametrize("iterations", [1, 2, 5, 20])
def test_problems_do_not_touch_each_other_and_never_end_higher(iterations: int) -> None:
    start = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)) * 3
    place, value = minimise(valley, start, iterations=iterations)
    assert (value <= valley(start)).all()
    assert torch.allclose(valley(place), value, rtol=1e-5)
    for row in range(5):
        alone, lowest = minimise(valley, start[row : row + 1], iterations=iterations)
        assert torch.allclose(alone[0], place[row], rtol=1e-4, atol=1e-5)
        assert torch.allclose(lowest[0], value[row], rtol=1e-4, atol=1e-6)


def test_a_flat_function_stays() -> None:
    place, value = minimise(lambda x: 0 * x.sum(1) + 2, torch.ones(2, 6), iterations=4)
    assert torch.equal(place, torch.ones(2, 6))
    assert value.tolist() == [2.0, 2.0]
