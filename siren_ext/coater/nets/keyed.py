"""Networks of a keyed coater: the generator takes a message, and the extractor reads it back."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.coater.nets.blocks import ConvBlock
from siren_ext.coater.nets.coarse import CoarsePattern, CoarseReader, silence

DECODER_SIDE = 8
"""Cells along each side to which the decoder's maps are averaged before the linear layer."""
_HALVING = (0, 1, 3)  # blocks of the decoder that halve the size
_GROUPS = 4


class KeyedGenerator(nn.Module):
    """Maps an image and a message to a pattern of the image's size.

    The pattern is tanh(sum_k m_k P_k(x) / sqrt(K)), where a small convolution trunk draws one map
    P_k per bit for the image x. Everything is symmetric to mirroring: training programs mirror
    images at random and would otherwise mix the pattern of every bit with its mirror image.

    Parameters
    ----------
    channels : int
        Width of the trunk.
    blocks : int
        Number of trunk blocks.
    bits : int
        K, the length of the message.
    coarse : bool
        Also hold a fixed pattern of coarse colour per bit, in the attribute ``coarse``. The maps
        P_k then start at zero.

    Notes
    -----
    SIREN's generator takes its constant message as input channels. With changing messages, that
    network had not learnt to use them after a hundred times as many steps.
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
        """The pattern for images and messages.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W, ImageNet-normalised.
        message : Tensor
            B x K of -1 and +1.

        Returns
        -------
        Tensor
            B x 3 x H x W in [-1,1].
        """
        view = F.avg_pool2d(images, 2)
        weights = message.to(view.dtype) / math.sqrt(self.bits)
        drawn = self._drawn(view, weights) + self._drawn(view.flip(3), weights).flip(3)
        drawn = F.interpolate(
            drawn / 2, size=tuple(images.shape[2:]), mode="bilinear", align_corners=False
        )
        return torch.tanh(drawn)

    def _drawn(self, view: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum of the maps of all bits, B x 3 x h x w."""
        maps = self.maps(self.trunk(view))
        batch, _, height, width = maps.shape
        maps = maps.view(batch, self.bits, 3, height, width)
        return torch.einsum("bk,bkchw->bchw", weights, maps)


class KeyedExtractor(nn.Module):
    """Maps an image to one logit per bit of the message; the sign is the bit.

    The result is the sum of two readers: a linear one of coarse colour, which is fitted to the
    generator's patterns at the start, and a decoder, convolutions down to a grid of 8 x 8 cells
    that are read position by position (a global average would lose where a pattern is). Logits are
    averaged over the image and its mirror image.

    Parameters
    ----------
    channels : int
        Width of the decoder's first block, a multiple of 4; the others have twice that.
    blocks : int
        Number of blocks.
    bits : int
        Length of the message.
    coarse : bool
        Whether to read coarse colour.
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
        """Logits of ImageNet-normalised images; mirroring an image changes nothing.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W.
        central : Tensor | None
            The central squares of the original images for the coarse reader, if these are not
            square; None uses ``images``.

        Returns
        -------
        Tensor
            B x bits.
        """
        both = torch.cat([images, images.flip(3)])
        seen = F.adaptive_avg_pool2d(self.layers(both), DECODER_SIDE).flatten(1)
        own, mirrored = self.linear(seen).chunk(2)
        out: Tensor = (own + mirrored) / 2
        if self.reader is not None:
            out = out + self.reader(images if central is None else central)
        return out
