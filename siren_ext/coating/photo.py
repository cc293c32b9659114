"""Coats one large image by strips of rows, from bytes to bytes.

Everything that is done to every pixel is done to a strip while a CPU's cache holds it: reducing the
image to the networks' size, the visibility mask, enlarging the pattern, adding, and rounding. So
little more than the image's bytes and its mask is in memory. Results are those of
:mod:`siren_ext.coating.apply`, to the precision of float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.coater.nets.blocks import IMAGENET_STD
from siren_ext.coater.nets.jnd import heat_of
from siren_ext.data.decode import Bytes

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

_PHOTO = 1 << 20
"""Pixels from which an image is coated by strips."""
_STRIP_PIXELS = 1 << 16
_LUMINANCE = (0.299, 0.587, 0.114)


def is_photo(coater: Coater, size: tuple[int, int]) -> bool:
    """Whether an image is best coated by :func:`coat_photo`.

    Parameters
    ----------
    coater : Coater
        Adds the residual; with coarse colour it can't be used here.
    size : tuple[int, int]
        Width and height in pixels.
    """
    large = size[0] * size[1] >= _PHOTO and min(size) > coater.config.working_size
    usual = large and coater.device.type == "cpu" and coater.center.dtype == torch.float32
    return usual and coater.generator.coarse is None


@torch.no_grad()
def coat_photo(
    rgb: Bytes, coater: Coater, strength: float, message: Tensor | None, *, scored: bool = True
) -> tuple[Bytes, float | None, float | None] | None:
    """Coat one image, and score it before and after.

    Parameters
    ----------
    rgb : array
        H x W x 3, uint8, larger than the coater's working size.
    coater, strength, message
        As in :func:`siren_ext.coating.apply.add_coating`.
    scored : bool
        False leaves the scores out.

    Returns
    -------
    tuple[Bytes, float | None, float | None] | None
        The coated bytes, and the scores before and after if ``scored``; None if the coater's
        pattern has values that are not finite numbers.
    """
    height, width = rgb.shape[:2]
    size = coater.config.working_size
    before, after = (_Reduced(height, width, size) for _ in range(2))
    for rows in _strips(height, width):
        before.add(rows, _floats(rgb[rows]))
    view = before.view()
    clean = float(coater.score(view)) if scored else None
    limits = coater.config.strength * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    pattern = coater.pattern(view, message)
    if not torch.isfinite(pattern).all():
        return None
    enlarged = _Enlarged(pattern * limits, height, width)
    mask = torch.empty(height, width)
    power = 0.0
    for rows, heat in _masks(rgb):
        mask[rows] = heat
        if coater.config.min_psnr:
            power += float((enlarged.squares(rows) * heat.square_()).sum())
    if coater.config.min_psnr:
        budget, power = 10 ** (-coater.config.min_psnr / 20), power / (3 * height * width)
        strength *= min(1.0, budget / max(power, 1e-12) ** 0.5)
    coated = np.empty_like(rgb, order="C")
    for rows in _strips(height, width):
        change = enlarged.rows(rows).mul_(_thrice(mask[rows]))
        levels = _floats(rgb[rows]).add_(change, alpha=255 * strength).clamp_(0, 255).round_()
        coated[rows] = levels.numpy().reshape(-1, width, 3)
        if scored:
            after.add(rows, levels)
    return coated, clean, float(coater.score(after.view())) if scored else None


class _Reduced:
    """Reduces an image to a square, as :func:`siren_ext.data.images.square_view` does.

    Rows are mixed strip by strip; one strip contributes to few rows of the result.
    """

    def __init__(self, height: int, width: int, size: int) -> None:
        self.weights = bicubic_weights(height, size)
        self.mixed = torch.zeros(size, width * 3)

    def add(self, rows: slice, levels: Tensor) -> None:
        """Add rows of levels from 0 to 255."""
        weights = self.weights[:, rows]
        used = torch.nonzero(weights.any(1)).flatten()
        if len(used):
            place = slice(int(used[0]), int(used[-1]) + 1)
            self.mixed[place].addmm_(weights[place], levels)

    def view(self) -> Tensor:
        """The result, 1 x 3 x size x size in [0,1]."""
        size = len(self.mixed)
        mixed = self.mixed.view(size, -1, 3).permute(2, 0, 1)[None].contiguous()
        return F.interpolate(
            mixed.div_(255), size=(size, size), mode="bicubic", antialias=True
        ).clamp_(0, 1)


class _Enlarged:
    """Enlarges a pattern, 1 x 3 x s x s, as :func:`siren_ext.coater.nets.tiles.enlarge` does."""

    def __init__(self, pattern: Tensor, height: int, width: int) -> None:
        small = pattern.shape[2]
        wide = F.interpolate(pattern, size=(small, width), mode="bilinear", align_corners=False)
        self.planes = wide[0]
        self.mixed = wide[0].permute(1, 2, 0).reshape(small, width * 3)
        place = ((torch.arange(height).double() + 0.5) * (small / height) - 0.5).clamp_(min=0)
        self.above = place.long()
        self.below = (self.above + 1).clamp_(max=small - 1)
        self.share = (place - self.above).float()

    def _weights(self, rows: slice) -> tuple[slice, Tensor]:
        """Which rows of the small pattern these rows need, and how much of each."""
        above, below, share = self.above[rows], self.below[rows], self.share[rows]
        first, last = int(above[0]), int(below[-1]) + 1
        number = torch.arange(len(share))
        weights = torch.zeros(len(share), last - first)
        weights[number, above - first] += 1 - share
        weights[number, below - first] += share
        return slice(first, last), weights

    def rows(self, rows: slice) -> Tensor:
        """Rows of the pattern, with channels side by side as in bytes: rows x (W 3)."""
        used, weights = self._weights(rows)
        return weights @ self.mixed[used]

    def squares(self, rows: slice) -> Tensor:
        """The sum of squares of the channels, rows x W."""
        used, weights = self._weights(rows)
        found = weights @ self.planes[0, used]
        total = found.square_()
        for plane in self.planes[1:]:
            total.add_((weights @ plane[used]).square_())
        return total


def bicubic_weights(length: int, size: int) -> Tensor:
    """Weights of antialiased bicubic reduction, as torch and Pillow define it (a = -0.5).

    Parameters
    ----------
    length, size : int
        Numbers of pixels before and after.

    Returns
    -------
    Tensor
        size x length; every row sums to 1.
    """
    scale = length / size
    centre = (np.arange(size)[:, None] + 0.5) * scale
    x = np.abs(np.arange(length)[None] + 0.5 - centre, dtype=np.float32) / scale
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return torch.from_numpy(weights / weights.sum(1, keepdims=True)).float()


def _strips(height: int, width: int) -> Iterator[slice]:
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def _floats(rgb: Bytes) -> Tensor:
    """Rows of bytes as float32, rows x (W 3)."""
    return torch.from_numpy(rgb.astype(np.float32)).view(len(rgb), -1)


def _thrice(mask: Tensor) -> Tensor:
    """Every value three times, rows x (W 3)."""
    return torch.from_numpy(np.repeat(mask.numpy(), 3, axis=1))


def _masks(rgb: Bytes) -> Iterator[tuple[slice, Tensor]]:
    """Strips of :func:`siren_ext.coater.nets.jnd.jnd_map`, rows x W."""
    height, width = rgb.shape[:2]
    weights = torch.tensor(_LUMINANCE)
    strips = list(_strips(height, width))
    # rows top - 2 to bottom + 2 of the luminance, with two columns on either side
    luma = torch.zeros(strips[0].stop + 4, width + 4)
    have = 0
    for rows in strips:
        count = rows.stop - rows.start
        if rows.start:
            luma[:4] = luma[strips[0].stop :].clone()
        new = slice(have, min(rows.stop + 2, height))
        first = have - rows.start + 2
        last = first + new.stop - new.start
        if last > first:
            seen = _floats(rgb[new]).view(-1, 3) @ weights
            luma[first:last, 2:-2] = seen.view(-1, width)
        luma[last:] = 0
        have = new.stop
        heat = heat_of(luma[: count + 4])
        heat[:, :1] = heat[:, -1:] = 0
        if rows.start == 0:
            heat[:1] = 0
        if rows.stop == height:
            heat[-1:] = 0
        yield rows, heat
