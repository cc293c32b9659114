"""The just-noticeable-difference map: how large a change the eye tolerates at each pixel."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMINANCE = (0.299, 0.587, 0.114)
# Pixels in a strip. About ten copies of one are in memory at a time, which fit a CPU's cache.
_STRIP_PIXELS, _DEVICE_STRIP_PIXELS = 1 << 16, 1 << 22


@torch.no_grad()
def jnd_map(images: Tensor) -> Tensor:
    """Just-noticeable difference of each pixel, as a share of full scale.

    Luminance masking plus contrast masking minus 0.3 times the smaller of the two. The outermost
    rows and columns are zero, because the zero padding would look like an edge there.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].

    Returns
    -------
    Tensor
        B x 1 x H x W, not negative: 0.012 to 0.078 on flat areas, more on texture.

    References
    ----------
    SIREN (arXiv 2410.10437), the perceptual mask; formulas of its published code, after Wu et al.
    (2017), "Enhanced just noticeable difference model for images with pattern complexity", IEEE
    Trans. Image Process. 26(6).
    """
    heat = images.new_empty(len(images), 1, *images.shape[2:])
    for rows, strip in jnd_strips(images):
        heat[:, :, rows] = strip
    return heat


@torch.no_grad()
def jnd_strips(images: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """:func:`jnd_map` by strips, so that a large photo's map is never in memory.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].

    Yields
    ------
    rows : slice
        The rows of a strip.
    heat : Tensor
        B x 1 x rows x W.
    """
    batch, _, height, width = images.shape
    pixels = _STRIP_PIXELS if images.device.type == "cpu" else _DEVICE_STRIP_PIXELS
    rows = max(1, pixels // max(1, batch * width))
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        heat = _strip(images, top, bottom)
        heat[..., :1] = heat[..., -1:] = 0
        if top == 0:
            heat[..., :1, :] = 0
        if bottom == height:
            heat[..., -1:, :] = 0
        yield slice(top, bottom), heat


def _strip(images: Tensor, top: int, bottom: int) -> Tensor:
    """Rows ``top`` to ``bottom`` of the map, from these rows and two more on either side."""
    height = images.shape[2]
    above, below = min(2, top), min(2, height - bottom)
    images = images[:, :, top - above : bottom + below]
    # sums of 32 luminances up to 255 are too large for half precision
    images = images if images.dtype == torch.float64 else images.float()
    red, green, blue = (255 * weight for weight in _LUMINANCE)
    luma = (images[:, :1] * red).add_(images[:, 1:2], alpha=green).add_(images[:, 2:], alpha=blue)
    return heat_of(F.pad(luma, (2, 2, 2 - above, 2 - below)))


def heat_of(luma: Tensor) -> Tensor:
    """The map from luminance, without its border of zeros.

    Parameters
    ----------
    luma : Tensor
        ... x H + 4 x W + 4 in [0,255], with two more pixels on every side; zero beyond the image.

    Returns
    -------
    Tensor
        ... x H x W.
    """
    luminance = _luminance(luma)
    contrast = _contrast(luma[..., 1:-1, 1:-1])
    smaller = torch.minimum(luminance, contrast)
    return luminance.add_(contrast).sub_(smaller, alpha=0.3).div_(255)


def _luminance(luma: Tensor) -> Tensor:
    """Luminance masking, from the weighted mean of the 24 neighbours; the inner 8 count twice.

    The 5 x 5 weights are the sum of two boxes without their centre. A box is summed along rows, and
    then along columns, by adding shifted copies: a third of a convolution's time.
    """
    left, right = luma[..., 1:-3], luma[..., 3:-1]
    small = (left + right).add_(luma[..., 2:-2])
    large = (luma[..., :-4] + luma[..., 4:]).add_(small)
    mean = large[..., :-4, :] + large[..., 4:, :]
    for row in range(1, 4):
        stop = row - 4
        mean.add_(large[..., row:stop, :]).add_(small[..., row:stop, :])
    mean.sub_(luma[..., 2:-2, 2:-2], alpha=2).div_(32).clamp_(min=0)
    dark = (mean / 127).sqrt_().mul_(-17).add_(20)
    light = mean.sub_(127).mul_(3 / 128).add_(3)
    # each is the larger one where it applies: up to 127, and above
    return torch.maximum(dark, light, out=dark)


def _contrast(luma: Tensor) -> Tensor:
    """Contrast masking, from the slope that the two Sobel filters measure."""
    across = luma[..., 2:] - luma[..., :-2]
    across = (across[..., :-2, :] + across[..., 2:, :]).add_(across[..., 1:-1, :], alpha=2)
    down = luma[..., 2:, :] - luma[..., :-2, :]
    down = (down[..., :-2] + down[..., 2:]).add_(down[..., 1:-1], alpha=2)
    square = across.square_().add_(down.square_())
    # square to the power of 1.2, in half of pow's time; where it is 0, exp(-inf) is 0 too
    power = square.log().mul_(0.2).exp_().mul_(square)
    return power.mul_(0.117 * 16).div_(square.add_(26**2))
