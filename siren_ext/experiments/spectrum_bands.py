"""Bands of frequency and colour, and how much of each is in what a model has learnt.

A band has a few fixed random patterns of one colour axis whose frequencies lie in a ring, because
single patterns of one band are learnt very differently. All bands are equally strong, so that what
is learnt of each can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import idctn
from torch import Tensor

from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import Pipeline

Floats = NDArray[np.float64]

AXES = {
    "brightness": (1.0, 1.0, 1.0),
    "blue-yellow": (1.0, 1.0, -2.0),
    "red-green": (1.0, -1.0, 0.0),
}
"""Colour axes, in red, green and blue."""
RINGS = (
    (0.0, 0.0, 1), (0.0, 1.0, 1), (1.0, 2.0, 3), (2.0, 4.0, 6), (4.0, 8.0, 6), (8.0, 16.0, 6),
    (16.0, 32.0, 6),
)  # fmt: skip
"""Frequencies in cycles per side of the picture, above the first number and up to the second, and
the number of patterns: at most a third of the ring's waves, so that patterns differ enough."""
PSNR = 40.0
"""Of all patterns together, in dB."""
_SEED = 61
_TOGETHER = 8
_RIDGE = 1e-6  # share of the largest eigenvalue: patterns hardly overlap


@dataclass(frozen=True)
class Band:
    """A band.

    Attributes
    ----------
    axis : str
        A name in :data:`AXES`.
    low, high : float
        Cycles per side, as in :data:`RINGS`.
    patterns : int
        How many it has.
    """

    axis: str
    low: float
    high: float
    patterns: int


BANDS = tuple(Band(axis, *ring) for axis in AXES for ring in RINGS)
OWNER = np.repeat(np.arange(len(BANDS)), [band.patterns for band in BANDS])
"""Places in :data:`BANDS`, one for each pattern."""


def band_pictures(side: int) -> Tensor:
    """The pictures of all patterns, of which the sum has :data:`PSNR`, band by band.

    Parameters
    ----------
    side : int
        Of the pictures in pixels; more than twice the highest frequency.

    Returns
    -------
    Tensor
        P x 3 x side x side, in the range of images (1 is from black to white).

    Raises
    ------
    ValueError
        If the side is too small.
    """
    if side < 2 * RINGS[-1][1]:
        raise ValueError(f"{side} pixels can't hold {RINGS[-1][1]:g} cycles.")
    across = np.arange(side) / 2  # a cosine of the transform has half a cycle more than the last
    radius = np.hypot(*np.meshgrid(across, across))
    power = 3 * 10 ** (-PSNR / 10) / len(BANDS)
    found = []
    for number, place in enumerate(OWNER):
        band = BANDS[place]
        inside = (radius > band.low) & (radius <= band.high) if band.high else radius == 0
        drawn = np.random.default_rng((_SEED, number)).standard_normal(radius.shape)
        grey = idctn(drawn * inside, norm="ortho")
        grey *= np.sqrt(power / band.patterns / (grey**2).mean())
        colour = np.array(AXES[band.axis])
        found.append(colour[:, None, None] / np.linalg.norm(colour) * grey)
    return torch.from_numpy(np.stack(found)).float()


@torch.no_grad()
def band_latents(pipeline: Pipeline, views: Tensor, pictures: Tensor) -> Floats:
    """What each pattern adds to the latents of images, on the average over images.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the autoencoder.
    views : Tensor
        N x 3 x side x side in [0,1].
    pictures : Tensor
        P x 3 x side x side, of :func:`band_pictures`.

    Returns
    -------
    array, shape (P, d)
        Half the difference between the pattern added and taken away.
    """
    rows = []
    for picture in pictures:
        total: Any = 0.0
        for part in torch.split(views, _TOGETHER):
            added, taken = (
                pipelines.encode_latents(pipeline, (part + sign * picture).clamp(0, 1))
                for sign in (1, -1)
            )
            total = total + ((added - taken) / 2).sum(0).flatten().double().cpu().numpy()
        rows.append(total / len(views))
    return np.stack(rows)


def shares(fields: Floats, latents: Floats) -> Floats:
    """How much of each pattern is in fields: 1 if all of it is, 0 if none.

    Parameters
    ----------
    fields : array, shape (n, d)
        What a model adds to the latents of n images.
    latents : array, shape (P, d)
        Of :func:`band_latents`.

    Returns
    -------
    array, shape (n, P)
        By least squares, all patterns together.
    """
    overlap = latents @ latents.T
    ridge = _RIDGE * float(np.linalg.eigvalsh(overlap)[-1])
    found: Floats = np.linalg.solve(overlap + ridge * np.eye(len(overlap)), latents @ fields.T).T
    return found
