"""Passing images through a network in parts, so that its maps fit a CPU's cache and the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

_CACHED = 1 << 18
"""Numbers in a map that fit the cache of a CPU's core, 1 MiB in float32."""
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
