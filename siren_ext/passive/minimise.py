"""L-BFGS on many independent problems at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_SMALLEST = 1e-10
_SHORTER = 0.25  # of a step that led up

_Pair = tuple[Tensor, Tensor, Tensor]


def minimise(
    function: Callable[[Tensor], Tensor], start: Tensor, *, iterations: int
) -> tuple[Tensor, Tensor]:
    """Minimise B functions, each of its own part of a tensor.

    Parameters
    ----------
    function : callable
        Maps B x ... to B values; value i depends on part i only.
    start : Tensor
        B x ..., where the search begins.
    iterations : int
        Number of steps.

    Returns
    -------
    tuple[Tensor, Tensor]
        The best place of each problem, B x ..., and its value, B; never above that at the start.

    Notes
    -----
    The first step is at most 1 in the 1-norm, later ones are full quasi-Newton steps, as in
    ``torch.optim.LBFGS``. A step that leads up is not taken; the next is a quarter of it.
    ``iterations`` gradients and one value more are computed.

    References
    ----------
    Nocedal and Wright (2006), "Numerical optimization", algorithm 7.4.
    """
    place, history = start.detach(), list[_Pair]()
    value, slope = _slope(function, place)
    length = (1 / slope.abs().sum(1, keepdim=True).clamp_min(_SMALLEST)).clamp_max(1.0)
    step = -slope * length
    for number in range(iterations):
        moved = place + step.view_as(place)
        if number == iterations - 1:
            last = _value(function, moved)
            better = last < value
            return torch.where(_wide(better, moved), moved, place), torch.minimum(last, value)
        reached, after = _slope(function, moved)
        better = (reached < value)[:, None]
        history.append(_pair(step, after - slope, better))
        place = torch.where(_wide(better, moved), moved, place)
        value, slope = torch.minimum(reached, value), torch.where(better, after, slope)
        step = torch.where(better, -_inverse_hessian(history, slope), _SHORTER * step)
    return place, value


@torch.no_grad()
def _value(function: Callable[[Tensor], Tensor], place: Tensor) -> Tensor:
    """The B values without gradients."""
    return function(place)


def _slope(function: Callable[[Tensor], Tensor], place: Tensor) -> tuple[Tensor, Tensor]:
    """The B values and their gradients, B x elements."""
    with torch.enable_grad():
        given = place.detach().requires_grad_(True)
        values = function(given)
        slope = torch.autograd.grad(values.sum(), given)[0]
    return values.detach(), slope.flatten(1)


def _pair(step: Tensor, change: Tensor, taken: Tensor) -> _Pair:
    """A step, the change of the gradient, and the inverse of their product (0 for useless ones)."""
    product = (step * change).sum(1, keepdim=True)
    useful = taken & (product > _SMALLEST)
    inverse = torch.where(useful, 1 / product.clamp_min(_SMALLEST), torch.zeros_like(product))
    return step, change, inverse


def _inverse_hessian(history: list[_Pair], slope: Tensor) -> Tensor:
    """The gradient times the approximate inverse Hessian (two-loop recursion), B x elements."""
    found, shares = slope, []
    for step, change, inverse in reversed(history):
        share = inverse * (step * found).sum(1, keepdim=True)
        shares.append(share)
        found = found - share * change
    scale = torch.ones_like(slope[:, :1])
    for _, change, inverse in history:  # of the last useful pair of each problem
        fresh = 1 / (inverse * change.square().sum(1, keepdim=True)).clamp_min(_SMALLEST)
        scale = torch.where(inverse > 0, fresh, scale)
    found = found * scale
    for (step, change, inverse), share in zip(history, reversed(shares), strict=True):
        again = inverse * (change * found).sum(1, keepdim=True)
        found = found + torch.where(inverse > 0, share - again, torch.zeros_like(share)) * step
    return found


def _wide(flags: Tensor, like: Tensor) -> Tensor:
    return flags.view(-1, *[1] * (like.ndim - 1))
