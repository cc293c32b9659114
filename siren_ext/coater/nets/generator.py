"""The generator maps an image to a pattern of the same size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from siren_ext.coater.nets.blocks import ConvBlock
from siren_ext.coater.nets.coarse import CoarsePattern, silence


class Generator(nn.Module):
    """SIREN's coating generator, a variant of the HiDDeN encoder.

    A trunk of convolution blocks, one block on the concatenated [message map, trunk, image], a
    1 x 1 convolution and tanh. With 64 channels, 4 blocks and 48 bits it has 179,715 parameters and
    loads the published weights.

    Parameters
    ----------
    channels : int
        Width of every block.
    blocks : int
        Number of trunk blocks.
    bits : int
        Length of the constant message; 0 leaves it out, as the paper describes it.
    norm : {"image", "running"}
        Statistics of the normalisation layers.
    coarse : bool
        Also hold a pattern of coarse colour, the same for every image, in the attribute
        ``coarse``. The network's own pattern then starts at zero.

    References
    ----------
    SIREN (arXiv 2410.10437); Zhu et al. (2018), HiDDeN (arXiv 1807.09937).
    """

    msg: Tensor

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 4,
        bits: int = 48,
        norm: str = "image",
        *,
        coarse: bool = False,
    ) -> None:
        super().__init__()
        trunk = [ConvBlock(3, channels, norm)]
        trunk += [ConvBlock(channels, channels, norm) for _ in range(blocks - 1)]
        self.conv_bns = nn.Sequential(*trunk)
        self.after_concat_layer = ConvBlock(bits + channels + 3, channels, norm)
        self.final_layer = nn.Conv2d(channels, 3, 1)
        self.register_buffer("msg", torch.zeros(1, bits))
        self.coarse = CoarsePattern(1) if coarse else None
        if coarse:
            silence(self.final_layer)

    def draw_message(self, generator: torch.Generator) -> None:
        """Fill the constant message with uniform bits."""
        self.msg.copy_(torch.randint(0, 2, self.msg.shape, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        """The pattern for ImageNet-normalised images.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W.

        Returns
        -------
        Tensor
            B x 3 x H x W in [-1,1].
        """
        features = self.conv_bns(images)
        parts = [features, images]
        if self.msg.shape[1]:
            message = (2 * self.msg - 1).to(images.dtype).view(1, -1, 1, 1)
            parts.insert(0, message.expand(images.shape[0], -1, *images.shape[2:]))
        out: Tensor = torch.tanh(self.final_layer(self.after_concat_layer(torch.cat(parts, 1))))
        return out
