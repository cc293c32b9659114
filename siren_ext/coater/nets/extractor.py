"""The extractor maps an image to features; their distance to a centre is the score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from siren_ext.coater.nets.blocks import ConvBlock
from siren_ext.coater.nets.coarse import CoarseReader, silence
from siren_ext.coater.nets.strips import by_strips, layers_of, strips_help
from siren_ext.coater.nets.tiles import by_tiles, passes, tile_side


class Extractor(nn.Module):
    """SIREN's extractor, a variant of the HiDDeN decoder.

    A trunk of convolution blocks, a bottleneck block of ``features`` channels, a global average and
    a linear layer. With 64 channels, 8 blocks and 48 features it has 291,456 parameters and loads
    the published weights.

    Parameters
    ----------
    channels : int
        Width of the trunk.
    blocks : int
        Number of trunk blocks.
    features : int
        Channels of the bottleneck.
    outputs : int
        Length of the result: ``features`` for a hypersphere, 1 for a binary logit.
    use_linear : bool
        False returns the pooled features, as the paper describes it.
    norm : {"image", "running"}
        Statistics of the normalisation layers.
    coarse : bool
        Also read coarse colour position by position, which the blocks cannot see.

    References
    ----------
    SIREN (arXiv 2410.10437); Zhu et al. (2018), HiDDeN (arXiv 1807.09937).
    """

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 8,
        features: int = 48,
        outputs: int = 48,
        *,
        use_linear: bool = True,
        norm: str = "image",
        coarse: bool = False,
    ) -> None:
        super().__init__()
        self.channels = channels
        trunk: list[nn.Module] = [ConvBlock(3, channels, norm)]
        trunk += [ConvBlock(channels, channels, norm) for _ in range(blocks - 1)]
        trunk += [ConvBlock(channels, features, norm), nn.AdaptiveAvgPool2d(1)]
        self.layers = nn.Sequential(*trunk)
        self.linear = nn.Linear(features, outputs) if use_linear else None
        self.reader = CoarseReader(outputs if use_linear else features) if coarse else None
        if coarse and self.linear is not None:
            silence(self.linear)

    def forward(self, images: Tensor, central: Tensor | None = None) -> Tensor:
        """Features of ImageNet-normalised images.

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
            B x outputs.
        """
        out = torch.cat([self._pooled(part) for part in passes(images, self.channels)])
        if self.linear is not None:
            out = self.linear(out)
        if self.reader is not None:
            out = out + self.reader(images if central is None else central)
        return out

    def _pooled(self, images: Tensor) -> Tensor:
        """The averages of a few images' maps, by tiles where that gives the same."""
        side = tile_side(self, images)
        blocks = self.layers[:-1]
        assert isinstance(blocks, nn.Sequential)
        if not side:
            layers = layers_of(blocks) if strips_help(images, self.channels) else None
            if layers is None:
                whole: Tensor = self.layers(images).flatten(1)
                return whole
            parts = [strip.sum((2, 3)).double() for _, strip in by_strips(layers, images)]
            total = torch.stack(parts).sum(0)
            return (total / (images.shape[2] * images.shape[3])).to(images.dtype)
        total = images.new_zeros((), dtype=torch.float64)
        for _, _, part in by_tiles(blocks, images, side=side, halo=len(blocks)):
            total = total + part.sum((2, 3), dtype=torch.float64)
        return (total / (images.shape[2] * images.shape[3])).to(part.dtype)
