"""Ranks the owner's images by how much each of them shaped some pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from siren_ext.attribution.config import AttributionConfig
from siren_ext.attribution.gradients import measure_gradients
from siren_ext.attribution.influence import Ranking, rank_gradients, rank_patches
from siren_ext.attribution.wording import headline
from siren_ext.diffusion.denoiser import denoiser, picture_size
from siren_ext.diffusion.patches import descriptors, patch_similarity
from siren_ext.errors import DatasetError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.data.dataset import ImageSet
    from siren_ext.suspects.local import LocalSuspect

Method = Literal["gradients", "patches"]

FEWEST = 2
"""Images that can be ranked."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """The images in the order of their influence on some pictures.

    Attributes
    ----------
    method : {"gradients", "patches"}
        What decides: gradients of the model, or patches alone.
    images, image_hashes : tuple[str, ...]
        The owner's n images.
    pictures, picture_hashes : tuple[str, ...]
        The pictures in question.
    ranking : Ranking
        By ``method``.
    patches : Ranking
        By patches; the same object if that is the method.
    config : AttributionConfig
        The settings.
    model : dict[str, Any]
        The model, as plain JSON values.
    notes : tuple[str, ...]
        What was left out, and what to keep in mind.
    """

    method: Method
    images: tuple[str, ...]
    image_hashes: tuple[str, ...]
    pictures: tuple[str, ...]
    picture_hashes: tuple[str, ...]
    ranking: Ranking
    patches: Ranking
    config: AttributionConfig
    model: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The result in a sentence or two."""
        return headline(self.method, self.images, self.ranking, len(self.pictures))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; images from the highest rank to the lowest."""
        return {
            "method": self.method,
            "headline": self.headline,
            "settings": self.config.to_dict(),
            "model": self.model,
            "notes": list(self.notes),
            "pictures": [
                {"picture": name, "sha256": digest}
                for name, digest in zip(self.pictures, self.picture_hashes, strict=True)
            ],
            "images": [self._row(int(row)) for row in self.ranking.order],
        }

    def _row(self, row: int) -> dict[str, Any]:
        """One image, as it is stored."""
        found = self.ranking
        return {
            "image": self.images[row],
            "sha256": self.image_hashes[row],
            "rank": int(found.ranks[row]),
            "rank_low": int(found.rank_low[row]),
            "rank_high": int(found.rank_high[row]),
            "score": float(found.scores[row]),
            "low": float(found.low[row]),
            "high": float(found.high[row]),
            "by_picture": [float(score) for score in found.by_picture[:, row]],
            "patch_rank": int(self.patches.ranks[row]),
            "patch_score": float(self.patches.scores[row]),
        }


def attribute_images(
    data: ImageSet,
    pictures: ImageSet,
    model: LocalSuspect,
    config: AttributionConfig | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = NULL,
) -> Attribution:
    """Rank images by how much each of them shaped some pictures.

    Parameters
    ----------
    data : ImageSet
        The owner's images, with captions if there are any.
    pictures : ImageSet
        One picture that the model is said to have made, or several.
    model : LocalSuspect
        In float32. With a LoRA its gradients decide; without any adapter the patches of the images
        are compared, for which only the autoencoder is used.
    config : AttributionConfig | None
        Settings; None for the defaults.
    cache : Path | None
        File of finished gradients; see :func:`~siren_ext.attribution.gradients.measure_gradients`.
    progress : Progress
        Receives every step; may cancel.

    Returns
    -------
    Attribution
        The ranking.

    Raises
    ------
    DatasetError
        If there are fewer than two images, or no picture.
    AdapterError, ConfigError, ImageError, ModelError, ScoreError
        If something can't be read, or does not fit together.
    Cancelled
        If the user stopped.

    Notes
    -----
    A high score says that the model changes in the same direction for image and picture. It is an
    estimate of what training without the image would change, not a measurement of it, and no
    evidence that the model was trained on the image at all: use
    :func:`siren_ext.preference.measure.measure_preference` or a passive test for that.
    """
    config = config or AttributionConfig()
    if len(data) < FEWEST:
        raise DatasetError(
            f"{data.name} contains {len(data)} images; expected at least {FEWEST}, because they "
            "are ranked against each other."
        )
    size = picture_size(denoiser(model.pipeline), config.resolution)
    seen = [
        descriptors(model.pipeline, images, size, progress=progress) for images in (pictures, data)
    ]
    options = {"repeats": config.repeats, "seed": config.seed}
    by_patches = rank_patches(patch_similarity(*seen), **options)
    ranking, notes = by_patches, _notes(data, pictures)
    if model.adapters:
        notes += _bare(data, pictures) if config.captions == "own" else ()
        known = measure_gradients(model, data, config, cache=cache, progress=progress)
        asked = measure_gradients(model, pictures, config, cache=cache, progress=progress)
        ranking = rank_gradients(asked.values, known.values, ridge=config.ridge, **options)
        notes += known.notes
    return Attribution(
        "gradients" if model.adapters else "patches",
        _names(data),
        _hashes(data),
        _names(pictures),
        _hashes(pictures),
        ranking,
        by_patches,
        config,
        model.describe(),
        notes,
    )


def _names(images: ImageSet) -> tuple[str, ...]:
    return tuple(printable(item.name) for item in images.items)


def _hashes(images: ImageSet) -> tuple[str, ...]:
    return tuple(sha256_file(item.path) for item in images.items)


def _notes(data: ImageSet, pictures: ImageSet) -> tuple[str, ...]:
    """What to keep in mind about these files."""
    owned = dict(zip(_hashes(data), _names(data), strict=True))
    found = []
    for name, digest in zip(_names(pictures), _hashes(pictures), strict=True):
        if digest in owned:
            found.append(
                f"{name} is the same file as {owned[digest]} among your images, whose score is "
                "high for that reason alone."
            )
    return tuple(found)


def _bare(data: ImageSet, pictures: ImageSet) -> tuple[str, ...]:
    """A note on pictures without a prompt, where the model is given captions."""
    bare = int(np.sum([not (item.caption or item.class_words) for item in pictures.items]))
    if bare and any(item.caption or item.class_words for item in data.items):
        return (
            f"{bare} of {len(pictures)} pictures have no caption, and your images have; give "
            "the prompt of a picture too if you know it.",
        )
    return ()
