"""Coats images in memory: residual, mask, clamp and rounding to 8 bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from siren_ext.coating.twin_patterns import beside
from siren_ext.data.images import quantise
from siren_ext.errors import CoaterError, ImageError

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

SMALLEST_SIDE = 16


@torch.no_grad()
def coat_images(
    images: Tensor,
    coater: Coater,
    *,
    strength: float = 1.0,
    keep: Tensor | None = None,
    key: CoatingKey | None = None,
) -> Tensor:
    """Coat images, on the levels k/255 that an 8-bit file can store.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1], at least 16 pixels wide and high.
    coater : Coater
        Adds the residual, on its device.
    strength : float
        Factor on the residual; 1 is what the coater was trained with.
    keep : Tensor | None
        B x 1 x H x W or 1 x 1 x H x W in [0,1]; where it is 1, nothing is added.
    key : CoatingKey | None
        The key whose message a keyed coater writes.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1], on the coater's device.

    Raises
    ------
    ImageError
        The images have another shape or type, or there are none.
    CoaterError
        The coater's output has values that are not finite numbers, or its key is missing.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or not shape[0] or shape[1] != 3 or min(shape[2:]) < SMALLEST_SIDE:
        raise ImageError(
            f"Images of shape {shape} can't be coated; expected (count, 3, height, width) with "
            f"sides of at least {SMALLEST_SIDE} pixels."
        )
    if not images.is_floating_point():
        raise ImageError(
            f"Images of type {images.dtype} can't be coated; expected floating point numbers from "
            "0 to 1. Divide bytes by 255."
        )
    coated, sane = add_coating(
        images.to(coater.device, torch.float32),
        coater,
        strength=strength,
        keep=keep,
        message=message_of(key),
    )
    if not all(sane):
        raise CoaterError(
            f"The coater's output for image {sane.index(False)} has values that are not finite "
            "numbers. Check that image's values and the coater file."
        )
    return coated


def check_key(coater: Coater, key: CoatingKey | None) -> None:
    """Check that a key fits a coater, before anything is written.

    Parameters
    ----------
    coater : Coater
        Keyed or not.
    key : CoatingKey | None
        The key; None for a coater that is not keyed.

    Raises
    ------
    CoaterError
        One is missing, or they differ in their number of bits.
    """
    needed, found = coater.config.message_bits, 0 if key is None else key.bits
    if found == needed:
        return
    given = f"a key of {found} bits" if found else "no key"
    if not needed:
        raise CoaterError(f"Found {given}; expected no key, because this coater is not keyed.")
    advice = "Use this coater's key." if found else "'siren-ext key new' makes one."
    raise CoaterError(f"Found {given}; expected a key of {needed} bits. {advice}")


def message_of(key: CoatingKey | None) -> Tensor | None:
    """The message of a key.

    Parameters
    ----------
    key : CoatingKey | None
        The key.

    Returns
    -------
    Tensor | None
        k values of -1 or +1; None without a key.
    """
    return None if key is None else torch.tensor(key.signs().tolist(), dtype=torch.float32)


def add_coating(
    images: Tensor,
    coater: Coater,
    *,
    strength: float = 1.0,
    keep: Tensor | None = None,
    message: Tensor | None = None,
    pattern: Tensor | None = None,
    in_place: bool = False,
) -> tuple[Tensor, list[bool]]:
    """Coat images without checking them. For callers that handle bad images one by one.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1], on the coater's device.
    coater, strength, keep
        As in :func:`coat_images`.
    message : Tensor | None
        See :func:`message_of`.
    pattern : Tensor | None
        B x 3 x H x W; what the images get besides the coating.
    in_place : bool
        Coat the given tensor itself, to save memory.

    Returns
    -------
    tuple[Tensor, list[bool]]
        Coated images, and for each whether its residual is finite.

    Raises
    ------
    CoaterError
        The residual has another shape than the images.
    """
    residual = coater.residual(images) if message is None else coater.residual(images, message)
    if residual.shape != images.shape:
        raise CoaterError(
            f"The coater's residual has the shape {tuple(residual.shape)}; expected "
            f"{tuple(images.shape)}. Check the coater file."
        )
    # any NaN or infinity shows in the extremes; isfinite on all pixels would copy a large photo
    low, high = torch.aminmax(residual.flatten(1), dim=1)
    sane: list[bool] = (torch.isfinite(low) & torch.isfinite(high)).tolist()
    if keep is not None:
        residual = residual * (1 - keep.to(residual))
    if pattern is not None:
        lowest = coater.config.min_psnr
        lowest -= 20 * math.log10(max(1.0, strength)) if lowest else 0.0
        residual = beside(residual * strength, pattern.to(residual), lowest)
        strength = 1.0
    place = images if in_place and residual.dtype == images.dtype else None
    return quantise(torch.add(images, residual, alpha=strength, out=place), in_place=True), sane
