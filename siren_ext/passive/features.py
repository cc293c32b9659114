"""Measures features of images on a diffusion model: what it may remember of each.

No feature of a single image proves anything. Passive tests compare the features of published images
with those of unpublished ones by the same hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import (
    Denoiser,
    arrange,
    denoiser,
    picture_size,
    same_encoder,
)
from siren_ext.errors import DatasetError, ModelError
from siren_ext.files import sha256_file
from siren_ext.passive import attacks, gradients, losses
from siren_ext.passive.batch import Batch, noise_seed, together
from siren_ext.passive.config import DIFFERENCE, PassiveConfig
from siren_ext.passive.table import FeatureTable
from siren_ext.preference.parts import Parts
from siren_ext.progress import NULL, Progress
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.data.dataset import ImageSet, Item
    from siren_ext.suspects.local import LocalSuspect

FEATURES = "features"
"""``source["kind"]`` of measured tables."""

_MEASURES: dict[str, Callable[[Batch], Tensor]] = {
    "denoising_loss": attacks.denoising_loss,
    "secmi": attacks.secmi,
    "pia": attacks.pia,
    "pian": attacks.pian,
    "gradient_masking": gradients.gradient_masking,
    "multiple_loss": losses.multiple_loss,
    "noise_optimisation": gradients.noise_optimisation,
    "mean_loss": losses.mean_loss,
    "caption": losses.caption,
    "sima": attacks.sima,
    "recover": attacks.recover,
}


def measure_features(
    suspect: LocalSuspect,
    images: ImageSet,
    config: PassiveConfig | None = None,
    *,
    control: LocalSuspect | None = None,
    partial: Path | None = None,
    progress: Progress = NULL,
) -> FeatureTable:
    """Measure the features of images on a model.

    Parameters
    ----------
    suspect : LocalSuspect
        The suspicious model in float32: Stable Diffusion 1.x, 2.x or XL, or LCM; experimental for
        Stable Diffusion 3 and Flux. With or without adapters.
    images : ImageSet
        The images, with captions if there are any. An image's noise depends on its bytes, so the
        result is the same in any order and company.
    config : PassiveConfig | None
        Settings; None for the defaults.
    control : LocalSuspect | None
        A model that cannot have seen the images, such as the base without the adapter, in float32.
        Its features are subtracted, with the same noise, in further columns.
    partial : Path | None
        A file for finished images, from which a stopped run is resumed; deleted at the end.
    progress : Progress
        One unit per image.

    Returns
    -------
    FeatureTable
        One row per image with ``config.columns``; with a control also ``diff:<name>`` for each,
        the suspect's feature minus the control's. ``source`` has ``kind`` ("features"), the
        suspect, the control, the settings, ``resolution``, ``experimental`` and versions.

    Raises
    ------
    ConfigError
        If a model is not in float32, or can't use the resolution.
    DatasetError
        If there is no image.
    ImageError
        If an image cannot be read.
    ModelError
        If a model cannot be loaded, is of another family, or its features are not finite.
    Cancelled
        If the user stopped.

    Notes
    -----
    Without families that differentiate the model (``grey``, ``adapter``) nothing is recorded for
    gradients, so memory is that of making ``batch_size`` pictures.
    """
    config = config or PassiveConfig()
    if not images.items:
        raise DatasetError(f"{images.name} contains no images; expected at least one.")
    models = [denoiser(part.pipeline) for part in (suspect, control) if part is not None]
    size = picture_size(models[0], config.resolution)
    hashes = [sha256_file(item.path) for item in images.items]
    facts = _facts(suspect, control, config, size, models)
    parts = Parts(partial, _signature(facts, hashes, texts_of(images.items, config)))
    encoders = [model.pipeline.vae for model in models]
    run = _Run(models, config, size, len(models) > 1 and same_encoder(*encoders))
    progress.stage("Measuring features", len(images), len(parts.done))
    try:
        for rows in _batches(len(images), parts, together(config, size)):
            items = [images.items[row] for row in rows]
            found = run.measure(items, [hashes[row] for row in rows])
            parts.add(rows, found, np.zeros(len(rows)))  # there is no loss beside the features
            progress.advance(len(rows))
    finally:
        parts.save()
    names = config.columns
    if control is not None:
        names += tuple(DIFFERENCE + name for name in config.columns)
    shown = tuple(printable(item.name) for item in images.items)
    table = FeatureTable(names, parts.tables(len(images))[0], shown, tuple(hashes), facts)
    parts.remove()
    return table


class _Run:
    """Measures batches of images on one or two models."""

    def __init__(
        self, models: Sequence[Denoiser], config: PassiveConfig, size: int, shared: bool
    ) -> None:
        self.models, self.config, self.size, self.shared = models, config, size, shared
        for model in models:
            arrange(model, size)

    def measure(self, items: Sequence[Item], hashes: Sequence[str]) -> NDArray[np.float64]:
        """Features of B images, B x columns."""
        images = torch.cat(
            [crop_view(to_tensor(read_picture(item.path).rgb), self.size) for item in items]
        )
        texts = texts_of(items, self.config)
        found: list[NDArray[np.float64]] = []
        latents: Tensor | None = None
        # float32 convolutions of some GPUs round to 10 bits by default
        with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for model in self.models:
                if latents is None or not self.shared:
                    latents = self._latents(model, images, hashes)
                given = latents.to(model.device)
                batch = Batch(model, given, tuple(texts), tuple(hashes), self.size, self.config)
                found.append(_features(batch))
        return np.hstack([found[0], *(found[0] - other for other in found[1:])])

    def _latents(self, model: Denoiser, images: Tensor, hashes: Sequence[str]) -> Tensor:
        """Latents of B pictures: the most probable ones, or drawn ones as in CDI's code."""
        if self.config.variant != "official":
            return pipelines.encode_latents(model.pipeline, images)
        drawn = []
        for image, digest in zip(images, hashes, strict=True):
            seed = noise_seed(self.config.seed, digest, "latents", 0) % 2**63
            generator = torch.Generator().manual_seed(seed)
            drawn.append(pipelines.encode_latents(model.pipeline, image[None], generator))
        return torch.cat(drawn)


