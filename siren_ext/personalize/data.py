"""Training data of a run: cached latents of the images and their mirror images, seeded batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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
    """The data of one step.

    Attributes
    ----------
    latents : Tensor
        B x C x h x w scaled latents.
    texts : Tensor
        B indices into the prompts.
    seed : int
        Seed of the step's noise.
    images : Tensor or None
        B places of the images in the set; None for class images.
    """

    latents: Tensor
    texts: Tensor
    seed: int
    images: Tensor | None = None


@dataclass(frozen=True)
class TrainingData:
    """The data of a run.

    Attributes
    ----------
    latents : Tensor
        1 x n x C x h x w, or 2 x n x C x h x w with mirror images.
    texts : Tensor
        For each image the index of its prompt.
    prompts : tuple of str
        All different prompts; the first is the empty text.
    rows : array
        The images of an epoch, each as often as its repeats.
    """

    latents: Tensor
    texts: Tensor
    prompts: tuple[str, ...]
    rows: NDArray[np.int64]

    def epochs(self, config: PersonalizeConfig) -> int:
        """Number of epochs in the run's steps, rounded up."""
        return -(-config.steps * config.batch_size // len(self.rows))

    def batch(self, step: int, config: PersonalizeConfig) -> Batch:
        """The batch of a step. It depends only on seed and step, so a resumed run is the same.

        Images are in a new random order in each epoch.

        Parameters
        ----------
        step : int
            The step, from 0.
        config : PersonalizeConfig
            Gives the seed, the batch size and the caption dropout.
        """
        positions = np.arange(step * config.batch_size, (step + 1) * config.batch_size)
        picks = np.empty(len(positions), np.int64)
        for epoch in np.unique(positions // len(self.rows)):
            rng = np.random.default_rng((config.seed, _ORDER, int(epoch)))
            order = rng.permutation(self.rows)
            here = positions // len(self.rows) == epoch
            picks[here] = order[positions[here] % len(self.rows)]
        rng = np.random.default_rng((config.seed, _STEP, step))
        mirrors = rng.integers(len(self.latents), size=len(picks))
        texts = self.texts[picks].clone()
        texts[torch.from_numpy(rng.random(len(picks)) < config.caption_dropout)] = 0
        chosen = self.latents[torch.from_numpy(mirrors), torch.from_numpy(picks)]
        return Batch(chosen, texts, int(rng.integers(2**63)), torch.from_numpy(picks))


def caption(item: Item, config: PersonalizeConfig) -> str:
    """The text that an image is trained with.

    Parameters
    ----------
    item : Item
        The image.
    config : PersonalizeConfig
        Gives the prompt for all images, if there is one.

    Raises
    ------
    DatasetError
        If there is no text, or no class words for the prompt.
    """
    if config.prompt is not None:
        if "{class}" not in config.prompt:
            return config.prompt
        if item.class_words is None:
            raise DatasetError(
                f"The prompt {config.prompt!r} needs class words, but {item.name} has none; "
                "expected a kohya folder such as '1_pokemon'. Write the words into the prompt."
            )
        return config.prompt.replace("{class}", item.class_words)
    text = item.caption or item.class_words
    if not text:
        raise DatasetError(
            f"{item.name} has no caption; expected a .txt or .caption file beside it, or one "
            "prompt for all images (prompt = 'an image of ...')."
        )
    return text


class SizedConfig(Protocol):
    """Settings with a resolution: side of the images in pixels, 0 for the model's own."""

    @property
    def resolution(self) -> int:
        """The side."""


def training_size(pipeline: Pipeline, config: SizedConfig) -> int:
    """Side in pixels of the training images.

    Parameters
    ----------
    pipeline : Pipeline
        The base model.
    config : SizedConfig
        Gives the resolution.

    Raises
    ------
    ConfigError
        If the model cannot be trained at that resolution.
    """
    size = config.resolution or pipelines.native_size(pipeline)
    factor = pipelines.latent_factor(pipeline)
    if size % factor:
        raise ConfigError(
            f"{type(config).__name__}.resolution is {size}; expected a multiple of {factor} for "
            f"this model. Use {size // factor * factor or factor}."
        )
    return size


def prepare(
    data: ImageSet, pipeline: Pipeline, config: PersonalizeConfig, progress: Progress
) -> TrainingData:
    """Encode every image, and its mirror image, once; depends only on the seed.

    Parameters
    ----------
    data : ImageSet
        The images.
    pipeline : Pipeline
        The base model.
    config : PersonalizeConfig
        Gives resolution, prompt, mirroring and seed.
    progress : Progress
        One unit per image.

    Raises
    ------
    DatasetError
        If there is no image, or an image has no text.
    ConfigError
        If the model cannot be trained at the resolution.
    ImageError
        If an image cannot be read.
    """
    if not len(data):
        raise DatasetError(f"{data.name} contains no images; expected at least one.")
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
            parts.append(mirrored(pipeline, torch.cat(waiting), config.flip, generator))
            waiting.clear()
        progress.advance()
    repeated = np.repeat(np.arange(len(data)), [item.repeats for item in data.items])
    return TrainingData(
        latents=torch.cat(parts, dim=1),
        texts=torch.tensor([row[text] for text in written]),
        prompts=prompts,
        rows=repeated.astype(np.int64),
    )


def mirrored(pipeline: Pipeline, images: Tensor, flip: bool, generator: torch.Generator) -> Tensor:
    """Latents of a batch of images and, with ``flip``, of their mirror images.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the autoencoder.
    images : Tensor
        B x 3 x H x W in [0,1].
    flip : bool
        Also encode the mirror images.
    generator : torch.Generator
        Samples the posterior of a variational autoencoder.

    Returns
    -------
    Tensor
        1 or 2 x B x C x h x w, on the CPU.
    """
    with torch.no_grad():
        views = [images, images.flip(3)] if flip else [images]
        return torch.stack([pipelines.encode_latents(pipeline, v, generator).cpu() for v in views])
