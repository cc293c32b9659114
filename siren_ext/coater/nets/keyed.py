"""Networks of a keyed coater: the generator takes a message, and the extractor reads it back."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.coater.nets.blocks import ConvBlock
from siren_ext.coater.nets.coarse import CoarsePattern, CoarseReader, silence
from siren_ext.coater.nets.tiles import passes

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
        self.bits, self.channels = bits, channels
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
        if not torch.is_grad_enabled() and self.silent:
            return torch.zeros_like(images)
        parts = passes(images, self.channels)
        messages = torch.split(message, len(parts[0]))
        return torch.cat([self._pattern(*pair) for pair in zip(parts, messages, strict=True)])

    @property
    def silent(self) -> bool:
        """Whether the maps were never trained, as in fitted coaters: only coarse colour is laid."""
        return not any(bool(part.any()) for part in self.maps.parameters())

    def _pattern(self, images: Tensor, message: Tensor) -> Tensor:
        """The pattern of a few images."""
        view = F.avg_pool2d(images, 2)
        weights = message.to(view.dtype) / math.sqrt(self.bits)
        drawn = self._drawn(view, weights) + self._drawn(view.flip(3), weights).flip(3)
        drawn = F.interpolate(
            drawn / 2, size=tuple(images.shape[2:]), mode="bilinear", align_corners=False
        )
        return torch.tanh(drawn)

    def _drawn(self, view: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum of the maps of all bits, B x 3 x h x w."""
        features = self.trunk(view)
        batch, channels, height, width = features.shape
        # mixing the last layer's weights is much less work than mixing its maps
        kernel = self.maps.weight.view(self.bits, 3 * channels)
        mixed = (weights @ kernel).view(batch, 3, channels)
        assert self.maps.bias is not None
        added = (weights @ self.maps.bias.view(self.bits, 3)).unsqueeze(2)
        return torch.baddbmm(added, mixed, features.flatten(2)).view(batch, 3, height, width)


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
        self.channels = channels
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
        out = torch.cat([self._logits(part) for part in passes(images, self.channels)])
        if self.reader is not None:
            out = out + self.reader(images if central is None else central)
        return out

    def _logits(self, images: Tensor) -> Tensor:
        """What the decoder reads in a few images."""
        both = torch.cat([images, images.flip(3)])
        seen = F.adaptive_avg_pool2d(self.layers(both), DECODER_SIDE).flatten(1)
        own, mirrored = self.linear(seen).chunk(2)
        out: Tensor = (own + mirrored) / 2
        return out
