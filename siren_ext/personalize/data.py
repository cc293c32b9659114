"""What a run trains on: latents of both mirror images and prompts, cached; seeded batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.data.dataset import ImageSet, Item
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.progress import Progress

_ENCODE_BATCH = 8
_ORDER, _STEP = 1, 2


@dataclass(frozen=True)
class Batch:
    """One step: ``latents`` (B, C, h, w), ``texts`` (B) rows of the prompt table, a ``seed``."""

    latents: Tensor
    texts: Tensor
    seed: int


@dataclass(frozen=True)
class TrainingData:
    """Latents (mirrors, n, C, h, w) and the text row of each image; row 0 is the empty text.

    ``rows`` lists the images of an epoch, each as often as its repeats.
    """

    latents: Tensor
    texts: Tensor
    prompts: tuple[str, ...]
    rows: NDArray[np.int64]

    def epochs(self, config: PersonalizeConfig) -> int:
        """Epochs that the run's steps come to, rounded up."""
        return -(-config.steps * config.batch_size // len(self.rows))

    def batch(self, step: int, config: PersonalizeConfig) -> Batch:
        """The batch of ``step``: a function of (seed, step) alone, so that a resumed run agrees.

        Images go round in a fresh order each epoch.
        """
        places = np.arange(step * config.batch_size, (step + 1) * config.batch_size)
        picks = np.empty(len(places), np.int64)
        for epoch in np.unique(places // len(self.rows)):
            rng = np.random.default_rng((config.seed, _ORDER, int(epoch)))
            order = rng.permutation(self.rows)
            here = places // len(self.rows) == epoch
            picks[here] = order[places[here] % len(self.rows)]
        rng = np.random.default_rng((config.seed, _STEP, step))
        mirrors = rng.integers(len(self.latents), size=len(picks))
        texts = self.texts[picks].clone()
        texts[torch.from_numpy(rng.random(len(picks)) < config.caption_dropout)] = 0
        chosen = self.latents[torch.from_numpy(mirrors), torch.from_numpy(picks)]
        return Batch(chosen, texts, int(rng.integers(2**63)))


def caption(item: Item, config: PersonalizeConfig) -> str:
    """The text that an image is trained with; raises :class:`DatasetError` when there is none."""
    if config.prompt is not None:
        if "{class}" not in config.prompt:
            return config.prompt
        if item.class_words is None:
            raise DatasetError(
                f"The prompt {config.prompt!r} asks for class words, but {item.name} has none; "
                "expected a kohya folder like '1_pokemon'. Write the words into the prompt."
            )
        return config.prompt.replace("{class}", item.class_words)
    text = item.caption or item.class_words
    if not text:
        raise DatasetError(
            f"{item.name} has no caption; expected a .txt or .caption file beside it, or one "
            "prompt for all images (prompt = 'an image of ...')."
        )
    return text


def training_size(pipeline: Pipeline, config: PersonalizeConfig) -> int:
    """Side in pixels; raises :class:`ConfigError` unless it is a multiple of the latent factor."""
    size = config.resolution or pipelines.native_size(pipeline)
    factor = pipelines.latent_factor(pipeline)
    if size % factor:
        raise ConfigError(
            f"PersonalizeConfig.resolution is {size}; expected a multiple of {factor} for this "
            f"model. Use {size // factor * factor or factor}."
        )
    return size


def prepare(
    data: ImageSet, pipeline: Pipeline, config: PersonalizeConfig, progress: Progress
) -> TrainingData:
    """Encode every image (and its mirror image) once; deterministic in the seed."""
    if not len(data):
        raise DatasetError(f"{data.name} holds no images; expected at least one.")
    written = [caption(item, config) for item in data.items]
    prompts = tuple(dict.fromkeys(["", *written]))
    row = {text: index for index, text in enumerate(prompts)}
    generator = torch.Generator().manual_seed(config.seed)
    parts: list[Tensor] = []
    waiting: list[Tensor] = []
    progress.stage("Encoding images", len(data))
    for number, image in enumerate(data.tensors(training_size(pipeline, config)), 1):
        waiting.append(image)
        if len(waiting) == _ENCODE_BATCH or number == len(data):
            parts.append(_encode(pipeline, torch.cat(waiting), config.flip, generator))
            waiting.clear()
        progress.advance()
    repeated = np.repeat(np.arange(len(data)), [item.repeats for item in data.items])
    return TrainingData(
        latents=torch.cat(parts, dim=1),
        texts=torch.tensor([row[text] for text in written]),
        prompts=prompts,
        rows=repeated.astype(np.int64),
    )


def _encode(pipeline: Pipeline, images: Tensor, flip: bool, generator: torch.Generator) -> Tensor:
    with torch.no_grad():
        views = [images, images.flip(3)] if flip else [images]
        return torch.stack([pipelines.encode_latents(pipeline, v, generator).cpu() for v in views])
