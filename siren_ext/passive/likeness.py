"""How near a suspect's pictures come to images, where the suspect's file is not at hand.

Three distances, all smaller for images that a model imitates: between the best matching patches of
pictures and image, between their styles, and between an image and what the suspect makes of it when
it redraws it. Each is weak by itself, and pictures of the same kind are near to each other anyway,
so only sets of images are compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.diffusion.patches import descriptors, patch_similarity
from siren_ext.files import sha256_file
from siren_ext.passive.config import DIFFERENCE, LIKENESS, STRENGTHS
from siren_ext.passive.table import FeatureTable
from siren_ext.preference.parts import Parts
from siren_ext.progress import NULL, Progress

if TYPE_CHECKING:
    from siren_ext.data.dataset import ImageSet
    from siren_ext.diffusion.load import Pipeline
    from siren_ext.suspects.base import PromptPlan, Redraw

Floats = NDArray[np.float64]

_LARGEST_SIDE = 1024  # of pictures that are sent to be redrawn
_BLOCK = 8


def near_pictures(
    images: ImageSet,
    pictures: ImageSet,
    encoder: Pipeline,
    size: int,
    *,
    nearest: int = 3,
    progress: Progress = NULL,
) -> Floats:
    """Distances of images from pictures by patches and by style.

    Parameters
    ----------
    images, pictures : ImageSet
        n images, and q pictures of a suspect.
    encoder : Pipeline
        Gives the autoencoder.
    size : int
        Side in pixels at which they are compared.
    nearest : int
        Number of the most similar pictures that count for an image.
    progress : Progress
        One unit per image and picture.

    Returns
    -------
    array, shape (n, 2)
        1 minus the mean similarity to the nearest pictures, from 0 to 2: of best matching patches
        (:func:`~siren_ext.diffusion.patches.patch_similarity`), and of styles.

    Raises
    ------
    DatasetError
        If a set is empty.
    ImageError
        If an image cannot be read.

    Notes
    -----
    A style is the matrix of mean products of an image's patch values, as in Gatys et al. (2016),
    "Image style transfer using convolutional neural networks", CVPR, Eq. 3, without the mean of all
    images and pictures; styles are compared by the cosine.
    """
    own = descriptors(encoder, images, size, progress=progress)
    others = descriptors(encoder, pictures, size, progress=progress)
    by_patches = patch_similarity(others, own).mean(axis=1).T  # n x q
    by_style = _style_similarity(own, others)
    count = min(nearest, len(pictures))
    found = [-np.sort(-table, axis=1)[:, :count].mean(axis=1) for table in (by_patches, by_style)]
    return 1 - np.stack(found, axis=1)


def _style_similarity(images: Tensor, pictures: Tensor) -> Floats:
    """Cosine of the centred style matrices, n x q."""
    both = torch.cat([images, pictures])
    styles = (both.transpose(1, 2) @ both / both.shape[1]).flatten(1).double()
    styles = styles - styles.mean(0)
    styles = styles / styles.norm(dim=1, keepdim=True).clamp_min(1e-12)
    found: Floats = (styles[: len(images)] @ styles[len(images) :].T).numpy()
    return found


def redrawn_distances(
    images: ImageSet,
    redraw: Redraw,
    plan: PromptPlan,
    size: int,
    *,
    signature: str = "",
    partial: Path | None = None,
    progress: Progress = NULL,
) -> Floats:
    """By how much a suspect changes images when it redraws them.

    Parameters
    ----------
    images : ImageSet
        n images.
    redraw : Redraw
        Of :func:`siren_ext.suspects.redraw.redrawer`.
    plan : PromptPlan
        Prompt i belongs to image i. The seed of an image is derived from its bytes.
    size : int
        Side in pixels at which they are compared.
    signature : str
        Identifies the suspect, so that parts of another one are not used.
    partial : Path | None
        A file for finished images, from which a stopped run is resumed; deleted at the end.
    progress : Progress
        One unit per image.

    Returns
    -------
    array, shape (n, 3)
        Root mean square difference of the colours, 0 to 1, at each of ``STRENGTHS``.

    Raises
    ------
    SuspectError
        If the suspect does not make a picture.
    Cancelled
        If the user stopped.
    """
    hashes = [sha256_file(item.path) for item in images.items]
    known = json.dumps([signature, plan.to_dict(), size, hashes])
    parts = Parts(partial, hashlib.sha256(known.encode()).hexdigest())
    progress.stage("Redrawing images", len(images), len(parts.done))
    try:
        for row, item in enumerate(images.items):
            if row in parts.done:
                continue
            image = _sendable(to_tensor(read_picture(item.path).rgb))
            seeded = replace(plan, seed=int(hashes[row][:7], 16))
            asked = replace(seeded, prompts=(plan.prompt(row),), count=1)
            made = [redraw(image[0], asked, 0, strength / 100) for strength in STRENGTHS]
            found = [_difference(image, one, size) for one in made]
            parts.add([row], np.array([found]), np.zeros(1))
            progress.advance()
    finally:
        parts.save()
    table = parts.tables(len(images))[0]
    parts.remove()
    return np.asarray(table, dtype=np.float64)


def _sendable(image: Tensor) -> Tensor:
    """A square view whose side is a multiple of 8, of at most 1,024 pixels."""
    side = min(*image.shape[2:], _LARGEST_SIDE)
    return crop_view(image, max(_BLOCK, side // _BLOCK * _BLOCK))


def _difference(image: Tensor, made: Tensor, size: int) -> float:
    first, second = crop_view(image, size), crop_view(made[None].to(image), size)
    return float((first - second).square().mean().sqrt())


def likeness_table(
    images: ImageSet, suspect: Floats, control: Floats | None, source: dict[str, Any]
) -> FeatureTable:
    """Distances from a suspect's pictures as a table for :func:`~siren_ext.passive.judge.judge`.

    Parameters
    ----------
    images : ImageSet
        n images.
    suspect : array, shape (n, 2) or (n, 5)
        Distances from the suspect's pictures, and if it redraws, by redrawing.
    control : array of the same shape, or None
        The same for a model that cannot have seen the images.
    source : dict[str, Any]
        How they were measured, as plain JSON values.

    Returns
    -------
    FeatureTable
        With the columns of ``LIKENESS``, and with a control the differences.
    """
    names: Sequence[str] = LIKENESS[: suspect.shape[1]]
    values = suspect
    if control is not None:
        names = (*names, *(DIFFERENCE + name for name in names))
        values = np.hstack([suspect, suspect - control])
    return FeatureTable(
        tuple(names),
        values,
        tuple(item.name for item in images.items),
        tuple(sha256_file(item.path) for item in images.items),
        source,
    )
