"""Coarse colour: a learnt pattern that is the same for every image, and a reader that finds it.

A fine-tuned model first learns what all of its images share, and coarse colour before detail.
SIREN's extractor cannot see such a pattern, because it normalises every feature map over the image
and averages over positions. The reader here keeps positions and colours, and takes into account how
pictures of the owner's kind vary.
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
"""Largest change by the pattern where it is invisible, in ImageNet-normalised space."""
CELLS = 8
"""Cells along each side of the pattern and of the reader's input."""
_FIRST = 0.8  # root mean square of the initial maps, before tanh
_ROOM_SIDE = 32  # tint_room compares the images at this size
# This share of the mean variance is added to every variance: with few pictures, some of them are
# estimated too small.
_SHRINK = 5e-4
# weight of the covariance of the owner's pictures beside that of generated ones
_OWN = 0.5


class CoarsePattern(nn.Module):
    """K learnt maps of 8 x 8 cells, each equal to its mirror image.

    Training programs mirror images at random. They would mix a pattern that is not symmetric with
    its mirror image, which halves its power. The initial maps are random colours of equal
    brightness, because pictures differ most in brightness.

    Parameters
    ----------
    count : int
        K, the number of maps.
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
        """Replace the maps.

        Parameters
        ----------
        directions : Tensor
            K x 96 directions in the space of :func:`coarse`; their relative sizes are kept.
        """
        half = directions.view(-1, 3, CELLS, CELLS // 2)
        maps = torch.cat([half, half.flip(3)], dim=3)
        self.maps.copy_(_FIRST * maps / maps.square().mean().sqrt())

    def cells(self) -> Tensor:
        """The symmetric maps, K x 3 x 8 x 8."""
        return (self.maps + self.maps.flip(3)) / 2

    def forward(self, weights: Tensor, size: torch.Size) -> Tensor:
        """Weighted sums of the maps, at image size.

        The pattern covers the central square, which training programs crop to; beyond it the
        values of its edge are repeated.

        Parameters
        ----------
        weights : Tensor
            B x K.
        size : torch.Size
            H and W.

        Returns
        -------
        Tensor
            B x 3 x H x W in [-1,1].
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
    """The change of colour to add to the images.

    Parameters
    ----------
    pattern : CoarsePattern
        A pattern of K maps.
    images : Tensor
        B x 3 x H x W in [0,1].
    signs : Tensor
        B x K of -1 and +1, or 1 x K for all images.
    limit : float
        Largest visible difference, in units of CIEDE2000; see :func:`tint_room`.

    Returns
    -------
    Tensor
        B x 3 x H x W, at most 0.15 times the ImageNet standard deviation of the channel.
    """
    std = torch.tensor(IMAGENET_STD, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    weights = signs.to(images) / math.sqrt(signs.shape[1])
    tint = pattern(weights, images.shape[2:]) * (STRENGTH * std)
    out: Tensor = tint * tint_room(images, tint, limit)
    return out


@torch.no_grad()
def tint_room(images: Tensor, tint: Tensor, limit: float) -> Tensor:
    """The factor that keeps a tint within ``limit`` units of CIEDE2000 everywhere.

    The same change of colour is visible on grey and hardly visible on bright red, so a pattern of
    constant strength would be visible in some places or too faint in most.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    tint : Tensor
        The change to add: B x 3 x H x W, or 1 x 3 x H x W for all images.
    limit : float
        Largest difference, in units of CIEDE2000.

    Returns
    -------
    Tensor
        B x 1 x H x W in (0,1], smooth.
    """
    small = (min(images.shape[2], _ROOM_SIDE), min(images.shape[3], _ROOM_SIDE))
    view, change = images.float(), tint.float()
    if small != images.shape[2:]:
        view = F.adaptive_avg_pool2d(images, small).float()
        change = F.adaptive_avg_pool2d(tint, small).float()
    clean, room = srgb_to_lab(view), torch.ones_like(view[:, :1])
    for _ in range(2):  # the difference grows less than proportionally
        seen = ciede2000(clean, srgb_to_lab((view + room * change).clamp(0, 1)))
        room = (room * limit / seen.clamp_min(1e-3)).clamp_max(1)
    room = room.to(images.dtype)
    if small == images.shape[2:]:
        return room
    return F.interpolate(room, size=images.shape[2:], mode="bilinear", align_corners=False)


class CoarseReader(nn.Module):
    """A linear layer on the colours of 8 x 8 cells, averaged with those of the mirror image.

    The colours are whitened first, with the mean and covariance of pictures of the owner's kind.
    Without this, the variation of brightness is many times stronger than a pattern.

    Parameters
    ----------
    outputs : int
        Length of the result.
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
        """Set the whitening from clean pictures.

        Parameters
        ----------
        own : Tensor
            N x 3 x H x W, ImageNet-normalised, N at least 2: the owner's pictures after a round
            trip through the autoencoder.
        generated : Tensor | None
            M x 3 x H x W, likewise: pictures generated by a clean model of them. A suspect's
            pictures vary as these do, around the mean of both.
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
        """Set the linear layer to the best linear reader for known shifts.

        Each bit is read along the part of its own shift that the shifts of the other bits do not
        share. The fewer images are judged together, the more the variation between pictures counts
        compared with the other bits.

        Parameters
        ----------
        shifts : Tensor
            K x 96, what each bit of a message adds to :func:`coarse`, one row per output. For a
            coating without a message 1 x 96, which all outputs then read with random weights.
        together : int
            Number of images that are judged together.
        generator : torch.Generator
            Draws the random weights.
        """
        white = (shifts @ self.whiten).double()
        power = white @ white.T + torch.eye(len(white)).to(white) / together
        rows = torch.linalg.solve(power, white)
        outputs = self.linear.out_features
        if len(rows) == 1 and outputs > 1:
            weights = torch.randn(outputs, 1, generator=generator) / math.sqrt(outputs)
            rows = weights.to(rows) * rows
        # the outputs must not vary more between pictures than a message moves them
        usual = rows.square().sum(1).mean().sqrt()
        self.linear.weight.copy_(AMPLITUDE * rows / max(1.0, float(usual)))
        self.linear.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Read ImageNet-normalised images; mirroring an image changes nothing.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W.

        Returns
        -------
        Tensor
            B x outputs.
        """
        # the whitening spans three powers of ten, more than bfloat16 can resolve
        with torch.autocast(images.device.type, enabled=False):
            white = (coarse(images).to(self.mean.dtype) - self.mean) @ self.whiten
            out: Tensor = self.linear(white)
        return out


@torch.no_grad()
def silence(layer: nn.Conv2d | nn.Linear) -> None:
    """Set a last layer to zero, so that training starts with coarse colour alone."""
    layer.weight.zero_()
    if layer.bias is not None:
        layer.bias.zero_()


def coarse(images: Tensor) -> Tensor:
    """Mean colours of 8 x 8 cells, averaged with the mirror image: left half only, B x 96.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W.
    """
    cells = F.adaptive_avg_pool2d(images.float(), CELLS)
    folded = (cells + cells.flip(3)) / 2
    return folded[..., : CELLS // 2].flatten(1)
