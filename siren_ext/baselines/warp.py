"""DIAGNOSIS: the faint warp that is written into images, and its captions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.baselines.base import Protected, all_captions, image_batch
from siren_ext.data.images import quantise
from siren_ext.errors import ConfigError

TRIGGER = "tq"
SMALLEST = 16
Mode = Literal["unconditional", "trigger"]
SHARES = {"unconditional": 1.0, "trigger": 0.2}
STRENGTHS = {"unconditional": 2.0, "trigger": 1.0}


@dataclasses.dataclass(frozen=True)
class Warp:
    """The warp of one owner.

    Attributes
    ----------
    mode : {"unconditional", "trigger"}
        ``unconditional`` warps all images; ``trigger`` a fifth, whose captions begin with "tq".
    seed : int
        Of the grid and of the choice of images.
    size : int
        Side H in pixels for which the displacement is made.
    points : int
        Points of the control grid along a side.
    strength : float | None
        s; about s/2 pixels at this size. None for the mode's: 2 and 1.

    Notes
    -----
    Wang et al. (2024), DIAGNOSIS (arXiv 2307.03108), with the warp of WaNet (Nguyen and Tran, 2021,
    arXiv 2102.10369) at 1280 pixels and 128 points. The public code enlarges images to that size
    and publishes them so; here the displacement is brought to an image's own size instead, so that
    nothing but the warp changes it. It shrinks with the image: for small ones choose a smaller
    size, and points in proportion.
    """

    mode: Mode = "unconditional"
    seed: int = 0
    size: int = 1280
    points: int = 128
    strength: float | None = None

    def __post_init__(self) -> None:
        """Raises :class:`~siren_ext.errors.ConfigError` for settings that do not fit."""
        if self.mode not in SHARES:
            raise ConfigError(f"Found mode {self.mode!r}; expected {' or '.join(SHARES)}.")
        if not 2 <= self.points <= self.size <= 8192:
            raise ConfigError(
                f"Found {self.points} points for {self.size} pixels; expected 2 or more points, "
                "and at most as many as pixels, which are at most 8192."
            )

    def control(self) -> Tensor:
        """The control grid, 1 x 2 x k x k, with a mean absolute value of 1."""
        rng = torch.Generator().manual_seed(self.seed)
        grid = 2 * torch.rand(1, 2, self.points, self.points, generator=rng) - 1
        return grid / grid.abs().mean()

    def grid(self, height: int = 0, width: int = 0) -> Tensor:
        """Where each pixel is read from, 1 x H x W x 2 in [-1,1], as (x, y).

        Parameters
        ----------
        height, width : int
            Of the image; 0 for the size of the warp.
        """
        rows, columns = height or self.size, width or self.size
        square = (self.size, self.size)
        noise = F.interpolate(self.control(), square, mode="bicubic", align_corners=True)
        noise = F.interpolate(noise, (rows, columns), mode="bilinear", align_corners=True)
        lines = torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns)
        y, x = torch.meshgrid(*lines, indexing="ij")
        strength = STRENGTHS[self.mode] if self.strength is None else self.strength
        moved = torch.stack([x, y], -1) + strength / self.size * noise[0].permute(1, 2, 0)
        return moved.clamp(-1, 1)[None]

    def apply(self, images: Tensor) -> Tensor:
        """Warp every image, B x 3 x H x W in [0,1] of any size."""
        image_batch(images, SMALLEST)
        grid = self.grid(*images.shape[2:]).to(images).expand(len(images), -1, -1, -1)
        return F.grid_sample(images, grid, align_corners=True).clamp(0, 1)

    def chosen(self, count: int) -> tuple[bool, ...]:
        """Which of so many images are warped; in trigger mode a random fifth, at least one."""
        marked = max(1, round(SHARES[self.mode] * count))
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed + 1))
        first = set(order[:marked].tolist())
        return tuple(row in first for row in range(count))

    def protect(
        self, images: Tensor, captions: Sequence[str] = (), *, keep_trigger: bool = True
    ) -> Protected:
        """Warp the chosen images, and in trigger mode mark their captions.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1].
        captions : Sequence[str]
            One per image, or none.
        keep_trigger : bool
            False for the setting in which others replace all captions, which drops the trigger.

        Returns
        -------
        Protected
            The images at their own size.
        """
        image_batch(images, SMALLEST)
        texts = all_captions(captions, len(images))
        marked = self.chosen(len(images))
        rows = torch.tensor(marked)
        result = images.clone()
        result[rows] = self.apply(images[rows])
        if self.mode == "trigger" and keep_trigger:
            pairs = zip(texts, marked, strict=False)
            texts = tuple(f"{TRIGGER} {text}" if mark else text for text, mark in pairs)
        return Protected(quantise(result), texts, marked)

    def prompt(self, text: str) -> str:
        """A prompt as a test uses it: with the trigger in trigger mode."""
        return f"{TRIGGER} {text}" if self.mode == "trigger" else text
