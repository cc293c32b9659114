"""The generator maps an image to a pattern of the same size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.coater.nets.blocks import ConvBlock
from siren_ext.coater.nets.coarse import CoarsePattern, silence
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
        seen = torch.cat([self.conv_bns(images), images], 1)
        convolution, norm, activation = self.after_concat_layer.layers
        bits, weight, bias = self.msg.shape[1], convolution.weight, convolution.bias
        assert isinstance(weight, Tensor)
        assert isinstance(bias, Tensor)
        mixed = F.conv2d(seen, weight[:, bits:], bias, padding=1)
        if bits:
            mixed = _add_constant(mixed, weight[:, :bits], 2 * self.msg - 1)
        out: Tensor = torch.tanh(self.final_layer(activation(norm(mixed))))
        return out


def _add_constant(maps: Tensor, weight: Tensor, values: Tensor) -> Tensor:
    """Add the 3 x 3 convolution of constant channels, which differs only along the border.

    Parameters
    ----------
    maps : Tensor
        B x D x H x W, at least 2 x 2; changed in place if no gradient is taken.
    weight : Tensor
        D x K x 3 x 3.
    values : Tensor
        1 x K, the constants.
    """
    constant = values.to(maps.dtype)[..., None, None].expand(-1, -1, 3, 3)
    # first, middle and last row; the middle one stands for all others
    added = F.conv2d(constant, weight, padding=1)
    if torch.is_grad_enabled():
        places = [torch.ones(size, dtype=torch.long, device=maps.device) for size in maps.shape[2:]]
        for place in places:
            place[0], place[-1] = 0, 2
        return maps + added.index_select(2, places[0]).index_select(3, places[1])
    parts = (slice(0, 1), slice(1, -1), slice(-1, None))
    for i, rows in enumerate(parts):
        for j, columns in enumerate(parts):
            maps[:, :, rows, columns] += added[:, :, i : i + 1, j : j + 1]
    return maps
