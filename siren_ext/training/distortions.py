"""What happens to images between release and detection, as differentiable random layers.

The photometric list is that of SIREN's code (after StegaStamp). Four slips of that code are
corrected unless ``official`` asks for them:

- desaturation mixes with a third of the luminance, which darkens the image;
- the luma table of JPEG is transposed, so that detail along one axis loses what the standard
  takes from the other;
- blur pads with black, which darkens a border of three pixels;
- the line of motion blur is cut by the diamond ``|x| + |y| <= 3`` of the pixel grid, whatever its
  direction, so that a diagonal line is shorter than a level one.

In both forms the JPEG factor never reaches zero (the code divides by zero at quality 100), and
sizes that are no multiple of 16 are padded (the code stops with an error).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

CALL_PROBABILITY = 0.8
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def blur(
    image: Tensor, ramp: float, generator: torch.Generator, *, official: bool = False
) -> Tensor:
    """7 x 7 blur: a quarter Gaussian, a quarter an oriented line, half nothing; no ramp.

    ``official``: black beyond the border instead of its mirror image, and every line within the
    same diamond instead of one turned with it.
    """
    kind = _uniform(generator, 0, 1)
    if kind >= 0.5:
        return image
    offset = torch.arange(-3, 4, dtype=image.dtype, device=image.device)
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    if kind < 0.25:
        sigma = _uniform(generator, 1, 3)
        kernel = torch.exp(-(x**2 + y**2) / (2 * sigma**2))
    else:
        angle = _uniform(generator, 0, 2 * math.pi)
        sigma, width = _uniform(generator, 0.25, 1), _uniform(generator, 3, 3.1)
        along = x * math.cos(angle) + y * math.sin(angle)
        across = -x * math.sin(angle) + y * math.cos(angle)
        extent = x.abs() + y.abs() if official else along.abs() + across.abs()
        inside = (extent <= width).to(image.dtype)
        kernel = inside * torch.exp(-(across**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 7, 7)
    around = F.pad(image, (3, 3, 3, 3), mode="constant" if official else "reflect")
    return F.conv2d(around, kernel, groups=3)


def _noise(image: Tensor, ramp: float, generator: torch.Generator, sign: float) -> Tensor:
    sigma = _uniform(generator, 0, 1) * ramp * 0.02
    noise = torch.randn(image.shape, generator=generator).to(image)
    return (image + sign * sigma * noise).clamp(0, 1)


def add_noise(image: Tensor, ramp: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise of standard deviation up to 0.02."""
    return _noise(image, ramp, generator, 1.0)


def subtract_noise(image: Tensor, ramp: float, generator: torch.Generator) -> Tensor:
    """The same with the other sign (the published list holds both)."""
    return _noise(image, ramp, generator, -1.0)


def photometric(image: Tensor, ramp: float, generator: torch.Generator) -> Tensor:
    """Contrast within 50 %, brightness within 0.3, hue shift within 0.1 per channel."""
    contrast = _uniform(generator, 1 - 0.5 * ramp, 1 + 0.5 * ramp)
    brightness = _uniform(generator, -0.3 * ramp, 0.3 * ramp)
    hue = (2 * torch.rand(1, 3, 1, 1, generator=generator) - 1).to(image) * 0.1 * ramp
    return (image * contrast + brightness + hue).clamp(0, 1)


def desaturate(
    image: Tensor, ramp: float, generator: torch.Generator, *, official: bool = False
) -> Tensor:
    """Mix with the image's luminance; ``official``: with a third of it."""
    share = _uniform(generator, 0, 1) * ramp
    weights = torch.tensor((0.3, 0.6, 0.1), dtype=image.dtype, device=image.device)
    weighted = image * weights.view(1, 3, 1, 1)
    luma = weighted.mean(1, keepdim=True) if official else weighted.sum(1, keepdim=True)
    return image * (1 - share) + share * luma


def _soft_round(x: Tensor) -> Tensor:
    """x^3 where |x| < 0.5, else x: kills small coefficients but keeps a gradient."""
    return torch.where(x.abs() < 0.5, x**3, x)


