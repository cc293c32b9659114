"""What one image is for a coater that scores it: its view, its looks, and then its score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from siren_ext.data.images import read_picture, square_view, to_tensor
from siren_ext.errors import ImageError
from siren_ext.files import sha256_file
from siren_ext.scoring.appearance import looks_of
from siren_ext.scoring.control import control_features
from siren_ext.scoring.copies import phash_of
from siren_ext.scoring.score_set import MAX_TEXT, StoredImage
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

NOT_FINITE = "The coater gave a score that is not a finite number."
"""Why an image has no score although it could be read."""


@dataclass(frozen=True)
class Prepared:
    """One image before it is scored.

    Attributes
    ----------
    name : str
        Its name.
    sha256 : str
        Hash of its file; empty without one.
    view : Tensor | None
        1 x 3 x S x S in [0,1] for the coater; None if the image can't be used.
    looks : tuple[float, ...]
        See :mod:`siren_ext.scoring.appearance`.
    phash : str
        See :mod:`siren_ext.scoring.copies`.
    error : str
        Why it can't be used.
    """

    name: str
    sha256: str
    view: Tensor | None = None
    looks: tuple[float, ...] = ()
    phash: str = ""
    error: str = ""


def prepare_image(name: str, image: Path | Tensor, size: int) -> Prepared:
    """Decode and resize one image.

    Parameters
    ----------
    name : str
        Its name.
    image : Path | Tensor
        Its file, or 3 x H x W or 1 x 3 x H x W in [0,1].
    size : int
        Side in pixels at which the coater sees it.

    Returns
    -------
    Prepared
        What the coater gets, or why it gets nothing.
    """
    if isinstance(image, Tensor):
        view = image.detach()[None] if image.ndim == 3 else image.detach()
        if view.ndim != 4 or view.shape[:2] != (1, 3):
            shape = tuple(image.shape)
            return Prepared(name, "", error=f"The tensor has shape {shape}; expected 3 x H x W.")
        seen = square_view(view.float(), size)
        return Prepared(name, "", seen, looks_of(seen), phash_of(seen))
    try:
        view = to_tensor(read_picture(image).rgb)  # refuses a pipe, which hashing would wait for
        digest = sha256_file(image)
    except (ImageError, OSError) as error:
        return Prepared(name, "", error=printable(error)[:MAX_TEXT])
    seen = square_view(view, size)
    return Prepared(name, digest, seen, looks_of(seen), phash_of(seen))


@dataclass(frozen=True)
class ImageScore:
    """Score of one image.

    Attributes
    ----------
    score : float
        Small means coated.
    features : tuple[float, ...] | None
        Features of a keyed coater.
    control : tuple[float, ...] | None
        Features of its positive control, see :mod:`siren_ext.scoring.control`.
    """

    score: float
    features: tuple[float, ...] | None = None
    control: tuple[float, ...] | None = None

    def finite(self) -> bool:
        """Whether all numbers are finite."""
        numbers = (self.score, *(self.features or ()), *(self.control or ()))
        return all(map(math.isfinite, numbers))

    def stored(self, image: Prepared) -> StoredImage:
        """The row of a score file.

        Parameters
        ----------
        image : Prepared
            The image.
        """
        features, control = (
            None if row is None else list(row) for row in (self.features, self.control)
        )
        looks, phash = list(image.looks), image.phash
        return StoredImage(image.name, image.sha256, self.score, features, looks, control, phash)


@torch.no_grad()
def score_views(views: Tensor, coater: Coater) -> list[ImageScore]:
    """Scores of a batch; features and a positive control too if the coater is keyed.

    Parameters
    ----------
    views : Tensor
        B x 3 x S x S in [0,1].
    coater : Coater
        The coater.

    Returns
    -------
    list[ImageScore]
        B scores.
    """
    if not coater.keyed:
        return [ImageScore(score) for score in coater.score(views).double().cpu().tolist()]
    placed = views.to(coater.center)
    features = coater.features(placed)
    scores = coater.distance(features).double().cpu().tolist()
    rows = features.double().cpu().tolist()
    controls = control_features(placed, coater).double().cpu().tolist()
    return [
        ImageScore(score, tuple(row), tuple(control))
        for score, row, control in zip(scores, rows, controls, strict=True)
    ]


Scored = list[tuple[Prepared, ImageScore | None]]
"""Images with their scores, or None for those that can't be read."""


def scored(batch: Sequence[Prepared], coater: Coater, reusable: Mapping[str, ImageScore]) -> Scored:
    """Scores of a batch of images that could be read.

    Parameters
    ----------
    batch : sequence of Prepared
        The images, with views.
    coater : Coater
        The coater.
    reusable : mapping
        Scores of a stopped run by file hash, which are not computed again.
    """
    views = [item.view for item in batch if item.sha256 not in reusable and item.view is not None]
    computed = iter(score_views(torch.cat(views), coater) if views else [])
    found = [reusable.get(item.sha256) or next(computed) for item in batch]
    return list(zip(batch, found, strict=True))
