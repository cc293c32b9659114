"""The coating generator: image to a pattern of the same size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from siren_ext.coater.nets.blocks import ConvBlock
from siren_ext.coater.nets.coarse import CoarsePattern, silence


class Generator(nn.Module):
    """HiDDeN encoder variant (SIREN, section on the coating generator).

    A trunk of convolution blocks, then one block over [message map, trunk, image], then a
    1 x 1 head and tanh. With 64 channels, 4 blocks and 48 bits it has 179,715 parameters and loads
    the published weights.

    Parameters
    ----------
    channels : int
        width of every block.
    blocks : int
        number of trunk blocks.
    bits : int
        length of the constant message; 0 drops it (the paper's description).
    norm : str
        ``image`` or ``running`` statistics.
    coarse : bool
        also hold a pattern of coarse colour, the same for every image, in ``coarse``; what
        is drawn for an image begins faint beside it.
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
        """Pattern in [-1,1], B x 3 x H x W, for ImageNet-normalised images of that shape."""
        features = self.conv_bns(images)
        parts = [features, images]
        if self.msg.shape[1]:
            message = (2 * self.msg - 1).to(images.dtype).view(1, -1, 1, 1)
            parts.insert(0, message.expand(images.shape[0], -1, *images.shape[2:]))
        out: Tensor = torch.tanh(self.final_layer(self.after_concat_layer(torch.cat(parts, 1))))
        return out
