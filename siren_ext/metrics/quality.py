"""How far a coated image is from its original: PSNR, SSIM and local colour difference.

All functions take two batches B x 3 x H x W of float RGB in [0,1] and treat each image on its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.errors import ImageError
from siren_ext.metrics.colour import ciede2000, srgb_to_lab

_WINDOW = 11
_SIGMA = 1.5
_STRIP_PIXELS = 1 << 20
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """Peak signal-to-noise ratio.

    Parameters
    ----------
    first, second : Tensor
        B x 3 x H x W in [0,1].

    Returns
    -------
    Tensor
        B values in dB, with a peak of 1; infinite for equal images.

    Raises
    ------
    ImageError
        If the shapes do not fit.
    """
    _check(first, second)
    error = (first.double() - second.double()).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error)


def ssim(first: Tensor, second: Tensor, *, on: Literal["rgb", "luma"] = "rgb") -> Tensor:
    """Structural similarity.

    Parameters
    ----------
    first, second : Tensor
        B x 3 x H x W in [0,1], H and W at least 11.
    on : {"rgb", "luma"}
        Average over the three channels, or use Y = 0.299 R + 0.587 G + 0.114 B.

    Returns
    -------
    Tensor
        B values in [-1,1]; 1 for equal images.

    Raises
    ------
    ImageError
        If the shapes do not fit, or a side is shorter than the window.

    References
    ----------
    Wang, Bovik, Sheikh and Simoncelli (2004), "Image quality assessment: from error visibility to
    structural similarity", IEEE Trans. Image Process. 13(4), Eq. 13: Gaussian window of 11 x 11
    pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, averaged over the positions where it fits.
    """
    _check(first, second)
    if min(first.shape[-2:]) < _WINDOW:
        raise ImageError(
            f"SSIM needs images of at least {_WINDOW} x {_WINDOW} pixels; found "
            f"{first.shape[-1]} x {first.shape[-2]}."
        )
    total = torch.zeros(len(first), dtype=torch.float64, device=first.device)
    for top, bottom in _strips(first, _WINDOW - 1):
        values = _ssim_map(first[:, :, top:bottom].double(), second[:, :, top:bottom].double(), on)
        total += values.sum(dim=(2, 3)).mean(dim=1)
    height, width = first.shape[2:]
    return total / ((height - _WINDOW + 1) * (width - _WINDOW + 1))


def _ssim_map(x: Tensor, y: Tensor, on: str) -> Tensor:
    """Similarity at each position of the window."""
    if on == "luma":
        weights = x.new_tensor(_LUMA).view(1, 3, 1, 1)
        x, y = (x * weights).sum(1, keepdim=True), (y * weights).sum(1, keepdim=True)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    var_x = _window_mean(x * x) - mean_x**2
    var_y = _window_mean(y * y) - mean_y**2
    covariance = _window_mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return structure * luminance


def colour_difference(first: Tensor, second: Tensor) -> Tensor:
    """CIEDE2000 difference of every pixel.

    Parameters
    ----------
    first, second : Tensor
        B x 3 x H x W in [0,1].

    Returns
    -------
    Tensor
        B x H x W; about 1 is just noticeable side by side.

    Raises
    ------
    ImageError
        If the shapes do not fit.
    """
    return local_colour_difference(first, second, window=1)


def local_colour_difference(first: Tensor, second: Tensor, *, window: int = 9) -> Tensor:
    """CIEDE2000 difference after a blur, which shows tinted areas that a PSNR does not.

    Both images are first averaged over a square window, because the eye averages colour over an
    area: fine grain cancels out and a uniform tint remains.

    Parameters
    ----------
    first, second : Tensor
        B x 3 x H x W in [0,1].
    window : int
        Side of the window in pixels; the border of the image is repeated.

    Returns
    -------
    Tensor
        B x H x W; about 1 is just noticeable side by side.

    Raises
    ------
    ImageError
        If the shapes do not fit.
    """
    _check(first, second)
    before, after = window // 2, (window - 1) // 2
    frame = (before, after, before, after)
    x, y = (F.pad(images, frame, mode="replicate") for images in (first, second))
    parts = []
    for top, bottom in _strips(x, window - 1):
        lab = [
            srgb_to_lab(F.avg_pool2d(images[:, :, top:bottom], window, stride=1))
            for images in (x, y)
        ]
        parts.append(ciede2000(*lab)[:, 0])
    return torch.cat(parts, dim=1)


def local_de00_p99(first: Tensor, second: Tensor) -> Tensor:
    """99th percentile over the pixels of :func:`local_colour_difference`.

    Parameters
    ----------
    first, second : Tensor
        B x 3 x H x W in [0,1].

    Returns
    -------
    Tensor
        B values.

    Raises
    ------
    ImageError
        If the shapes do not fit.
    """
    flat = local_colour_difference(first, second).flatten(1)
    rank = -(-99 * flat.shape[1] // 100)  # torch.quantile does not accept large images
    return flat.kthvalue(rank, dim=1).values


class Change(NamedTuple):
    """How far one image is from its original.

    Attributes
    ----------
    psnr_db : float | None
        None if the images are equal.
    ssim, local_de00_p99 : float
        Of :func:`ssim` and :func:`local_de00_p99`.
    """

    psnr_db: float | None
    ssim: float
    local_de00_p99: float


def change_of(first: Tensor, second: Tensor) -> Change:
    """How far one image is from its original.

    Parameters
    ----------
    first, second : Tensor
        1 x 3 x H x W in [0,1].

    Returns
    -------
    Change
        The figures.

    Raises
    ------
    ImageError
        If the shapes do not fit.
    """
    noise = float(psnr(first, second))
    return Change(
        noise if math.isfinite(noise) else None,
        float(ssim(first, second)),
        float(local_de00_p99(first, second)),
    )


def _check(first: Tensor, second: Tensor) -> None:
    """Refuse anything but two batches of the same shape."""
    if first.ndim != 4 or first.shape[1] != 3 or first.shape != second.shape:
        raise ImageError(
            f"Images of shapes {tuple(first.shape)} and {tuple(second.shape)} can't be compared; "
            "expected two batches of the same shape B x 3 x H x W."
        )


def _window_mean(images: Tensor) -> Tensor:
    """Gaussian-weighted mean around each pixel whose window lies inside the image."""
    offsets = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    channels = images.shape[1]
    column = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    row = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(images, column, groups=channels), row, groups=channels)


def _strips(images: Tensor, overlap: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows that cover an image, so that large photos need little memory at a time.

    Neighbouring ranges share ``overlap`` rows, so a window of ``overlap + 1`` rows gives each
    output row once.
    """
    batch, _, height, width = images.shape
    rows = max(1, _STRIP_PIXELS // (batch * width))
    for top in range(0, height - overlap, rows):
        yield top, min(top + rows + overlap, height)
