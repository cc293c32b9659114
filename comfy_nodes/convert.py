"""Between ComfyUI's pictures (B x H x W x C) and those of the core (B x 3 x H x W)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from siren_ext.errors import ImageError


def to_core(image: Tensor) -> Tensor:
    """The colours of a ComfyUI batch, float32 and contiguous; raises :class:`ImageError`."""
    if image.ndim != 4 or image.shape[-1] not in (3, 4):
        raise ImageError(
            f"Found pictures of shape {tuple(image.shape)}; expected ComfyUI's IMAGE, (count, "
            "height, width, 3), or 4 channels with transparency."
        )
    return image[..., :3].movedim(-1, 1).float().contiguous()


def to_comfy(images: Tensor) -> Tensor:
    """A ComfyUI batch from core pictures, on the CPU."""
    return images.movedim(1, -1).contiguous().cpu()


def to_keep(mask: Tensor | None, image: Tensor) -> Tensor | None:
    """A MASK (B x H x W) as the core's ``keep``; raises :class:`ImageError` if it doesn't fit."""
    if mask is None:
        return None
    mask = mask[None] if mask.ndim == 2 else mask
    fits = mask.shape[1:] == image.shape[1:3] and len(mask) in (1, len(image))
    if fits:
        return mask.unsqueeze(1).float()
    # Load Image gives a 64 x 64 mask of zeros for a picture without transparency
    if not bool(mask.any()):
        return None
    raise ImageError(
        f"The mask has shape {tuple(mask.shape)}, the pictures {tuple(image.shape[:3])}; expected "
        "a mask of the same height and width, one for all pictures or one for each."
    )


def single_pictures(batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """Every picture of a list of ComfyUI batches, 1 x 3 x H x W, in order."""
    for batch in batches:
        yield from to_core(batch).split(1)
