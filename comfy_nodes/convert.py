"""Converts between ComfyUI's images (B x H x W x C) and the package's (B x 3 x H x W)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from siren_ext.errors import ImageError

# filters that sharpen or enlarge leave [0,1] a little; images in [-1,1] or [0,255] go further
_LOWEST, _HIGHEST = -0.5, 2.0


def plain_tensor(value: Any, kind: str = "IMAGE") -> Tensor:
    """A node's input as a tensor without gradient.

    Parameters
    ----------
    value : Any
        What another node gave; nodes for any type may give anything.
    kind : str
        ComfyUI's type for it.

    Returns
    -------
    Tensor
        The same numbers.

    Raises
    ------
    ImageError
        It is not a tensor.
    """
    if isinstance(value, Tensor):
        return value.detach()
    found = "nothing" if value is None else f"an object of type {type(value).__name__}"
    hint = ""
    if isinstance(value, (list, tuple)):
        found, hint = f"a list of {len(value)}", " Join them into one batch first."
    elif isinstance(value, dict) and "samples" in value:
        found, hint = "a LATENT", " Decode it with VAE Decode first."
    raise ImageError(
        f"Found {found}; expected ComfyUI's {kind}, one tensor.{hint} Check the node that the "
        "input comes from."
    )


def to_core(image: Tensor) -> Tensor:
    """Convert a ComfyUI batch for the package. Transparency is dropped.

    Parameters
    ----------
    image : Tensor
        B x H x W x 3 or B x H x W x 4, in [0,1].

    Returns
    -------
    Tensor
        B x 3 x H x W, float32, contiguous, without gradient.

    Raises
    ------
    ImageError
        It is not a tensor, it has whole numbers or another shape, the batch is empty, or an image
        has values that are not finite or far from [0,1]; the message says which.
    """
    image = plain_tensor(image)
    if image.ndim != 4 or image.shape[-1] not in (3, 4):
        raise ImageError(
            f"Found images of shape {tuple(image.shape)}; expected ComfyUI's IMAGE, (count, "
            "height, width, 3), or 4 channels with transparency."
        )
    if not len(image):
        raise ImageError(
            "Found an empty batch of images; expected at least one image. Check the node that the "
            "images come from: it returned no images."
        )
    if not image.numel():
        raise ImageError(
            f"Found images of {image.shape[2]} x {image.shape[1]} pixels; expected at least one "
            "pixel. Check the node that the images come from."
        )
    if not image.is_floating_point():
        kind = str(image.dtype).removeprefix("torch.")
        raise ImageError(
            f"Found images made of {kind} numbers; expected ComfyUI's IMAGE, decimal numbers from "
            "0 to 1. Convert them in the node that they come from: if they run from 0 to 255, "
            "divide them by 255."
        )
    colours = image[..., :3].movedim(-1, 1).float().contiguous()
    low, high = torch.aminmax(colours.flatten(1), dim=1)
    finite = torch.isfinite(low) & torch.isfinite(high)
    if not bool(finite.all()):
        raise ImageError(
            f"Found values that are not finite numbers in {_numbers(~finite)} (counted "
            "from 0, as batch_index); expected values from 0 to 1. Such an image is usually black: "
            "the model failed in half precision. Generate it again, or take it out of the batch."
        )
    far = (low < _LOWEST) | (high > _HIGHEST)
    if bool(far.any()):
        raise ImageError(
            f"Found values from {float(low[far].min()):.5g} to {float(high[far].max()):.5g} in "
            f"{_numbers(far)} (counted from 0, as batch_index); expected values from 0 to 1. "
            "Convert them in the node that they come from: if they run from 0 to 255, divide them "
            "by 255."
        )
    return colours


def _numbers(bad: Tensor) -> str:
    """Which images of a batch are bad, in words."""
    found = [str(index) for index in bad.nonzero().flatten().tolist()]
    more = f" and {len(found) - 10} more" if len(found) > 10 else ""
    return f"image {', '.join(found[:10])}{more} of {len(bad)}"


def to_comfy(images: Tensor) -> Tensor:
    """Convert images of the package to a ComfyUI batch.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W, in [0,1].

    Returns
    -------
    Tensor
        B x H x W x 3, on the CPU.
    """
    return images.movedim(1, -1).contiguous().cpu()


def to_keep(mask: Tensor | None, image: Tensor) -> Tensor | None:
    """Convert a mask of what to keep unchanged.

    Parameters
    ----------
    mask : Tensor | None
        ComfyUI's MASK in [0,1]; 1 means no coating. H x W, B x H x W, B x 1 x H x W or
        B x H x W x 1, with one mask for all images or one for each.
    image : Tensor
        The batch that it belongs to, B x H x W x C.

    Returns
    -------
    Tensor | None
        1 or B x 1 x H x W for ``coat_images``; None for no mask.

    Raises
    ------
    ImageError
        It is not a tensor, its size or number differs from the images', or a value is not a finite
        number.
    """
    if mask is None:
        return None
    mask = plain_tensor(mask, "MASK")
    flat = _without_channel(mask, image)
    if flat is None:
        # Load Image returns a 64 x 64 mask of zeros for an image without transparency
        if mask.numel() and not bool(mask.any()):
            return None
        raise ImageError(
            f"The mask has shape {tuple(mask.shape)} and the images {tuple(image.shape[:3])}; "
            "expected a mask of the same height and width, either one for all images or one for "
            "each."
        )
    finite: list[bool] = torch.isfinite(flat).flatten(1).all(dim=1).tolist()
    if not all(finite):
        bad = ", ".join(str(index) for index, good in enumerate(finite) if not good)
        raise ImageError(
            f"Found values that are not finite numbers in mask {bad[:80]} of {len(flat)} (counted "
            "from 0); expected values from 0 to 1. Check the node that the mask comes from."
        )
    return flat.unsqueeze(1).float().clamp(0, 1)


def _without_channel(mask: Tensor, image: Tensor) -> Tensor | None:
    """The mask as 1 or B x H x W; None if it does not fit the images."""
    size, counts = tuple(image.shape[1:3]), (1, len(image))
    if mask.ndim == 2:
        mask = mask[None]
    elif mask.ndim == 4 and mask.shape[1] == 1 and tuple(mask.shape[2:]) == size:
        mask = mask[:, 0]
    elif mask.ndim == 4 and mask.shape[3] == 1:
        mask = mask[..., 0]
    return mask if tuple(mask.shape[1:]) == size and len(mask) in counts else None


def single_images(batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """Split batches into single images.

    Parameters
    ----------
    batches : Sequence[Tensor]
        ComfyUI batches.

    Yields
    ------
    Tensor
        Each image in order, 1 x 3 x H x W.

    Raises
    ------
    ImageError
        See :func:`to_core`.
    """
    for batch in batches:
        yield from to_core(batch).split(1)
