"""Measures what a diffusion model has learnt of a coating, from the model itself, without a key.

A model that was trained on coated images moves the owner's *clean* images towards the coating when
it removes noise. Each clean image gets a little noise, the model estimates the clean image, and the
difference of estimate and image is what the model adds by itself: the learnt field. It is averaged
over noises and read along the patterns of all bits (:mod:`siren_ext.preference.reading`). One run
serves all 2^k messages. The key is not used, so the keyed test of the result is exact whatever the
model has learnt (:mod:`siren_ext.stats.keyed`).

Unlike pictures that a model generates, this needs the model's file. It sees coatings that are too
faint to show in pictures: of a small share of the training images, or of images that were cropped.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import Denoiser, picture_size
from siren_ext.errors import CoaterError, DatasetError, ModelError
from siren_ext.files import sha256_file
from siren_ext.preference.changes import pull_back
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.models import frozen, loss_of, noise_of
from siren_ext.preference.parts import Parts
from siren_ext.preference.reading import latent_patterns, read_fields, spread
from siren_ext.preference.tint import tint_of
from siren_ext.progress import NULL, Progress
from siren_ext.ranks import current
from siren_ext.scoring.score_set import FIELD, PREFERENCE, TINT, ScoreSet
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet, Item
    from siren_ext.suspects.local import LocalSuspect


def measure_preference(
    suspect: LocalSuspect,
    data: ImageSet,
    coater: Coater,
    config: PreferenceConfig | None = None,
    *,
    controls: Sequence[LocalSuspect] = (),
    keep_field: bool = False,
    partial: Path | None = None,
    progress: Progress = NULL,
) -> ScoreSet:
    """Measure what a model has learnt along every bit of a message.

    Parameters
    ----------
    suspect : LocalSuspect
        The suspicious model in 32 bits, with or without adapters; see :func:`frozen` for the
        families.
    data : ImageSet
        The owner's clean images, with captions if there are any.
    coater : Coater
        The keyed coater that coated the published copies.
    config : PreferenceConfig | None
        Settings; None for the defaults.
    controls : sequence of LocalSuspect
        Clean models that were trained on the clean images, each with another seed. Their mean field
        is subtracted, at equal noise.
    keep_field : bool
        Also record the mean field, for :func:`siren_ext.preference.changes.field_test`.
    partial : Path | None
        A file for finished images, from which a stopped run is resumed; deleted at the end.
    progress : Progress
        One unit per image.

    Returns
    -------
    ScoreSet
        One row per image: ``features`` say how much of the pattern of each bit's +1 was learnt,
        divided by their spread over all images and bits; ``scores`` are the mean losses (of the
        suspect, minus the controls'). ``source["kind"]`` is ``"preference"``.

    Raises
    ------
    CoaterError
        If the coater is not keyed.
    ConfigError
        If the resolution does not suit the model.
    DatasetError
        If there is no image.
    ModelError
        If a model is of another family or cannot be loaded, or a loss is not finite.
    Cancelled
        If the user stopped.

    Notes
    -----
    Nothing is differentiated, except the autoencoder if the field is kept: the denoiser is passed
    ``draws`` times per image and model, the autoencoder once per image and some hundred times for
    the patterns. Memory is that of pictures generated ``batch_size`` at a time, on which nothing
    else depends.
    """
    config = config or PreferenceConfig()
    items = _probes(data, coater, config)
    facts = _facts(suspect, controls, config)
    parts = Parts(partial, _signature(facts, items, coater))
    models = [frozen(one) for one in (suspect, *controls)]
    size = picture_size(models[0], config.resolution)
    progress.stage("Measuring preference", len(items), len(parts.done))
    left = list(_batches(items, parts, config.batch_size))
    measured = functools.partial(_measured, models, items, size, config)
    current().wait()  # before the main process writes what the others read
    try:
        for batch, (fields, lost) in current().shared(left, measured):
            parts.add(batch, fields, lost)
            progress.advance(len(batch))
    finally:
        parts.save()
    found = _score_set(items, parts, coater, facts, models[0], size, keep_field=keep_field)
    parts.remove()
    return found


def _probes(data: ImageSet, coater: Coater, config: PreferenceConfig) -> Sequence[Item]:
    """The images that are used, for a coater that has messages."""
    if not coater.keyed:
        raise CoaterError(
            "This coater is not keyed, so there is no message that a model could prefer. Use the "
            "keyed coater that the published images were coated with."
        )
    items = data.items[: config.images] if config.images else data.items
    if not items:
        raise DatasetError(f"{data.name} contains no images; expected at least one.")
    return items


def _learnt(
    model: Denoiser, latents: Tensor, texts: list[str], rows: list[int], config: PreferenceConfig
) -> tuple[Tensor, Tensor]:
    """What a model adds to B latents, and the B losses; means over the draws."""
    condition = model.condition(texts, latents.shape[-1] * pipelines.latent_factor(model.pipeline))
    added, losses = torch.zeros_like(latents), torch.zeros(len(latents))
    for draw in range(config.draws):
        times, noise = noise_of(latents, rows, draw, config)
        noisy = model.noisy(latents, noise, times)
        seen = model.noise_in(noisy, times, condition)
        added += model.clean(noisy, seen, times) - latents
        losses += loss_of(model, seen - noise, times).cpu()
    if not (torch.isfinite(losses).all() and torch.isfinite(added).all()):
        raise ModelError(
            "The model's loss is not finite; expected a number. The file is damaged, or 16-bit "
            "numbers are too coarse for it: use 32-bit ones."
        )
    return added / config.draws, losses / config.draws


def _measured(
    models: list[Denoiser],
    items: Sequence[Item],
    size: int,
    config: PreferenceConfig,
    rows: list[int],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fields and losses of some of the images."""
    images = torch.cat([_view(items[row], size) for row in rows])
    texts = [items[row].caption or items[row].class_words or "" for row in rows]
    return learnt_fields(models, images, texts, rows, config)


@torch.no_grad()
def learnt_fields(
    models: list[Denoiser],
    images: Tensor,
    texts: list[str],
    rows: list[int],
    config: PreferenceConfig,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a model adds to images by itself, and its losses, minus the mean of other models.

    Parameters
    ----------
    models : list[Denoiser]
        The model, whose autoencoder serves all, and the others if there are any.
    images : Tensor
        B x 3 x H x W in [0,1].
    texts : list[str]
        B captions.
    rows : list[int]
        Positions of the images in their set, from which their noise follows.
    config : PreferenceConfig
        Noise levels and seed.

    Returns
    -------
    fields : array, shape (B, d)
        Changes of the latents; means over the noise levels.
    losses : array, shape (B,)
        Mean losses.

    Raises
    ------
    ModelError
        If a loss is not finite.
    """
    latents = pipelines.encode_latents(models[0].pipeline, images)
    field, losses = _learnt(models[0], latents, texts, rows, config)
    for other in models[1:]:
        theirs, usual = _learnt(other, latents, texts, rows, config)
        field = field - theirs / (len(models) - 1)
        losses = losses - usual / (len(models) - 1)
    return field.flatten(1).double().cpu().numpy(), losses.double().numpy()


def _view(item: Item, size: int) -> Tensor:
    """One image as training programs see it, 1 x 3 x size x size in [0,1]."""
    return crop_view(to_tensor(read_picture(item.path).rgb), size)


def _batches(items: Sequence[Item], parts: Parts, size: int) -> Iterator[list[int]]:
    """Positions of the images that are not done yet, in batches."""
    left = [row for row in range(len(items)) if row not in parts.done]
    for start in range(0, len(left), size):
        yield left[start : start + size]


def _score_set(
    items: Sequence[Item],
    parts: Parts,
    coater: Coater,
    facts: dict[str, Any],
    model: Denoiser,
    size: int,
    *,
    keep_field: bool,
) -> ScoreSet:
    """The result: the fields, read along the patterns of the bits."""
    fields, losses = parts.tables(len(items))
    pipeline = model.pipeline
    coater.to(model.device)
    views = torch.cat([_view(items[row], size) for row in spread(len(items))])
    patterns = latent_patterns(pipeline, views, coater)
    facts = facts | {TINT: tint_of(pipeline, views, fields).to_plain()}
    if keep_field:
        facts = facts | {FIELD: pull_back(pipeline, views, fields, patterns).to_plain()}
    return ScoreSet(
        losses,
        tuple(printable(item.name) for item in items),
        tuple(sha256_file(item.path) for item in items),
        coater.fingerprint,
        facts,
        features=read_fields(fields, patterns),
    )


def _facts(
    suspect: LocalSuspect, controls: Sequence[LocalSuspect], config: PreferenceConfig
) -> dict[str, Any]:
    """What was measured, for the record."""
    return {
        "kind": PREFERENCE,
        "provenance": {
            "suspect": suspect.describe(),
            "controls": [control.describe() for control in controls],
        },
        "settings": config.to_dict(),
    }


def _signature(facts: dict[str, Any], items: Sequence[Item], coater: Coater) -> str:
    """Identifies a run: parts of another one are not reused."""
    files = [(sha256_file(item.path), item.caption, item.class_words) for item in items]
    known = json.dumps([facts, files, coater.fingerprint], sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()
