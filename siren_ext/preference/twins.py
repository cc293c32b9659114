"""Measures whether a diffusion model prefers the published copy of each image to its twin.

Both twins of an image are noised alike, and the model's denoising losses are compared. A model that
was trained on the published copy denoises that one a little better. Which side a coin chose is not
used in the measurement, so the tests of the result are exact whatever the model has learnt
(:mod:`siren_ext.stats.coins`). They need no common pattern: what else the model was trained on, and
how small the share of the published copies was, changes power but not the risk of a false alarm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.coating.twins import Twin, TwinsRecord, record_path
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import Denoiser, picture_size, taken
from siren_ext.errors import EvidenceError, ModelError
from siren_ext.files import is_file, sha256_file
from siren_ext.preference.models import (
    check_words,
    frozen,
    loss_of,
    noise_of,
    refuse_itself,
    refuse_other_latents,
)
from siren_ext.preference.parts import Parts
from siren_ext.preference.twins_config import TwinsConfig
from siren_ext.progress import NULL, Progress
from siren_ext.scoring.score_set import TWINS, ScoreSet
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.suspects.local import LocalSuspect

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TwinFolders:
    """Where both copies of every image are.

    Attributes
    ----------
    published : Path
        Folder of the published copies, with their captions.
    twins : Path
        Private folder of the twins and their record.
    """

    published: Path
    twins: Path


def measure_twins(
    suspect: LocalSuspect,
    folders: TwinFolders,
    config: TwinsConfig | None = None,
    *,
    control: LocalSuspect | None = None,
    partial: Path | None = None,
    progress: Progress = NULL,
) -> ScoreSet:
    """Measure how much better a model denoises side 0 than side 1 of every image.

    Parameters
    ----------
    suspect : LocalSuspect
        The suspicious model in 32 bits, with or without adapters; see
        :func:`siren_ext.preference.models.frozen` for the families.
    folders : TwinFolders
        The published copies and their twins.
    config : TwinsConfig | None
        Settings; None for the defaults.
    control : LocalSuspect | None
        A model that did not see the published copies, such as the base, or better one that was
        trained on the originals. What its differences at equal noise predict of the suspect's is
        taken out (:func:`without_control`): one side may be easier for any model.
    partial : Path | None
        A file for finished images, from which a stopped run is resumed; deleted at the end.
    progress : Progress
        One unit per image.

    Returns
    -------
    ScoreSet
        One row per image of the record: ``scores`` are the mean losses of side 1 minus those of
        side 0, so that they are positive if side 0 is preferred; ``source["coins"]`` are the sides
        that were published.

    Raises
    ------
    AdapterError
        If captions lack an adapter's new word.
    ConfigError
        If the resolution does not suit the model, or the control is the suspect.
    EvidenceError
        If the record is damaged or empty, or a file is missing or was changed.
    ModelError
        If a model is of another family or cannot be loaded, or a loss is not finite.
    Cancelled
        If the user stopped.

    Notes
    -----
    Memory is that of a pass of the denoiser with four times ``batch_size`` images.
    """
    config = config or TwinsConfig()
    record = TwinsRecord.load(folders.twins)
    images = record.images[: config.images] if config.images else record.images
    if not images:
        raise EvidenceError(
            "The record of the twins has no images. Run 'siren-ext coat --twins' to its end."
        )
    _check_files(images, folders)
    texts = _captions(folders.published)
    compared = _compared(suspect, control, [texts.get(image.name, "") for image in images])
    facts = _facts(suspect, control, config, folders.twins)
    parts = Parts(partial, _signature(facts, images, texts))
    models = [frozen(one) for one in compared]
    refuse_other_latents(models[0].pipeline.vae, *models[1:])
    size = picture_size(models[0], config.resolution)
    progress.stage("Comparing twins", len(images), len(parts.done))
    try:
        for rows in _batches(len(images), parts, config.batch_size):
            sides = [_sides(images[row], folders, size) for row in rows]
            words = [texts.get(images[row].name, "") for row in rows]
            parts.add(rows, *_differences(models, sides, words, rows, config))
            progress.advance(len(rows))
    finally:
        parts.save()
    found = _score_set(images, parts, record.coater, facts)
    parts.remove()
    return found


def _score_set(
    images: Sequence[Twin], parts: Parts, coater: str, facts: dict[str, Any]
) -> ScoreSet:
    """The result: the mean of all draws."""
    differences, _ = parts.tables(len(images))
    if facts["provenance"]["control"] is not None:
        differences = without_control(*np.split(differences, 2, axis=1))
    return ScoreSet(
        differences.mean(axis=1),
        tuple(printable(twin.name) for twin in images),
        tuple(twin.published for twin in images),
        coater,
        facts | {"coins": [twin.coin for twin in images]},
    )


def without_control(suspect: Floats, control: Floats) -> Floats:
    """The suspect's differences without what the control's predict.

    Parameters
    ----------
    suspect, control : array, shape (n, draws)
        Loss of side 1 minus that of side 0.

    Returns
    -------
    array, shape (n, draws)
        Residuals of a regression without intercept, for each noise level by itself.

    Notes
    -----
    The coins are not used, and swapping the sides of an image changes the sign of its residuals
    and nothing else, so the tests stay exact. The coefficients depend on which images there are.
    """
    power = np.square(control).sum(axis=0)
    fit = np.divide(
        (suspect * control).sum(axis=0), power, out=np.zeros_like(power), where=power > 0
    )
    return np.asarray(suspect - fit * control)


@torch.no_grad()
def _differences(
    models: Sequence[Denoiser],
    sides: Sequence[tuple[Tensor, Tensor]],
    texts: list[str],
    rows: list[int],
    config: TwinsConfig,
) -> tuple[Floats, Floats]:
    """Loss of side 1 minus that of side 0, B x draws of each model in turn, and mean losses."""
    count, size = len(rows), sides[0][0].shape[-1]
    both = torch.cat([torch.cat(side) for side in zip(*sides, strict=True)]).to(models[0].device)
    latents = pipelines.encode_latents(models[0].pipeline, both)
    differences = np.zeros((count, len(models), config.draws))
    losses = np.zeros(count)
    # rounding to TF32 would be larger than some of the differences
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        four = list(range(count)) * 4  # texts are encoded once
        conditions = [taken(model.condition(texts, size), four) for model in models]
        for draw in range(config.draws):
            times, noise = noise_of(latents[:count], rows, draw, config)
            signed, often = torch.cat([noise, noise, -noise, -noise]), times.repeat(4)
            for place, (model, condition) in enumerate(zip(models, conditions, strict=True)):
                noisy = model.noisy(latents.repeat(2, 1, 1, 1), signed, often)
                errors = model.noise_in(noisy, often, condition) - signed
                loss = loss_of(model, errors, often)
                table = loss.cpu().double().numpy().reshape(2, 2, count).mean(axis=0)
                differences[:, place, draw] = table[1] - table[0]
                losses += table.mean(axis=0)
    if not (np.isfinite(differences).all() and np.isfinite(losses).all()):
        raise ModelError(
            "The model's loss is not finite; expected a number. The file is damaged, or 16-bit "
            "numbers are not precise enough for it: use 32-bit numbers."
        )
    return differences.reshape(count, -1), losses / (config.draws * len(models))


def _sides(twin: Twin, folders: TwinFolders, size: int) -> tuple[Tensor, Tensor]:
    """Side 0 and side 1 of an image as training programs see them, 1 x 3 x size x size each."""
    views = [
        crop_view(to_tensor(read_picture(folder / twin.name).rgb), size)
        for folder in (folders.published, _home(folders))
    ]
    return (views[twin.coin], views[1 - twin.coin])


def _home(folders: TwinFolders) -> Path:
    return record_path(folders.twins).parent


def _check_files(images: Sequence[Twin], folders: TwinFolders) -> None:
    """Raise unless all files are those of the record."""
    kinds = ((folders.published, "published", "published copy"), (_home(folders), "twin", "twin"))
    for folder, field, words in kinds:
        wrong = [
            twin.name
            for twin in images
            if not is_file(folder / twin.name)
            or sha256_file(folder / twin.name) != getattr(twin, field)
        ]
        if wrong:
            raise EvidenceError(
                f"{len(wrong)} of {len(images)} files of the kind '{words}' are missing in "
                f"{folder.name} or differ from the record, such as {printable(wrong[0])!r}. Use "
                "both folders as 'siren-ext coat --twins' wrote them."
            )


def _captions(published: Path) -> dict[str, str]:
    """The caption of every published copy, by its name."""
    return {
        item.relative.as_posix(): item.caption or item.class_words or ""
        for item in ImageSet.open(published).items
    }


def _batches(count: int, parts: Parts, size: int) -> Iterator[list[int]]:
    """Positions of the images that are not done yet, in batches."""
    left = [row for row in range(count) if row not in parts.done]
    for start in range(0, len(left), size):
        yield left[start : start + size]


def _compared(
    suspect: LocalSuspect, control: LocalSuspect | None, texts: Sequence[str]
) -> list[LocalSuspect]:
    """The models, which must suit each other and the captions, before anything is measured."""
    compared = [suspect] if control is None else [suspect, control]
    refuse_itself(suspect, compared[1:])
    for one in compared:
        check_words(one, texts)
    return compared


def _facts(
    suspect: LocalSuspect, control: LocalSuspect | None, config: TwinsConfig, twins: Path
) -> dict[str, Any]:
    """What was measured, for the record."""
    return {
        "kind": TWINS,
        "provenance": {
            "suspect": suspect.describe(),
            "control": control.describe() if control else None,
        },
        "settings": config.to_dict(),
        "record_sha256": sha256_file(record_path(twins)),
    }


def _signature(facts: dict[str, Any], images: Sequence[Twin], texts: dict[str, str]) -> str:
    """Identifies a run: parts of another one are not reused."""
    plan = {key: value for key, value in facts["settings"].items() if key != "batch_size"}
    files = [(twin.published, twin.twin, twin.coin, texts.get(twin.name)) for twin in images]
    known = json.dumps([facts | {"settings": plan}, files], sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()
