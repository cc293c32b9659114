"""Changes of colour, brightness and sharpness, as image editors have them; by kornia.

As in :mod:`siren_ext.attacks.handling`, each function takes a batch B x 3 x H x W of float RGB in
[0,1] and a generator, which none of them uses, and returns a batch of the same size in [0,1]. The
sources of the defaults are those of :mod:`siren_ext.attacks.transforms`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from siren_ext.attacks.checks import image_batch, within
from siren_ext.errors import MissingExtraError

_SMOOTHED = 3  # pixels across the smoothed copy that sharpness is told from


def hue(images: Tensor, generator: torch.Generator | None = None, *, turn: float = 0.25) -> Tensor:
    """Turn all hues.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    turn : float
        Share of the colour circle, from -0.5 to 0.5.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If ``turn`` is out of range.
    ImageError
        If ``images`` is not a batch of images.
    MissingExtraError
        If kornia is not installed.
    """
    within("turn", turn, -0.5, 0.5)
    return _enhanced("adjust_hue", images, 2 * math.pi * turn)


def brightness(
    images: Tensor, generator: torch.Generator | None = None, *, factor: float = 2.0
) -> Tensor:
    """Multiply all values.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    factor : float
        From 0 to 10; 1 changes nothing.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If ``factor`` is out of range.
    ImageError
        If ``images`` is not a batch of images.
    MissingExtraError
        If kornia is not installed.
    """
    return _enhanced("adjust_brightness_accumulative", images, _factor(factor))


def contrast(
    images: Tensor, generator: torch.Generator | None = None, *, factor: float = 2.0
) -> Tensor:
    """Move all values away from the mean luminance of their image.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    factor : float
        Distance from the mean afterwards, in units of that before, from 0 to 10.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If ``factor`` is out of range.
    ImageError
        If ``images`` is not a batch of images.
    MissingExtraError
        If kornia is not installed.
    """
    return _enhanced("adjust_contrast_with_mean_subtraction", images, _factor(factor))


def saturation(
    images: Tensor, generator: torch.Generator | None = None, *, factor: float = 2.0
) -> Tensor:
    """Move all colours away from their grey.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    factor : float
        Distance from grey afterwards, in units of that before, from 0 to 10.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If ``factor`` is out of range.
    ImageError
        If ``images`` is not a batch of images.
    MissingExtraError
        If kornia is not installed.
    """
    return _enhanced("adjust_saturation_with_gray_subtraction", images, _factor(factor))


def sharpness(
    images: Tensor, generator: torch.Generator | None = None, *, factor: float = 2.0
) -> Tensor:
    """Move all pixels away from a smoothed copy of their image.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    factor : float
        Distance from the smoothed copy afterwards, in units of that before, from 0 to 10.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If ``factor`` is out of range.
    ImageError
        If ``images`` is not a batch of images.
    MissingExtraError
        If kornia is not installed.

    Notes
    -----
    Images with a side below 3 pixels have nothing that is smoothed, and stay as they are.
    """
    factor = _factor(factor)
    if min(image_batch(images).shape[2:]) < _SMOOTHED:
        return images
    return _enhanced("sharpness", images, factor)


def kornia_module(part: str) -> Any:
    """A module of kornia.

    Parameters
    ----------
    part : str
        ``enhance`` or ``filters``.

    Raises
    ------
    MissingExtraError
        If kornia is not installed.
    """
    try:
        from kornia import enhance, filters
    except ImportError as error:
        raise MissingExtraError("kornia", "attacks") from error
    return {"enhance": enhance, "filters": filters}[part]


def _enhanced(name: str, images: Tensor, value: float) -> Tensor:
    """A batch after a function of ``kornia.enhance``."""
    changed: Tensor = getattr(kornia_module("enhance"), name)(image_batch(images).float(), value)
    return changed.clamp(0, 1).to(images)


def _factor(value: float) -> float:
    """A factor after its check."""
    within("factor", value, 0, 10)
    return float(value)
