"""Measures gradients of images with respect to a LoRA, projected to few numbers.

References
----------
Zheng et al. (2024), "Intriguing properties of data attribution on diffusion models" (D-TRAK, arXiv
2311.00500), sections 3 and 4. Park et al. (2023), "TRAK: attributing model behavior at scale"
(arXiv 2303.14186), section 3.
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

from siren_ext.adapters.read import read_adapter
from siren_ext.attribution.cache import GradientCache
from siren_ext.attribution.config import AttributionConfig
from siren_ext.attribution.factors import Factor, Recorder, find_factors
from siren_ext.attribution.projection import project
from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import (
    Condition,
    Denoiser,
    arrange,
    denoiser,
    picture_size,
    taken,
)
from siren_ext.errors import ConfigError, DatasetError, ModelError
from siren_ext.files import sha256_file
from siren_ext.passive.batch import noise_seed
from siren_ext.progress import NULL, Progress
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.data.dataset import ImageSet, Item
    from siren_ext.suspects.local import LocalSuspect

_BUFFER = 512 * 2**20  # bytes of whole gradients that are kept before they are projected


@dataclass(frozen=True, eq=False)
class GradientTable:
    """Projected gradients of images.

    Attributes
    ----------
    values : array, shape (n, noises, k)
        float32: for each noise the mean over the noise levels.
    images, hashes : tuple[str, ...]
        Names of the files, and SHA-256 of their bytes.
    source : dict[str, Any]
        How they were measured, as plain JSON values.
    notes : tuple[str, ...]
        What was left out.
    """

    values: NDArray[np.float32]
    images: tuple[str, ...]
    hashes: tuple[str, ...]
    source: dict[str, Any]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def measure_gradients(
    suspect: LocalSuspect,
    images: ImageSet,
    config: AttributionConfig | None = None,
    *,
    cache: Path | None = None,
    progress: Progress = NULL,
) -> GradientTable:
    """Measure the gradients of images with respect to the parameters of a model's LoRA.

    Parameters
    ----------
    suspect : LocalSuspect
        A base model with one LoRA, in float32.
    images : ImageSet
        n images, with captions if there are any.
    config : AttributionConfig | None
        Settings; None for the defaults.
    cache : Path | None
        File of finished images: a stopped run resumes, and images that another call of the same
        model and settings measured are not measured again. It is kept.
    progress : Progress
        One unit per gradient.

    Returns
    -------
    GradientTable
        One row per image.

    Raises
    ------
    AdapterError
        If the adapter is no plain LoRA, or does not fit.
    ConfigError
        If there is not exactly one adapter, or the model can't use the resolution.
    DatasetError
        If there is no image.
    ImageError
        If an image cannot be read.
    ModelError
        If the model is of another family, or a gradient is not finite.
    Cancelled
        If the user stopped; finished images are saved.

    Notes
    -----
    The images' noise depends on their bytes, so the result is the same in any order and batches.
    Whole gradients are kept for as many images as fit into 512 MB, at least one.
    """
    config = config or AttributionConfig()
    if not images.items:
        raise DatasetError(f"{images.name} contains no images; expected at least one.")
    run, notes = _open(suspect, config)
    facts = {"suspect": suspect.describe(), "settings": _measured(config), "resolution": run.size}
    hashes = [sha256_file(item.path) for item in images.items]
    keys = [_key(item, digest, config) for item, digest in zip(images.items, hashes, strict=True)]
    kept = GradientCache(cache, _digest(facts), (config.noises, config.dimension))
    per_image = config.times * config.noises
    done = sum(key in kept for key in keys)
    progress.stage("Measuring gradients", per_image * len(keys), per_image * done)
    left = [row for row, key in enumerate(keys) if key not in kept]
    try:
        for rows in _parts(left, run.images_at_once):
            items, digests = [images.items[row] for row in rows], [hashes[row] for row in rows]
            found = run.measure(items, digests, progress)
            kept.add({keys[row]: one for row, one in zip(rows, found, strict=True)})
    finally:
        kept.save()
    names = tuple(printable(item.name) for item in images.items)
    return GradientTable(np.stack([kept[key] for key in keys]), names, tuple(hashes), facts, notes)


class _Run:
    """Measures images on one model."""

    def __init__(
        self, model: Denoiser, factors: Sequence[Factor], config: AttributionConfig, size: int
    ) -> None:
        self.model, self.factors, self.config, self.size = model, factors, config, size
        self.layers = [(factor.name, factor.size) for factor in factors]
        self.length = sum(factor.size for factor in factors)
        self.images_at_once = max(1, _BUFFER // (4 * config.noises * self.length))

    def measure(
        self, items: Sequence[Item], hashes: Sequence[str], progress: Progress
    ) -> NDArray[np.float32]:
        """Projected gradients of some images: images x noises x k."""
        config = self.config
        views = [crop_view(to_tensor(read_picture(item.path).rgb), self.size) for item in items]
        with torch.no_grad():
            latents = torch.cat(
                [pipelines.encode_latents(self.model.pipeline, view) for view in views]
            )
        pairs = [(row, noise) for row in range(len(items)) for noise in range(config.noises)]
        texts = [_text(item, config) for item in items]
        whole = torch.zeros(len(pairs), self.length, device=latents.device)
        at_once = max(1, config.batch_size // config.times)
        with (
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            Recorder(self.factors) as recorder,
        ):
            for part in _parts(list(range(len(pairs))), at_once):
                rows = [pairs[place][0] for place in part]
                noise = torch.stack(
                    [_noise(hashes[row], pairs[place][1], latents, config)
                     for place, row in zip(part, rows, strict=True)]
                ).to(latents.device)  # fmt: skip
                asked = sorted(set(rows))
                with torch.no_grad():
                    condition = self.model.condition([texts[row] for row in asked], self.size)
                sums = whole[part[0] : part[-1] + 1]
                for times in _parts(list(config.levels), config.batch_size):
                    given = taken(condition, [asked.index(row) for row in rows for _ in times])
                    recorder.add(self._outputs(latents[rows], noise, times, given), sums)
                    progress.advance(len(part) * len(times))
        short = project(
            whole, self.layers, config.dimension, kind=config.projection, seed=config.seed
        )
        short /= config.times
        if not bool(torch.isfinite(short).all()):
            raise ModelError(
                "A gradient of the model is not finite; expected a number. The model's file is "
                "damaged, or the adapter's strength is too large."
            )
        shaped: NDArray[np.float32] = short.view(len(items), config.noises, -1).numpy()
        return shaped

    def _outputs(
        self, latents: Tensor, noise: Tensor, times: list[int], condition: Condition
    ) -> Tensor:
        """What is differentiated: for m latents each at all times, one latent after another."""
        noise = noise.repeat_interleave(len(times), 0)
        every = torch.tensor(times * len(latents), device=latents.device)
        with torch.enable_grad():
            noisy = self.model.noisy(latents.repeat_interleave(len(times), 0), noise, every)
            guess = self.model.noise_in(noisy, every, condition)
            error = guess if self.config.output == "norm" else guess - noise
            return error.flatten(1).square().sum(1)


def _open(suspect: LocalSuspect, config: AttributionConfig) -> tuple[_Run, tuple[str, ...]]:
    """What measures the images on a model, and what is left out of its LoRA."""
    if len(suspect.adapters) != 1:
        raise ConfigError(
            f"The model has {len(suspect.adapters)} adapters; expected one LoRA, whose parameters "
            "the gradients belong to. Give one with --adapter."
        )
    used = suspect.adapters[0]
    adapter = read_adapter(used.path, allow_partial=suspect.allow_partial)
    model = denoiser(suspect.pipeline)
    factors, notes = find_factors(
        suspect.pipeline, adapter, weight=used.weight, allow_partial=suspect.allow_partial
    )
    size = picture_size(model, config.resolution)
    arrange(model, size)
    return _Run(model, factors, config, size), notes


def _noise(digest: str, number: int, latents: Tensor, config: AttributionConfig) -> Tensor:
    """Noise of an image, C x h x w; the same at all levels."""
    rng = np.random.default_rng(noise_seed(config.seed, digest, "attribution", number))
    return torch.from_numpy(rng.standard_normal(latents.shape[1:], dtype=np.float32))


def _text(item: Item, config: AttributionConfig) -> str:
    """The text of an image, according to the settings."""
    return "" if config.captions == "none" else item.caption or item.class_words or ""


def _measured(config: AttributionConfig) -> dict[str, Any]:
    """The settings that gradients depend on."""
    later = ("batch_size", "ridge", "repeats")
    return {name: value for name, value in config.to_dict().items() if name not in later}


def _key(item: Item, digest: str, config: AttributionConfig) -> str:
    """Identifies an image and its text."""
    return _digest([digest, _text(item, config)])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _parts(rows: list[int], size: int) -> Iterator[list[int]]:
    """Consecutive parts of a list."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
