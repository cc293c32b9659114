"""Converts between ComfyUI's images (B x H x W x C) and the package's (B x 3 x H x W)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from siren_ext.errors import ImageError


def to_core(image: Tensor) -> Tensor:
    """Convert a ComfyUI batch for the package. Transparency is dropped.

    Parameters
    ----------
    image : Tensor
        B x H x W x 3 or B x H x W x 4, in [0,1].

    Returns
    -------
    Tensor
        B x 3 x H x W, float32, contiguous.

    Raises
    ------
    ImageError
        The shape is another one.
    """
    if image.ndim != 4 or image.shape[-1] not in (3, 4):
        raise ImageError(
            f"Found images of shape {tuple(image.shape)}; expected ComfyUI's IMAGE, (count, "
            "height, width, 3), or 4 channels with transparency."
        )
    return image[..., :3].movedim(-1, 1).float().contiguous()


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
        ComfyUI's MASK, H x W or B x H x W, in [0,1]; 1 means no coating.
    image : Tensor
        The batch that it belongs to, B x H x W x C.

    Returns
    -------
    Tensor | None
        1 or B x 1 x H x W for ``coat_images``; None for no mask.

    Raises
    ------
    ImageError
        The mask's size differs from the images'.
    """
    if mask is None:
        return None
    mask = mask[None] if mask.ndim == 2 else mask
    fits = mask.shape[1:] == image.shape[1:3] and len(mask) in (1, len(image))
    if fits:
        return mask.unsqueeze(1).float()
    # Load Image returns a 64 x 64 mask of zeros for an image without transparency
    if not bool(mask.any()):
        return None
    raise ImageError(
        f"The mask has shape {tuple(mask.shape)}, the images {tuple(image.shape[:3])}; expected a "
        "mask of the same height and width, one for all images or one for each."
    )


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
