"""Pictures of the study of baselines: the owner's, and innocent ones of several kinds."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import quantise
from siren_ext.errors import ConfigError


def _gradient(size: int, rng: torch.Generator) -> Tensor:
    """A smooth run of four corner colours."""
    corners = torch.rand(1, 3, 2, 2, generator=rng)
    return F.interpolate(corners, (size, size), mode="bilinear", align_corners=True)[0]


def _shapes(size: int, rng: torch.Generator) -> Tensor:
    """Five discs of one colour each on a plain ground."""
    picture = torch.rand(3, 1, 1, generator=rng).expand(3, size, size).clone()
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    for _ in range(5):
        across, down, radius = (torch.rand(3, generator=rng) * size).tolist()
        inside = (x - across) ** 2 + (y - down) ** 2 < (0.1 * size + 0.2 * radius) ** 2
        picture[:, inside] = torch.rand(3, 1, generator=rng)
    return picture


def _clouds(size: int, rng: torch.Generator) -> Tensor:
    """Noise whose amplitude falls as one over the frequency, as in photos."""
    noise = torch.fft.rfft2(torch.randn(3, size, size, generator=rng))
    down, across = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    picture: Tensor = torch.fft.irfft2(noise / (down**2 + across**2).sqrt().clamp(min=1 / size))
    return (0.5 + 0.2 * picture / picture.std()).clamp(0, 1)


def _stripes(size: int, rng: torch.Generator) -> Tensor:
    """Two colours in stripes of one width and direction."""
    turn, period, phase = torch.rand(3, generator=rng).tolist()
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    angle = torch.tensor(3.1416 * turn)
    wave = torch.sin((x * angle.cos() + y * angle.sin()) / (1 + 4 * period) + 6.283 * phase)
    colours = torch.rand(2, 3, 1, 1, generator=rng)
    return torch.where(wave > 0, colours[0], colours[1])


GENERATED: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "gradients": _gradient,
    "discs": _shapes,
    "clouds": _clouds,
    "stripes": _stripes,
}


def generated(kind: str, count: int, size: int, seed: int) -> Tensor:
    """Pictures that a few lines of code draw.

    Parameters
    ----------
    kind : str
        A name in :data:`GENERATED`.
    count, size : int
        Number of pictures, and their side in pixels.
    seed : int
        Of the pictures.

    Returns
    -------
    Tensor
        count x 3 x size x size in [0,1], with values of 8-bit files.
    """
    rng = torch.Generator().manual_seed(seed)
    return quantise(torch.stack([GENERATED[kind](size, rng) for _ in range(count)]))


def pictures_of(data: ImageSet, size: int, count: int) -> Tensor:
    """The first images of a set as training programs see them, at most ``count``."""
    return quantise(torch.cat(list(islice(data.tensors(size), count))))


def named_folder(text: str) -> tuple[str, Path]:
    """Name and folder of an option NAME=FOLDER.

    Raises
    ------
    ConfigError
        If the text is none of this form, or the folder does not exist.
    """
    name, _, folder = text.partition("=")
    if not name or not folder or not Path(folder).is_dir():
        raise ConfigError(f"Found {text!r}; expected NAME=FOLDER with a folder that exists.")
    return name, Path(folder)
