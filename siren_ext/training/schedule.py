"""What changes from epoch to epoch: the switches of the published schedule, and the radius."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from siren_ext.training import losses

EOT_THRESHOLD = 0.3
"""Epoch mean of q below which distortions begin (published code)."""
RAMP_THRESHOLD = 0.12
"""Epoch mean of q below which the image ramp begins (published code)."""
RAMP_LENGTH = 10_000
"""Images over which distortions and image weight grow to their full strength."""
_RECENT = 64


class Schedule:
    """When distortions and the image ramp begin (SIREN's code, end of an epoch).

    Each begins once, when the epoch mean of ``q`` falls below a threshold; ``q`` is the sum of the
    detection terms of coated and of clean images. Time is counted in images used, so that the
    batch size does not matter.
    """

    def __init__(self) -> None:
        self.eot_start: int | None = None
        self.ramp_start: int | None = None
        self.epoch_sum, self.epoch_count = 0.0, 0

    def note(self, q: float) -> None:
        """Take in one step's ``q``."""
        self.epoch_sum += q
        self.epoch_count += 1

    def end_epoch(self, seen: int) -> None:
        """End an epoch after ``seen`` images; the ramp waits for the distortions."""
        if self.epoch_count:
            mean = self.epoch_sum / self.epoch_count
            if mean < RAMP_THRESHOLD and self.eot_start is not None and self.ramp_start is None:
                self.ramp_start = seen
            if mean < EOT_THRESHOLD and self.eot_start is None:
                self.eot_start = seen
        self.epoch_sum, self.epoch_count = 0.0, 0

    def distortion(self, seen: int) -> float | None:
        """Strength of the distortions, 0 to 1; None before they begin."""
        if self.eot_start is None:
            return None
        return min(1.0, (seen - self.eot_start) / RAMP_LENGTH)

    def image_weight(self, seen: int) -> float:
        """Weight of the image terms, 1 to 100."""
        return losses.image_weight(seen, self.ramp_start, RAMP_LENGTH)

    def state(self) -> list[Any]:
        """What a resumed training needs."""
        return [self.eot_start, self.ramp_start, self.epoch_sum, self.epoch_count]

    def restore(self, state: list[Any]) -> None:
        """Continue from a saved :meth:`state`."""
        self.eot_start, self.ramp_start, self.epoch_sum, self.epoch_count = state


class Radius:
    """R of the radius form: a quantile of distances, once per epoch (SIREN, Eq. 5; deep SVDD).

    Parameters
    ----------
    nu : float
        Share of coated images allowed outside, 0 to 1.
    """

    def __init__(self, nu: float) -> None:
        self.nu = nu
        self.value = 0.0
        self.recent: list[float] = []

    def note(self, coated: Tensor, clean: Tensor) -> float:
        """Take in the distances of a step and give ``q``: the shares of both on the wrong side.

        The loss holds R^2, so unlike ``q`` it doesn't tell how well detection is learnt.
        """
        self.recent = (self.recent + coated.tolist())[-_RECENT:]
        wrong = (coated > self.value).float().mean() + (clean < self.value).float().mean()
        return float(wrong)

    def end_epoch(self) -> None:
        """Fit the radius to the recent distances of coated images."""
        if self.recent:
            self.value = losses.svdd_radius(torch.tensor(self.recent), self.nu)

    def state(self) -> list[Any]:
        """What a resumed training needs."""
        return [self.value, self.recent]

    def restore(self, state: list[Any]) -> None:
        """Continue from a saved :meth:`state`."""
        self.value, self.recent = state
