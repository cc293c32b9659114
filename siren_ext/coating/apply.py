"""Coated images in memory: residual, mask, clamp and the rounding to 8 bits, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

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
    """Coated copies of images, on the levels k/255 that an 8-bit file holds.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1], sides of 16 pixels or more.
    coater : Coater
        the work is done on its device, and the result lies there.
    strength : float
        factor on the residual; 1 is as trained.
    keep : Tensor | None
        B x 1 x H x W or 1 x 1 x H x W in [0,1]; where it is 1 nothing is added.
    key : CoatingKey | None
        holds the message that a keyed coater writes.

    Raises
    ------
    ImageError
        the images have another shape.
    CoaterError
        the coater gives values that are not finite numbers, or its key is missing.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < SMALLEST_SIDE:
        raise ImageError(
            f"Images of shape {shape} can't be coated; expected (count, 3, height, width) with "
            f"sides of at least {SMALLEST_SIDE} pixels."
        )
    coated, sane = add_coating(
        images.to(coater.device), coater, strength=strength, keep=keep, message=message_of(key)
    )
    if not all(sane):
        raise CoaterError(
            f"The coater gave values that are not finite numbers for image {sane.index(False)}; "
            "expected finite ones. Check that image's values and the coater file."
        )
    return coated


def message_of(key: CoatingKey | None) -> Tensor | None:
    """The message of a key, k of -1 and +1; None without a key."""
    return None if key is None else torch.tensor(key.signs().tolist(), dtype=torch.float32)


def add_coating(
    images: Tensor,
    coater: Coater,
    *,
    strength: float = 1.0,
    keep: Tensor | None = None,
    message: Tensor | None = None,
) -> tuple[Tensor, list[bool]]:
    """Coated B3HW images on the coater's device, and for each whether its residual is finite.

    Raises :class:`CoaterError` for a residual of another shape.
    """
    residual = coater.residual(images) if message is None else coater.residual(images, message)
    if residual.shape != images.shape:
        raise CoaterError(
            f"The coater gave a residual of shape {tuple(residual.shape)}; expected "
            f"{tuple(images.shape)}."
        )
    # a NaN or infinity is among the extremes; asking every pixel takes a copy of a large photo
    low, high = torch.aminmax(residual.flatten(1), dim=1)
    sane: list[bool] = (torch.isfinite(low) & torch.isfinite(high)).tolist()
    if keep is not None:
        residual = residual * (1 - keep.to(residual))
    return quantise(torch.add(images, residual, alpha=strength), in_place=True), sane
