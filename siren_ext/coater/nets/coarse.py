"""Coarse colour: a learnt pattern that is the same for every image, and a reader that finds it.

A fine-tune learns first what all of its images share, and coarse colour before detail. SIREN's
extractor can't see that: it normalises every map over the image and averages over places. Hence a
reader of its own, which keeps places and colours, and knows how pictures of the owner's kind vary.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from siren_ext.coater.hypersphere import AMPLITUDE
from siren_ext.coater.nets.blocks import IMAGENET_STD
from siren_ext.metrics.colour import ciede2000, srgb_to_lab

STRENGTH = 0.15
"""Largest change by the pattern, in ImageNet-normalised space, where it would not be seen."""
CELLS = 8
"""Cells along a side, of the pattern and of what the reader sees."""
_FIRST = 0.8
_ROOM_SIDE = 32
# share of the mean variance that is added to each: few pictures make some variances come out small
_SHRINK = 5e-4
# weight of the owner's own pictures beside generated ones
_OWN = 0.5


class CoarsePattern(nn.Module):
    """K learnt maps of 8 x 8 cells, each equal to its mirror image.

    Trainers mirror images at random; a pattern that is not symmetric would be taught together with
    its mirror image and lose half its power. The first maps are random colours of equal brightness,
    for it is in brightness that pictures differ most.

    Parameters
    ----------
    count : int
        K.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        broad = torch.randn(count, 3, CELLS // 2, CELLS // 2)
        maps = F.interpolate(broad, scale_factor=2.0, mode="bilinear", align_corners=False)
        maps = maps + torch.randn(count, 3, CELLS, CELLS)
        maps = maps - maps.mean(1, keepdim=True)
        maps = maps - maps.mean((2, 3), keepdim=True)
        maps = maps + maps.flip(3)
        self.maps = nn.Parameter(_FIRST * maps / maps.square().mean().sqrt())

    @torch.no_grad()
    def lay(self, directions: Tensor) -> None:
        """Take K x 96 directions among :func:`coarse` views as the maps, in their proportions."""
        half = directions.view(-1, 3, CELLS, CELLS // 2)
        maps = torch.cat([half, half.flip(3)], dim=3)
        self.maps.copy_(_FIRST * maps / maps.square().mean().sqrt())

    def cells(self) -> Tensor:
        """The maps as they are used, K x 3 x 8 x 8."""
        return (self.maps + self.maps.flip(3)) / 2

    def forward(self, weights: Tensor, size: torch.Size) -> Tensor:
        """The maps' sums with B x K weights, in [-1,1]: B x 3 x H x W for ``size`` H, W.

        They lie on the central square, which trainers cut out; its edge is continued outwards.
        """
        height, width = size
        side = min(height, width)
        mixed = torch.einsum("bk,kchw->bchw", weights, self.cells().to(weights.dtype))
        drawn = F.interpolate(mixed, size=(side, side), mode="bicubic", align_corners=False)
        if height != width:
            left, top = (width - side) // 2, (height - side) // 2
            edges = (left, width - side - left, top, height - side - top)
            drawn = F.pad(drawn, edges, mode="replicate")
        return torch.tanh(drawn)


def lay_tint(pattern: CoarsePattern, images: Tensor, signs: Tensor, limit: float) -> Tensor:
    """The change of colour that patterns make together, to be added to the images.

    Parameters
    ----------
    pattern : CoarsePattern
        of K maps.
    images : Tensor
        B x 3 x H x W in [0,1].
    signs : Tensor
        B x K of -1 and +1, or 1 x K for all.
    limit : float
        of the visible difference; see :func:`tint_room`.

    Returns
    -------
    Tensor
        B x 3 x H x W.
    """
    std = torch.tensor(IMAGENET_STD, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    weights = signs.to(images) / math.sqrt(signs.shape[1])
    tint = pattern(weights, images.shape[2:]) * (STRENGTH * std)
    out: Tensor = tint * tint_room(images, tint, limit)
    return out


@torch.no_grad()
def tint_room(images: Tensor, tint: Tensor, limit: float) -> Tensor:
    """The factor, at most 1, that keeps a tint within ``limit`` units of CIEDE2000 everywhere.

    The same change of colour is seen in grey and hardly in bright red, so that a pattern of one
    strength would be visible in places or too faint in most.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    tint : Tensor
        what is to be added to each, or 1 x 3 x H x W for all.

    Returns
    -------
    Tensor
        B x 1 x H x W, smooth.
    """
    small = (min(images.shape[2], _ROOM_SIDE), min(images.shape[3], _ROOM_SIDE))
    view = F.adaptive_avg_pool2d(images, small).float()
    change = F.adaptive_avg_pool2d(tint, small).float()
    clean, room = srgb_to_lab(view), torch.ones_like(view[:, :1])
    for _ in range(2):  # the difference grows less than in proportion
        seen = ciede2000(clean, srgb_to_lab((view + room * change).clamp(0, 1)))
        room = (room * limit / seen.clamp_min(1e-3)).clamp_max(1)
    room = room.to(images.dtype)
    return F.interpolate(room, size=images.shape[2:], mode="bilinear", align_corners=False)


class CoarseReader(nn.Module):
    """Linear in the colours of 8 x 8 cells, of which the image and its mirror image are averaged.

    What pictures of the owner's kind have in common and how they vary is taken out first
    (whitening): without it, the variation of brightness hides a pattern many times over.

    Parameters
    ----------
    outputs : int
        length of the result.
    """

    mean: Tensor
    whiten: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        size = 3 * CELLS * (CELLS // 2)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("whiten", torch.eye(size))
        self.linear = nn.Linear(size, outputs)

    @torch.no_grad()
    def fit(self, own: Tensor, generated: Tensor | None = None) -> None:
        """Learn how clean pictures vary, from normalised N x 3 x H x W ones.

        Parameters
        ----------
        own : Tensor
            the owner's pictures, at least 2, as an autoencoder gives them back.
        generated : Tensor | None
            what a clean model makes of them; suspicious pictures vary as these do, about
            what both have in common.
        """
        seen = coarse(own).double()
        mean, spread = seen.mean(0), torch.cov(seen.T)
        if generated is not None:
            made = coarse(generated).double()
            mean = (made.mean(0) + mean) / 2
            spread = torch.cov(made.T) + _OWN * spread
        spread = spread + _SHRINK * spread.diagonal().mean() * torch.eye(len(spread)).to(spread)
        values, vectors = torch.linalg.eigh(spread)
        self.mean.copy_(mean)
        self.whiten.copy_(vectors @ torch.diag(values.rsqrt()) @ vectors.T)

    @torch.no_grad()
    def match(self, shifts: Tensor, *, together: int, generator: torch.Generator) -> None:
        """Start as the best linear reader among clean pictures.

        A bit's evidence is what its own shift adds to the mean of several images and the other
        bits' do not; the fewer images, the more the pictures' own variation counts beside the other
        bits.

        Parameters
        ----------
        shifts : Tensor
            K x 96, what each bit of a message adds to :func:`coarse` views, one per output;
            or 1 x 96 for a coating without a message, which all outputs then read with random
            weights.
        together : int
            number of images that are judged together.
        generator : torch.Generator
            of those weights.
        """
        white = (shifts @ self.whiten).double()
        power = white @ white.T + torch.eye(len(white)).to(white) / together
        rows = torch.linalg.solve(power, white)
        outputs = self.linear.out_features
        if len(rows) == 1 and outputs > 1:
            weights = torch.randn(outputs, 1, generator=generator) / math.sqrt(outputs)
            rows = weights.to(rows) * rows
        # among pictures the outputs of one vary by no more than a message moves them
        usual = rows.square().sum(1).mean().sqrt()
        self.linear.weight.copy_(AMPLITUDE * rows / max(1.0, float(usual)))
        self.linear.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """B x outputs of ImageNet-normalised B x 3 x H x W images, the same for mirrored ones."""
        # the whitening spans three powers of ten, more than bfloat16 keeps apart
        with torch.autocast(images.device.type, enabled=False):
            white = (coarse(images).to(self.mean.dtype) - self.mean) @ self.whiten
            out: Tensor = self.linear(white)
        return out


@torch.no_grad()
def silence(layer: nn.Conv2d | nn.Linear) -> None:
    """Make an untrained last layer give nothing, so that coarse colour begins alone."""
    layer.weight.zero_()
    if layer.bias is not None:
        layer.bias.zero_()


def coarse(images: Tensor) -> Tensor:
    """Colours of 8 x 4 cells, the other half being mirrored onto them: B x 96."""
    cells = F.adaptive_avg_pool2d(images.float(), CELLS)
    folded = (cells + cells.flip(3)) / 2
    return folded[..., : CELLS // 2].flatten(1)
