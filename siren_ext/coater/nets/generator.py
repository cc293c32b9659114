"""The generator maps an image to a pattern of the same size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.coater.nets.blocks import ConvBlock, ImageNorm
from siren_ext.coater.nets.coarse import CoarsePattern, silence
from siren_ext.coater.nets.strips import Layer, add_border, by_strips, layers_of, strips_help
from siren_ext.coater.nets.tiles import by_tiles, passes, tile_side


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
        self.channels = channels
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
        return torch.cat([self._pattern(part) for part in passes(images, self.channels)])

    def _pattern(self, images: Tensor) -> Tensor:
        """The pattern of a few images, by tiles where that gives the same."""
        side = tile_side(self, images)
        if not side:
            return self._drawn(images)
        halo = len(self.conv_bns) + 1
        whole = torch.empty_like(images)
        for rows, columns, part in by_tiles(self._drawn, images, side=side, halo=halo):
            whole[:, :, rows, columns] = part
        return whole

    def _drawn(self, images: Tensor) -> Tensor:
        """The pattern of whole images."""
        convolution, norm, activation = self.after_concat_layer.layers
        bits, bias = self.msg.shape[1], convolution.bias
        assert isinstance(convolution.weight, Tensor)
        assert isinstance(bias, Tensor)
        weight, border = convolution.weight[:, bits:], self._message_border(convolution.weight)
        trunk = layers_of(self.conv_bns) if strips_help(images, self.channels) else None
        if trunk is not None and isinstance(norm, ImageNorm):
            layers = [*trunk, Layer(weight, bias, norm, images, border)]
            parts = [self._finished(strip) for _, strip in by_strips(layers, images)]
            return torch.cat(parts, 2)
        mixed = F.conv2d(torch.cat([self.conv_bns(images), images], 1), weight, bias, padding=1)
        if border is not None:
            mixed = _add_constant(mixed, border)
        return self._finished(activation(norm(mixed)))

    def _finished(self, maps: Tensor) -> Tensor:
        """The last layer, which looks at single pixels."""
        out: Tensor = torch.tanh(self.final_layer(maps))
        return out

    def _message_border(self, weight: Tensor) -> Tensor | None:
        """What the constant message adds, 1 x D x 3 x 3; it differs only along the border."""
        bits = self.msg.shape[1]
        if not bits:
            return None
        constant = (2 * self.msg - 1).to(weight.dtype)[..., None, None].expand(-1, -1, 3, 3)
        # first, middle and last row; the middle one stands for all others
        return F.conv2d(constant, weight[:, :bits], padding=1)


def _add_constant(maps: Tensor, border: Tensor) -> Tensor:
    """Add the convolution of constant channels.

    Parameters
    ----------
    maps : Tensor
        B x D x H x W, at least 2 x 2; changed in place if no gradient is taken.
    border : Tensor
        1 x D x 3 x 3.
    """
    if torch.is_grad_enabled():
        places = [torch.ones(size, dtype=torch.long, device=maps.device) for size in maps.shape[2:]]
        for place in places:
            place[0], place[-1] = 0, 2
        return maps + border.index_select(2, places[0]).index_select(3, places[1])
    add_border(maps, border)
    return maps
