"""Which images a training step takes: drawn at random, or each once per epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from siren_ext.training.config import TrainConfig

_EPOCHS = 2**40
"""Keeps the seeds of an epoch's order away from those of single steps."""


def step_images(config: TrainConfig, step: int, count: int, generator: torch.Generator) -> Tensor:
    """Numbers of the images of a step, by ``TrainConfig.order``.

    Parameters
    ----------
    config : TrainConfig
        Order, batch size and seed.
    step : int
        From 0.
    count : int
        Images in the set.
    generator : torch.Generator
        Of the step's draws; used by the order ``random`` only.

    Returns
    -------
    Tensor
        ``config.batch_size`` whole numbers below ``count``.

    Notes
    -----
    ``shuffled`` and ``listed`` are functions of seed and step, so that a resumed run takes the same
    images. A batch in which an epoch ends is filled from the next one.
    """
    if config.order == "random":
        return torch.randint(count, (config.batch_size,), generator=generator)
    places = torch.arange(step * config.batch_size, (step + 1) * config.batch_size)
    if config.order == "listed":
        return places % count
    picks = torch.empty_like(places)
    for epoch in sorted(set((places // count).tolist())):
        here = places // count == epoch
        picks[here] = _shuffled(config.seed, epoch, count)[places[here] % count]
    return picks


def _shuffled(seed: int, epoch: int, count: int) -> Tensor:
    """All images of an epoch in its random order."""
    mixed = (seed * 1_000_003 + _EPOCHS + epoch) % 2**63
    return torch.randperm(count, generator=torch.Generator().manual_seed(mixed))
