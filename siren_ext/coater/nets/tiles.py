"""Passing images through a network in parts, so that its maps fit a CPU's cache and the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CACHED = 1 << 18
"""Numbers in a map that fit the cache of a CPU's core, 1 MiB in float32."""
_PHOTO = 1 << 20
"""Pixels from which an image is enlarged by strips."""
_TILE, _DEVICE_TILE = 192, 1024
"""Sides of tiles in pixels, without their halo."""


def passes(images: Tensor, channels: int) -> tuple[Tensor, ...]:
    """Parts of a batch that are best passed through a network one after another.

    Parameters
    ----------
    images : Tensor
        B x C x H x W.
    channels : int
        Width of the network.

    Returns
    -------
    tuple of Tensor
        The whole batch in training and on a GPU. On a CPU parts whose maps fit its cache, or single
        images.
    """
    if torch.is_grad_enabled() or images.device.type != "cpu" or len(images) < 2:
        return (images,)
    size = channels * images.shape[2] * images.shape[3]
    return torch.split(images, max(1, _CACHED // size))


def tile_side(network: nn.Module, images: Tensor) -> int:
    """Side of the tiles in which a network may process images; 0 if it must see them whole.

    Tiles give the same result if no layer looks at the whole image, that is with running averages
    as the statistics of normalisation. Gradients are not taken by tiles.
    """
    norms = {type(part) for part in network.modules() if isinstance(part, nn.BatchNorm2d)}
    if torch.is_grad_enabled() or network.training or norms != {nn.BatchNorm2d}:
        return 0
    side = _TILE if images.device.type == "cpu" else _DEVICE_TILE
    return side if max(images.shape[2:]) > side else 0


def enlarge(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resizing; a large photo on a CPU by strips, which needs no other memory.

    Parameters
    ----------
    maps : Tensor
        B x C x h x w.
    size : tuple of int
        New height and width.

    Returns
    -------
    Tensor
        B x C x height x width.
    """
    height, width = size
    small = height * width < _PHOTO or torch.is_grad_enabled() or maps.device.type != "cpu"
    if small or maps.dtype != torch.float32 or height < maps.shape[2]:
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    last = maps.shape[2] - 1
    wide = F.interpolate(maps, size=(last + 1, width), mode="bilinear", align_corners=False)
    place = (
        (torch.arange(height, dtype=torch.float64) + 0.5) * ((last + 1) / height) - 0.5
    ).clamp_(min=0)
    above = place.long().clamp_(max=last)
    below, share = (above + 1).clamp_(max=last), (place - above).to(maps).view(-1, 1)
    out = maps.new_empty(*maps.shape[:2], height, width)
    rows = max(1, _CACHED // (maps.shape[1] * width))
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        first, second = wide[:, :, above[part]], wide[:, :, below[part]]
        out[:, :, part] = torch.lerp(first, second, share[part])
    return out


def by_tiles(
    compute: Callable[[Tensor], Tensor], images: Tensor, *, side: int, halo: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Results of a stack of 3 x 3 convolutions on square tiles.

    Every tile is computed with a halo, because its pixels depend on that many around it. The halo
    ends at the image's own edge, where each layer pads with zeros as it does for a whole image.

    Parameters
    ----------
    compute : Callable
        Maps B x C x h x w to B x D x h x w.
    images : Tensor
        B x C x H x W.
    side : int
        Side of the tiles in pixels.
    halo : int
        Number of layers.

    Yields
    ------
    rows, columns : slice
        The place of a tile.
    result : Tensor
        B x D x rows x columns.
    """
    height, width = images.shape[2:]
    for top in range(0, height, side):
        bottom, above = min(top + side, height), max(0, top - halo)
        for left in range(0, width, side):
            right, before = min(left + side, width), max(0, left - halo)
            part = compute(images[:, :, above : bottom + halo, before : right + halo])
            inner = part[:, :, top - above : bottom - above, left - before : right - before]
            yield slice(top, bottom), slice(left, right), inner
