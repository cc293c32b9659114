"""Convolution blocks on one image by strips of rows, so that a CPU's cache holds what is worked on.

The statistics of :class:`~siren_ext.coater.nets.blocks.ImageNorm` need a layer's whole output, so a
layer is finished before the next one begins. But its strips are normalised, activated, convolved
and summed up while they are in the cache, and replace the layer's input in the same memory. A whole
layer at a time writes every map to memory four times, and asks the system for new memory each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.coater.nets.blocks import ConvBlock, ImageNorm

_STRIP = 1 << 19
"""Numbers in a strip per thread, 2 MiB."""
_THREADS = 8
"""Most threads that make strips larger."""
_SMALLEST = 1 << 20
"""Numbers in a layer's maps from which strips are faster than whole layers."""


@dataclass(frozen=True)
class Layer:
    """A 3 x 3 convolution, then normalisation over the image and GELU.

    Attributes
    ----------
    weight, bias : Tensor
        D x C x 3 x 3, and D.
    norm : ImageNorm
        Scale, shift and epsilon of the normalisation.
    beside : Tensor | None
        1 x E x H x W; inputs besides the layer before, which then has C - E channels.
    border : Tensor | None
        1 x D x 3 x 3; added to the convolution, see :func:`add_border`.
    """

    weight: Tensor
    bias: Tensor
    norm: ImageNorm
    beside: Tensor | None = None
    border: Tensor | None = None


def add_border(maps: Tensor, border: Tensor, *, first: bool = True, last: bool = True) -> None:
    """Add in place what differs only in the first and last row and column.

    Parameters
    ----------
    maps : Tensor
        B x D x H x W, at least 2 columns.
    border : Tensor
        1 x D x 3 x 3: the values of first row, inner rows and last row, and of columns likewise.
    first, last : bool
        Whether the first and the last row of ``maps`` are those of the image.
    """
    height = maps.shape[2]
    top, bottom = int(first), height - int(last)
    rows = (slice(0, top), slice(top, bottom), slice(bottom, height))
    columns = (slice(0, 1), slice(1, -1), slice(-1, None))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            maps[:, :, row, column] += border[:, :, i : i + 1, j : j + 1]


def strips_help(images: Tensor, channels: int) -> bool:
    """Whether layers are best computed by strips.

    Parameters
    ----------
    images : Tensor
        B x C x H x W.
    channels : int
        Width of the network.
    """
    usual = len(images) == 1 and images.device.type == "cpu" and images.dtype == torch.float32
    return usual and not torch.is_grad_enabled() and channels * images[0, 0].numel() >= _SMALLEST


def layers_of(blocks: Iterable[nn.Module]) -> list[Layer] | None:
    """The layers of convolution blocks.

    Parameters
    ----------
    blocks : Iterable[nn.Module]
        The blocks.

    Returns
    -------
    list[Layer] | None
        None if a block is none, or does not normalise with the statistics of the image.
    """
    found = []
    for block in blocks:
        if not isinstance(block, ConvBlock):
            return None
        convolution, norm, _ = block.layers
        if not isinstance(norm, ImageNorm):
            return None
        assert isinstance(convolution, nn.Conv2d)
        assert convolution.bias is not None
        found.append(Layer(convolution.weight, convolution.bias, norm))
    return found


def by_strips(layers: Sequence[Layer], images: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Pass one image through the layers.

    Parameters
    ----------
    layers : Sequence[Layer]
        At least one.
    images : Tensor
        1 x C x H x W, float32.

    Yields
    ------
    rows : slice
        The rows of a strip.
    result : Tensor
        1 x D x rows x W, the last layer's activated output.
    """
    height, width = images.shape[2:]
    widest = max(len(layer.weight) for layer in layers)
    threads = min(torch.get_num_threads(), _THREADS)
    rows = min(height, max(1, _STRIP * threads // (widest * width)))
    maps = images.new_empty(1, widest, height, width)
    seen = _Maps(images)
    for layer in layers:
        seen = _convolved(layer, seen, maps[:, : len(layer.weight)], rows)
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        strip = images.new_empty(1, seen.raw.shape[1], part.stop - top, width)
        seen.read(part, strip)
        yield part, strip


class _Maps:
    """Maps whose normalisation and activation are still to be done; without ``scale`` an image."""

    def __init__(
        self, raw: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> None:
        self.raw, self.scale, self.shift = raw, scale, shift

    def read(self, rows: slice, out: Tensor) -> None:
        """Write finished rows into ``out``."""
        if self.scale is None or self.shift is None:
            out.copy_(self.raw[:, :, rows])
            return
        torch.addcmul(self.shift, self.raw[:, :, rows], self.scale, out=out)
        torch.ops.aten.gelu_(out)


def _convolved(layer: Layer, seen: _Maps, maps: Tensor, rows: int) -> _Maps:
    """Convolve strip by strip into ``maps``, which may be the memory of ``seen``."""
    height, width = maps.shape[2:]
    weight, bias, own = layer.weight, layer.bias, seen.raw.shape[1]
    # rows top - 1 to bottom of the input; beyond the image they are zero
    work = maps.new_zeros(1, weight.shape[1], rows + 2, width)
    total = torch.zeros(2, len(weight), dtype=torch.float64)
    have = 0  # rows of the input that were read so far
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        if top:
            work[:, :, :2] = work[:, :, rows:].clone()
        new = slice(have, min(bottom + 1, height))
        place = slice(have - top + 1, new.stop - top + 1)
        seen.read(new, work[:, :own, place])
        if layer.beside is not None:
            work[:, own:, place] = layer.beside[:, :, new]
        have = new.stop
        if bottom == height:
            work[:, :, height - top + 1] = 0
        out = F.conv2d(work[:, :, : bottom - top + 2], weight, bias, padding=(0, 1))
        if layer.border is not None:
            add_border(out, layer.border, first=top == 0, last=bottom == height)
        if not top:
            # normalisation removes any constant; without it, sums of squares lose no digits
            middle = out.mean((0, 2, 3))
            out -= middle.view(1, -1, 1, 1)
            bias = bias - middle
        total[0] += out.sum((0, 2, 3))
        total[1] += torch.linalg.vector_norm(out, dim=(0, 2, 3)).double().square()
        maps[:, :, top:bottom] = out
    mean, square = total / (height * width)
    norm = layer.norm
    scale = norm.weight * (square - mean.square()).clamp_(min=0).add_(norm.eps).rsqrt_()
    shift = norm.bias - mean * scale
    return _Maps(maps, *(one.to(maps).view(1, -1, 1, 1) for one in (scale, shift)))
