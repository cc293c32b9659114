"""Networks of a keyed coater: the message is an input, and a position-keeping decoder reads it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.nets.blocks import ConvBlock

PATTERN_SIDE = 16
"""Cells along a side of the fixed patterns: a diffusion model hardly learns finer ones."""
FILTER_SIDE = 32
"""Side of the view that the matched filter reads."""
DECODER_SIDE = 8
"""Cells along a side to which the decoder brings its maps before they become bits."""
_HALVING = (0, 1, 3)
_GROUPS = 4
_WINDOW = 5
# whitened values of plain surfaces: keeps rounding noise from being blown up
_FLAT = 0.03


class KeyedGenerator(nn.Module):
    """Image and message to a pattern of the image's size.

    The pattern is tanh(sum_k m_k (P_k(x) + B_k) / sqrt(K)): per bit a map P_k that a small
    convolution trunk draws for this image, and a fixed one B_k that is learnt. (A message as
    constant channels of SIREN's generator is not picked up in a hundred times the steps.)
    Everything is symmetric to mirroring: trainers mirror images at random, and would otherwise
    teach a model every bit's pattern together with its mirror image.

    Args:
        channels: width of the trunk.
        blocks: number of trunk blocks.
        bits: K, length of the message.
    """

    def __init__(self, channels: int, blocks: int, bits: int) -> None:
        super().__init__()
        self.bits = bits
        trunk = [ConvBlock(3, channels)]
        trunk += [ConvBlock(channels, channels) for _ in range(blocks - 1)]
        self.trunk = nn.Sequential(*trunk)
        self.maps = nn.Conv2d(channels, 3 * bits, 1)
        self.patterns = nn.Parameter(torch.randn(bits, 3, PATTERN_SIDE, PATTERN_SIDE))

    def fixed(self) -> Tensor:
        """The patterns B_k as they are used, K x 3 x 16 x 16: equal to their mirror images."""
        return (self.patterns + self.patterns.flip(3)) / 2

    def forward(self, images: Tensor, message: Tensor) -> Tensor:
        """Pattern in [-1,1] like the images.

        Args:
            images: B x 3 x H x W, ImageNet-normalised.
            message: B x K of -1 and +1.
        """
        view = F.avg_pool2d(images, 2)
        weights = message.to(view.dtype) / math.sqrt(self.bits)
        drawn = self._drawn(view, weights) + self._drawn(view.flip(3), weights).flip(3)
        fixed = torch.einsum("bk,kchw->bchw", weights, self.fixed().to(view.dtype))
        fixed = _resize(fixed, view.shape[2:])
        return torch.tanh(_resize(drawn / 2 + fixed, images.shape[2:]))

    def _drawn(self, view: Tensor, weights: Tensor) -> Tensor:
        maps = self.maps(self.trunk(view))
        batch, _, height, width = maps.shape
        maps = maps.view(batch, self.bits, 3, height, width)
        return torch.einsum("bk,bkchw->bchw", weights, maps)


class KeyedExtractor(nn.Module):
    """Image to one number per bit of the message; its sign is the bit's.

    The sum of two readers. A *matched filter*: the image, freed of what its neighbourhood predicts
    and divided by the local contrast, times one learnt map per bit, which starts as the
    generator's own pattern; with it two bits in three are right before the first step. And a
    *decoder*: convolutions down to a grid of 8 x 8 cells, read position by position (a global
    average would forget where a pattern lay). The result is the mean over the image and its mirror
    image.

    Args:
        channels: width of the decoder's first block; the others have twice that.
        blocks: number of its blocks.
        bits: length of the message.
    """

    def __init__(self, channels: int, blocks: int, bits: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for number in range(blocks):
            out = channels if number == 0 else 2 * channels
            stride = 2 if number in _HALVING else 1
            layers += [
                nn.Conv2d(width, out, 3, stride=stride, padding=1),
                nn.GroupNorm(_GROUPS, out),
                nn.SiLU(),
            ]
            width = out
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(width * DECODER_SIDE**2, bits)
        self.filter = nn.Linear(3 * FILTER_SIDE**2, bits)

    @torch.no_grad()
    def match(self, patterns: Tensor) -> None:
        """Start the filter from the generator's patterns, K x 3 x h x w."""
        maps = _resize(patterns, (FILTER_SIDE, FILTER_SIDE)).flatten(1)
        self.filter.weight.copy_(maps / maps.norm(dim=1, keepdim=True))
        self.filter.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """B x bits of ImageNet-normalised B x 3 x H x W images, the same for mirrored ones."""
        both = torch.cat([images, images.flip(3)])
        seen = F.adaptive_avg_pool2d(self.layers(both), DECODER_SIDE).flatten(1)
        read = self.linear(seen) + self.filter(whitened(both).flatten(1))
        own, mirrored = read.chunk(2)
        out: Tensor = (own + mirrored) / 2
        return out


def whitened(images: Tensor) -> Tensor:
    """What the 5 x 5 neighbourhood does not predict, over its strength: B x 3 x 32 x 32."""
    view = F.adaptive_avg_pool2d(images, FILTER_SIDE)
    rest = view - _around(view)
    strength = _around(rest.square().mean(1, keepdim=True)).sqrt()
    return rest / (strength + _FLAT)


def _around(maps: Tensor) -> Tensor:
    return F.avg_pool2d(maps, _WINDOW, 1, _WINDOW // 2, count_include_pad=False)


def _resize(maps: Tensor, size: tuple[int, ...] | torch.Size) -> Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
