"""The just-noticeable-difference map: how large a change the eye tolerates at each pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_LUMINANCE = (0.299, 0.587, 0.114)
_MEAN_KERNEL = (
    (1, 1, 1, 1, 1),
    (1, 2, 2, 2, 1),
    (1, 2, 0, 2, 1),
    (1, 2, 2, 2, 1),
    (1, 1, 1, 1, 1),
)
_SOBEL = ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))
# pixels in a strip; about ten copies of a strip are in memory at a time
_STRIP_PIXELS = 1 << 20


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
    batch, _, height, width = images.shape
    rows = max(1, _STRIP_PIXELS // max(1, batch * width))
    strips = [_strip(images, top, min(top + rows, height)) for top in range(0, height, rows)]
    heat = strips[0] if len(strips) == 1 else torch.cat(strips, dim=2)
    for edge in (heat[..., :1, :], heat[..., -1:, :], heat[..., :1], heat[..., -1:]):
        edge.zero_()
    return heat


def _strip(images: Tensor, top: int, bottom: int) -> Tensor:
    """Rows ``top`` to ``bottom`` of the map, from these rows and two more on either side."""
    height = images.shape[2]
    above, below = min(2, top), min(2, height - bottom)
    images = images[:, :, top - above : bottom + below]
    weights = torch.tensor(_LUMINANCE, dtype=images.dtype, device=images.device)
    luma = 255 * (images * weights.view(1, 3, 1, 1)).sum(1, keepdim=True)
    luma = F.pad(luma, (2, 2, 2 - above, 2 - below))
    kernel = torch.tensor(_MEAN_KERNEL, dtype=images.dtype, device=images.device).view(1, 1, 5, 5)
    mean = F.conv2d(luma, kernel / 32).clamp_min(0)
    dark = 17 * (1 - (mean / 127).sqrt()) + 3
    light = 3 / 128 * (mean - 127) + 3
    luminance = torch.where(mean <= 127, dark, light)
    sobel = torch.tensor(_SOBEL, dtype=images.dtype, device=images.device)
    both = torch.stack((sobel, sobel.T)).unsqueeze(1)
    slope = F.conv2d(luma[..., 1:-1, 1:-1], both).square().sum(1, keepdim=True).sqrt()
    contrast = 0.117 * 16 * slope**2.4 / (slope**2 + 26**2)
    return (luminance + contrast - 0.3 * torch.minimum(luminance, contrast)) / 255