def _features(batch: Batch) -> NDArray[np.float64]:
    """The features of a batch on one model, B x columns."""
    table = torch.cat([_MEASURES[name](batch) for name in batch.config.families], dim=1)
    if not bool(torch.isfinite(table).all()):
        raise ModelError(
            "A feature of the model is not finite; expected a number. The model's file is damaged, "
            "or its prediction type is not what its settings say."
        )
    found: NDArray[np.float64] = table.double().cpu().numpy()
    return found


def texts_of(items: Sequence[Item], config: PassiveConfig) -> list[str]:
    """The text that a model is given with each image.

    Parameters
    ----------
    items : sequence of Item
        The images.
    config : PassiveConfig
        Says whether captions are used.
    """
    if config.captions == "none":
        return [""] * len(items)
    return [item.caption or item.class_words or "" for item in items]


def _batches(count: int, parts: Parts, size: int) -> Iterator[list[int]]:
    """Positions of the images that are not done yet, in batches."""
    left = [row for row in range(count) if row not in parts.done]
    for start in range(0, len(left), size):
        yield left[start : start + size]


def _facts(
    suspect: LocalSuspect,
    control: LocalSuspect | None,
    config: PassiveConfig,
    size: int,
    models: Sequence[Denoiser],
) -> dict[str, Any]:
    """What was measured, for the record."""
    settings = config.to_dict()
    if config.variant != "official":
        del settings["batch_size"]  # changes nothing
    return {
        "kind": FEATURES,
        "suspect": suspect.describe(),
        "control": control.describe() if control else None,
        "settings": settings,
        "resolution": size,
        "experimental": any(model.experimental for model in models),
        "versions": {name: _version(name) for name in ("siren_ext", "torch", "diffusers")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _signature(facts: dict[str, Any], hashes: Sequence[str], texts: Sequence[str]) -> str:
    """Identifies a run: parts of another one are not reused."""
    known = json.dumps([facts, list(hashes), list(texts)], sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()
