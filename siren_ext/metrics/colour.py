"""CIE Lab and the CIEDE2000 colour difference, differentiable and safe at black, white and grey."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# sRGB to XYZ (D65), rows X, Y, Z
_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = (0.950489, 1.0, 1.08884)
_TINY = 1e-4  # chroma below which a colour is treated as grey; invisible
_OFFICIAL_FLOOR = 1e-4  # of the published code


def srgb_to_lab(images: Tensor, *, official_scale: bool = False) -> Tensor:
    """CIE Lab of sRGB images.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1]; values outside are clamped.
    official_scale : bool
        Use the scale of the published code, which leaves XYZ in [0,1] but divides by a white point
        in [0,100]; white then has L* = 8.99 instead of 100. Values outside [0,1] are not clamped
        but continue the curve, without the NaN gradients of the published code below -0.055.

    Returns
    -------
    Tensor
        B x 3 x H x W: L* in [0,100], a* and b* in about [-110,110].

    References
    ----------
    IEC 61966-2-1 (sRGB) and CIE 15 (Lab), with white point D65.
    """
    rgb = images if official_scale else images.clamp(0, 1)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp_min(1e-6) ** 2.4, rgb / 12.92)
    matrix = torch.tensor(_TO_XYZ, dtype=rgb.dtype, device=rgb.device)
    white = torch.tensor(_WHITE, dtype=rgb.dtype, device=rgb.device).view(1, 3, 1, 1)
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear) / white
    if official_scale:
        xyz = xyz / 100
    delta = 6 / 29
    root = torch.where(
        xyz > delta**3, xyz.clamp_min(delta**3) ** (1 / 3), xyz / (3 * delta**2) + 4 / 29
    )
    fx, fy, fz = root.unbind(1)
    return torch.stack((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)), 1)


def _root(value: Tensor, floor: float = _TINY**2) -> Tensor:
    """Square root with a floor under its argument, so that its gradient is finite at zero."""
    return value.clamp_min(floor).sqrt()


class _Colour:
    """Chroma and hue of one image's pixels, made smooth close to grey.

    CIEDE2000 is not differentiable at grey: chroma has the shape of a cone there, and the smaller
    the chroma, the faster the hue changes. Within a chroma of ``_TINY`` both are replaced by smooth
    functions that agree with the exact ones at ``_TINY``. Both use ``held``, the chroma but at
    least ``_TINY``, because the slope of the hue is bounded only in a product with a chroma that is
    equally small.

    ``x`` and ``y`` are the direction of the hue: a vector of length 1, or shorter close to grey.
    """

    def __init__(self, a: Tensor, b: Tensor) -> None:
        square = a**2 + b**2
        self.a, self.b = a, b
        self.grey = square < _TINY**2
        self.held = _root(square)
        self.chroma = torch.where(self.grey, (square / _TINY + _TINY) / 2, self.held)
        self.x, self.y = a / self.held, b / self.held

    def angle(self) -> Tensor:
        """Hue in (-pi, pi]; 0 close to grey, where it has no meaning."""
        a = torch.where(self.grey, torch.ones_like(self.a), self.a)
        return torch.atan2(torch.where(self.grey, torch.zeros_like(self.b), self.b), a)


def _hues(one: _Colour, two: _Colour) -> tuple[Tensor, Tensor]:
    """Hue angles in [0, 2 pi); a grey pixel gets the hue of the other colour, as the formula does.

    Close to grey the hue moves from the other colour's to its own, in such a way that the mean of
    both is the angle of the sum of their directions.
    """
    lone = one.grey ^ two.grey
    along = torch.where(lone, one.x * two.x + one.y * two.y, torch.zeros_like(one.x))
    aside = torch.where(lone, one.x * two.y - one.y * two.x, torch.zeros_like(one.x))
    lean = 2 * torch.atan2(aside, 1 + along)
    first, second = one.angle(), two.angle()
    h1 = torch.where(lone & one.grey, second - lean, first)
    h2 = torch.where(lone & two.grey, first + lean, second)
    return h1.remainder(2 * math.pi), h2.remainder(2 * math.pi)


def ciede2000_squared(first: Tensor, second: Tensor, *, official: bool = False) -> Tensor:
    """Squared CIEDE2000 difference of each pixel, with k_L = k_C = k_H = 1.

    Parameters
    ----------
    first, second : Tensor
        B x 3 x H x W in CIE Lab.
    official : bool
        Keep the ratios under the square roots of G and R_C at 1e-4 or more, as the published code
        does; this changes both at low chroma. Otherwise the floor is 1e-8.

    Returns
    -------
    Tensor
        B x 1 x H x W, not negative.

    Notes
    -----
    The result is exact if both colours have a chroma above 1e-4. The chroma of pixels closer to
    grey is changed by up to 1e-4, so that gradients agree with finite differences there too.

    References
    ----------
    Sharma, Wu and Dalal (2005), "The CIEDE2000 color-difference formula", Color Res. Appl. 30(1),
    Eq. 2 to 22. SIREN (arXiv 2410.10437), Eq. 3 and 4, uses its mean over pixels as the perceptual
    loss.
    """
    l1, a1, b1 = first.unbind(1)
    l2, a2, b2 = second.unbind(1)
    mean_chroma7 = ((_root(a1**2 + b1**2) + _root(a2**2 + b2**2)) / 2) ** 7
    floor = _OFFICIAL_FLOOR if official else _TINY**2
    g = 0.5 * (1 - _root(mean_chroma7 / (mean_chroma7 + 25.0**7), floor))
    one, two = _Colour((1 + g) * a1, b1), _Colour((1 + g) * a2, b2)
    c1, c2 = one.chroma, two.chroma
    h1, h2 = _hues(one, two)
    dl, dc = l2 - l1, c2 - c1
    dh = h2 - h1
    dh = torch.where(dh > math.pi, dh - 2 * math.pi, dh)
    dh = torch.where(dh < -math.pi, dh + 2 * math.pi, dh)
    dhue = 2 * (one.held * two.held).sqrt() * torch.sin(dh / 2)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    total = h1 + h2
    far = (h1 - h2).abs() > math.pi
    mean_h = torch.where(
        far, torch.where(total < 2 * math.pi, total / 2 + math.pi, total / 2 - math.pi), total / 2
    )
    degree = math.pi / 180
    t = (
        1
        - 0.17 * torch.cos(mean_h - 30 * degree)
        + 0.24 * torch.cos(2 * mean_h)
        + 0.32 * torch.cos(3 * mean_h + 6 * degree)
        - 0.20 * torch.cos(4 * mean_h - 63 * degree)
    )
    offset = (mean_l - 50) ** 2
    s_l = 1 + 0.015 * offset / (20 + offset).sqrt()
    s_c = 1 + 0.045 * mean_c
    s_h = 1 + 0.015 * mean_c * t
    turn = 30 * degree * torch.exp(-(((mean_h / degree - 275) / 25) ** 2))
    mean_c7 = mean_c**7
    r_t = -torch.sin(2 * turn) * 2 * _root(mean_c7 / (mean_c7 + 25.0**7), floor)
    lightness, chroma, hue = dl / s_l, dc / s_c, dhue / s_h
    # close to grey use the distance of the directions, which is differentiable at grey itself
    across = one.held * two.held * ((one.x - two.x) ** 2 + (one.y - two.y) ** 2)
    hue2 = torch.where(one.grey | two.grey, across / s_h**2, hue**2)
    squared = lightness**2 + chroma**2 + hue2 + r_t * chroma * hue
    return squared.clamp_min(0).unsqueeze(1)


def ciede2000(first: Tensor, second: Tensor) -> Tensor:
    """CIEDE2000 difference of each pixel.

    Parameters
    ----------
    first, second : Tensor
        B x 3 x H x W in CIE Lab.

    Returns
    -------
    Tensor
        B x 1 x H x W, not negative; see :func:`ciede2000_squared`.
    """
    return _root(ciede2000_squared(first, second))