def _dct_basis(like: Tensor) -> Tensor:
    k = torch.arange(8, dtype=like.dtype, device=like.device)
    basis = torch.cos((2 * k.view(1, 8) + 1) * k.view(8, 1) * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def _quantise_plane(plane: Tensor, table: Tensor, basis: Tensor) -> Tensor:
    """8 x 8 block DCT of B x H x W, soft quantisation, inverse."""
    b, h, w = plane.shape
    blocks = plane.view(b, h // 8, 8, w // 8, 8).permute(0, 1, 3, 2, 4)
    coefficients = basis @ blocks @ basis.T
    coefficients = _soft_round(coefficients / table) * table
    blocks = basis.T @ coefficients @ basis
    return blocks.permute(0, 1, 3, 2, 4).reshape(b, h, w)


def soft_jpeg(image: Tensor, quality: float, *, official: bool = False) -> Tensor:
    """Differentiable JPEG with 4:2:0 chroma, standard tables and soft rounding.

    Parameters
    ----------
    image : Tensor
        B x 3 x H x W in [0,1], any H and W.
    quality : float
        1 to 100.
    official : bool
        the luma table transposed.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].
    """
    height, width = image.shape[2:]
    pad = (0, -width % 16, 0, -height % 16)
    x = 255 * (F.pad(image, pad, mode="replicate") if any(pad) else image)
    r, g, b = x.unbind(1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb, cr = (b - y) * 0.564 + 128, (r - y) * 0.713 + 128
    factor = max(1e-3, (200 - 2 * quality) / 100 if quality >= 50 else 50 / quality)
    basis = _dct_basis(x)
    luma = torch.tensor(_LUMA_TABLE, dtype=x.dtype, device=x.device) * factor
    luma = luma.T if official else luma
    chroma = torch.tensor(_CHROMA_TABLE, dtype=x.dtype, device=x.device) * factor
    y = _quantise_plane(y - 128, luma, basis) + 128
    small = F.avg_pool2d(torch.stack((cb, cr), 1), 2).flatten(0, 1)
    small = _quantise_plane(small - 128, chroma, basis) + 128
    planes = F.interpolate(small.view(x.shape[0], 2, *small.shape[1:]), scale_factor=2.0)
    cb, cr = planes.unbind(1)
    r = y + 1.403 * (cr - 128)
    g = y - 0.344 * (cb - 128) - 0.714 * (cr - 128)
    b = y + 1.773 * (cb - 128)
    return (torch.stack((r, g, b), 1) / 255)[..., :height, :width].clamp(0, 1)


def jpeg(
    image: Tensor, ramp: float, generator: torch.Generator, *, official: bool = False
) -> Tensor:
    """JPEG of quality 100 down to 50; ``official`` as for :func:`soft_jpeg`."""
    return soft_jpeg(image, 100 - _uniform(generator, 0, 1) * ramp * 50, official=official)


def crop(image: Tensor, ramp: float, generator: torch.Generator) -> Tensor:
    """A random crop of half to all of the side, enlarged again; not in the published list."""
    share = 1 - 0.5 * ramp * _uniform(generator, 0, 1)
    height, width = image.shape[2:]
    h, w = max(8, round(height * share)), max(8, round(width * share))
    top = int(_uniform(generator, 0, height - h + 0.999))
    left = int(_uniform(generator, 0, width - w + 0.999))
    cut = image[..., top : top + h, left : left + w]
    return F.interpolate(cut, size=(height, width), mode="bilinear", align_corners=False)


def flip(image: Tensor, ramp: float, generator: torch.Generator) -> Tensor:
    """Mirror image; trainers augment with it. Not in the published list."""
    return image.flip(3)


Distortion = Callable[[Tensor, float, torch.Generator], Tensor]
PHOTOMETRIC: tuple[Distortion, ...] = (
    blur,
    add_noise,
    subtract_noise,
    photometric,
    jpeg,
    desaturate,
)
OFFICIAL: tuple[Distortion, ...] = (
    partial(blur, official=True),
    add_noise,
    subtract_noise,
    photometric,
    partial(jpeg, official=True),
    partial(desaturate, official=True),
)
"""The photometric list with the slips of SIREN's code (see the head of this module)."""
GEOMETRIC: tuple[Distortion, ...] = (crop, flip)


def distort(
    images: Tensor,
    ramp: float,
    generator: torch.Generator,
    *,
    geometric: bool = False,
    official: bool = False,
    rows: slice | None = None,
) -> Tensor:
    """Each image, independently, kept (one in five) or put through two different distortions.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    ramp : float
        0 (gentlest) to 1 (full strength).
    generator : torch.Generator
        of all draws (on the CPU).
    geometric : bool
        also crop and mirror.
    official : bool
        with the slips of SIREN's code: desaturation that darkens, a transposed JPEG table, black
        beyond the border of a blurred image, lines of motion blur cut by one diamond.
    rows : slice or None
        return these images only, with the random numbers that they have among all.

    Returns
    -------
    Tensor
        B x 3 x H x W, differentiable.
    """
    pool = (OFFICIAL if official else PHOTOMETRIC) + (GEOMETRIC if geometric else ())
    out = []
    wanted = range(len(images))[rows or slice(None)]
    for row, image in enumerate(torch.split(images, 1)):
        result = image
        with torch.set_grad_enabled(torch.is_grad_enabled() and row in wanted):
            if _uniform(generator, 0, 1) < CALL_PROBABILITY:
                for index in torch.randperm(len(pool), generator=generator)[:2].tolist():
                    result = pool[index](result, ramp, generator)
        out.append(result)
    return torch.cat([out[row] for row in wanted]) if wanted else images[:0]
