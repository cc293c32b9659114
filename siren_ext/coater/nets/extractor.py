"""The extractor: image to a short feature vector whose distance to a centre is the score."""

from __future__ import annotations

from torch import Tensor, nn

from siren_ext.coater.nets.blocks import ConvBlock
from siren_ext.coater.nets.coarse import CoarseReader, silence


class Extractor(nn.Module):
    """HiDDeN decoder variant (SIREN, section on the extractor).

    Blocks, a bottleneck block of ``features`` channels, global average, linear layer. With 64
    channels, 8 blocks and 48 features it has 291,456 parameters and loads the published weights.

    Parameters
    ----------
    channels : int
        width of the trunk.
    blocks : int
        number of trunk blocks.
    features : int
        channels of the bottleneck.
    outputs : int
        length of the result: ``features`` for a hypersphere, 1 for a binary logit.
    use_linear : bool
        False ends at the pooled features (the paper's description).
    norm : str
        ``image`` or ``running`` statistics.
    coarse : bool
        also read coarse colour place by place, which the blocks cannot see.
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
        trunk: list[nn.Module] = [ConvBlock(3, channels, norm)]
        trunk += [ConvBlock(channels, channels, norm) for _ in range(blocks - 1)]
        trunk += [ConvBlock(channels, features, norm), nn.AdaptiveAvgPool2d(1)]
        self.layers = nn.Sequential(*trunk)
        self.linear = nn.Linear(features, outputs) if use_linear else None
        self.reader = CoarseReader(outputs if use_linear else features) if coarse else None
        if coarse and self.linear is not None:
            silence(self.linear)

    def forward(self, images: Tensor, central: Tensor | None = None) -> Tensor:
        """B x outputs features of ImageNet-normalised B x 3 x H x W images.

        ``central``: their central squares, for the coarse reader, where images are not square.
        """
        out: Tensor = self.layers(images).flatten(1)
        if self.linear is not None:
            out = self.linear(out)
        if self.reader is not None:
            out = out + self.reader(images if central is None else central)
        return out
