"""Random numbers of a batch, also where a process computes only some of its rows."""

from __future__ import annotations

import torch
from torch import Tensor

Among = tuple[int, slice]
"""How many rows a whole batch has, and which of them are computed here."""


def own_of(rows: int, among: Among | None) -> Among:
    """``among``, or all of so many rows."""
    return (rows, slice(None)) if among is None else among


def seeded_normal(
    shape: torch.Size | tuple[int, ...],
    generator: torch.Generator,
    device: torch.device,
    among: Among | None = None,
) -> Tensor:
    """Standard normal float32 numbers, drawn on the generator's device and moved to ``device``.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    generator : torch.Generator
        Draws the numbers.
    device : torch.device
        Where they are needed.
    among : tuple of int and slice, or None
        The rows of the result are these of so many, and get the numbers that they have among all.
        None for a whole batch.
    """
    count, own = own_of(shape[0], among)
    drawn = torch.randn((count, *shape[1:]), generator=generator, device=generator.device)
    return drawn[own].to(device)
