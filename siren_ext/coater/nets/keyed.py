"""Networks of a keyed coater: the message is an input, and a position-keeping decoder reads it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.coater.nets.blocks import ConvBlock
from siren_ext.coater.nets.coarse import CoarsePattern, CoarseReader, silence

DECODER_SIDE = 8
"""Cells along a side to which the decoder brings its maps before they become bits."""
_HALVING = (0, 1, 3)
_GROUPS = 4


class KeyedGenerator(nn.Module):
    """Image and message to a pattern of the image's size.

    The pattern is tanh(sum_k m_k P_k(x) / sqrt(K)): per bit a map P_k that a small convolution
    trunk draws for this image; ``coarse`` holds a fixed one per bit. (A message as constant
    channels of SIREN's generator is not picked up in a hundred times the steps.) Everything is
    symmetric to mirroring: trainers mirror images at random, and would otherwise teach a model
    every bit's pattern together with its mirror image.

    Parameters
    ----------
    channels : int
        width of the trunk.
    blocks : int
        number of trunk blocks.
    bits : int
        K, length of the message.
    coarse : bool
        also hold a pattern of coarse colour per bit, in ``coarse``.
    """

    def __init__(self, channels: int, blocks: int, bits: int, *, coarse: bool = True) -> None:
        super().__init__()
        self.bits = bits
        trunk = [ConvBlock(3, channels)]
        trunk += [ConvBlock(channels, channels) for _ in range(blocks - 1)]
        self.trunk = nn.Sequential(*trunk)
        self.maps = nn.Conv2d(channels, 3 * bits, 1)
        self.coarse = CoarsePattern(bits) if coarse else None
        if coarse:
            silence(self.maps)

    def forward(self, images: Tensor, message: Tensor) -> Tensor:
        """Pattern in [-1,1] like the images.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W, ImageNet-normalised.
        message : Tensor
            B x K of -1 and +1.
        """
        view = F.avg_pool2d(images, 2)
        weights = message.to(view.dtype) / math.sqrt(self.bits)
        drawn = self._drawn(view, weights) + self._drawn(view.flip(3), weights).flip(3)
        drawn = F.interpolate(
            drawn / 2, size=tuple(images.shape[2:]), mode="bilinear", align_corners=False
        )
        return torch.tanh(drawn)

    def _drawn(self, view: Tensor, weights: Tensor) -> Tensor:
        maps = self.maps(self.trunk(view))
        batch, _, height, width = maps.shape
        maps = maps.view(batch, self.bits, 3, height, width)
        return torch.einsum("bk,bkchw->bchw", weights, maps)


class KeyedExtractor(nn.Module):
    """Image to one number per bit of the message; its sign is the bit's.

    The sum of two readers: a linear one of coarse colour, which starts fitted to the
    generator's own patterns, and a *decoder*, convolutions down to a grid of 8 x 8 cells, read
    position by position (a global average would forget where a pattern lay). The result is the mean
    over the image and its mirror image.

    Parameters
    ----------
    channels : int
        width of the decoder's first block; the others have twice that.
    blocks : int
        number of its blocks.
    bits : int
        length of the message.
    coarse : bool
        whether to read coarse colour.
    """

    def __init__(self, channels: int, blocks: int, bits: int, *, coarse: bool = True) -> None:
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
        self.reader = CoarseReader(bits) if coarse else None
        if coarse:
            silence(self.linear)

    def forward(self, images: Tensor, central: Tensor | None = None) -> Tensor:
        """B x bits of ImageNet-normalised B x 3 x H x W images, the same for mirrored ones.

        ``central``: their central squares, for the coarse reader, where images are not square.
        """
        both = torch.cat([images, images.flip(3)])
        seen = F.adaptive_avg_pool2d(self.layers(both), DECODER_SIDE).flatten(1)
        own, mirrored = self.linear(seen).chunk(2)
        out: Tensor = (own + mirrored) / 2
        if self.reader is not None:
            out = out + self.reader(images if central is None else central)
        return out
