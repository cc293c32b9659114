"""Class images: what DreamBooth and Custom Diffusion train beside the images of the subject.

They keep the model from forgetting what other things of the same kind look like. Source: Ruiz et
al. (2023), "DreamBooth" (arXiv 2208.12242), section 3.3, Eq. 2.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_ext.data.dataset import ImageSet
from siren_ext.data.kohya import TomlSubsets, read_dataset_toml
from siren_ext.diffusion import pipelines, sampling
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.personalize.config import WITH_PRIOR, PersonalizeConfig
from siren_ext.personalize.data import TrainingData, mirrored, prepare, training_size
from siren_ext.progress import Progress
from siren_ext.ranks import current

_BATCH = 8
_PRIOR = 3


def uses_prior(config: PersonalizeConfig) -> bool:
    """Whether a run trains on class images."""
    return config.method in WITH_PRIOR and config.prior_weight > 0


def open_sets(
    images: Path | str, class_images: Path | str | None, config: PersonalizeConfig
) -> tuple[ImageSet, ImageSet | None]:
    """The images of a run and its class images.

    The regularisation subsets of a ``dataset.toml`` are class images: those of ``class_images``, or
    else those of ``images``. A folder of them may be in kohya's layout, such as ``reg/1_dog``.

    Parameters
    ----------
    images : Path or str
        A folder or a ``dataset.toml``.
    class_images : Path or str or None
        The same for class images.
    config : PersonalizeConfig
        Gives the method.

    Returns
    -------
    images : ImageSet
        The images; its notices say why regularisation subsets are not used.
    class_images : ImageSet or None
        The class images, if there are any.

    Raises
    ------
    DatasetError
        If a set can't be read, or contains no usable image.
    """
    listed = _listed(images)
    found = listed is not None and bool(listed.regular)
    why = ""
    if config.method not in WITH_PRIOR:
        why = f"{config.method} does not use class images, but {' and '.join(WITH_PRIOR)} do"
    elif not uses_prior(config):
        why = "prior_weight is 0"
    elif class_images is not None:
        why = "other class images were given"
    data = _opened(images, listed, unused=why)
    if class_images is not None:
        theirs = _listed(class_images)
        regular = theirs is not None and bool(theirs.regular)
        return data, _opened(class_images, theirs, regular=regular)
    return data, _opened(images, listed, regular=True) if found and not why else None


def _listed(path: Path | str) -> TomlSubsets | None:
    """What a dataset.toml says; None for a folder."""
    path = Path(path)
    return read_dataset_toml(path) if path.suffix.lower() == ".toml" else None


def _opened(path: Path | str, listed: TomlSubsets | None, **options: Any) -> ImageSet:
    """A folder, or a dataset.toml that was read before."""
    if listed is None:
        return ImageSet.open(path)
    return ImageSet.from_toml(path, listed=listed, **options)


def check_prior(config: PersonalizeConfig, given: ImageSet | None) -> None:
    """Refuse missing class images, and those that the method has no use for.

    Parameters
    ----------
    config : PersonalizeConfig
        The settings.
    given : ImageSet or None
        The class images, if there are any.

    Raises
    ------
    ConfigError
        If they don't suit the method.
    """
    if given is not None and not uses_prior(config):
        why = "prior_weight is 0" if config.method in WITH_PRIOR else f"the method {config.method}"
        raise ConfigError(
            f"Class images were given, but {why} does not use them; expected the method "
            f"{' or '.join(WITH_PRIOR)} with a prior_weight above 0. Leave the class images out, "
            "or change these settings."
        )
    if given is not None or not uses_prior(config):
        return
    if not config.class_prompt or "{class}" in config.class_prompt:
        found = "no class_prompt" if not config.class_prompt else repr(config.class_prompt)
        raise ConfigError(
            f"{config.method} needs class images, but there are none, and {found} to generate "
            "them with; expected a folder of class images, or a class_prompt such as 'a photo of "
            "a dog'. With prior_weight = 0, no class images are needed."
        )


def class_data(
    config: PersonalizeConfig,
    pipeline: Pipeline,
    given: ImageSet | None,
    progress: Progress,
    saved: Tensor | None = None,
) -> TrainingData | None:
    """The class images of a run, prepared for training.

    Parameters
    ----------
    config : PersonalizeConfig
        The settings.
    pipeline : Pipeline
        The base model, as it was before training.
    given : ImageSet or None
        The class images; None generates them with the class prompt.
    progress : Progress
        One unit per image.
    saved : Tensor or None
        Latents of class images that a stopped run generated.

    Returns
    -------
    TrainingData or None
        None if the method does not use them.

    Raises
    ------
    ConfigError
        As in :func:`check_prior`.
    DatasetError
        If a given image has no caption and there is no class prompt.
    """
    check_prior(config, given)
    if not uses_prior(config):
        return None
    if given is not None:
        bare = [item.name for item in given.items if not (item.caption or item.class_words)]
        if bare and config.class_prompt is None:
            raise DatasetError(
                f"The class image {bare[0]} has no caption; expected a .txt or .caption file "
                "beside it, or one text for all class images (class_prompt = 'an image of ...')."
            )
        return prepare(given, pipeline, replace(config, prompt=config.class_prompt), progress)
    prompt = str(config.class_prompt)
    latents = _generated(config, pipeline, prompt, progress) if saved is None else saved
    count = latents.shape[1]
    return TrainingData(latents, torch.ones(count).long(), ("", prompt), np.arange(count))


@torch.no_grad()
def _generated(
    config: PersonalizeConfig, pipeline: Pipeline, prompt: str, progress: Progress
) -> Tensor:
    """Latents of generated pictures and their mirror images; each depends on its own seed only."""
    size = training_size(pipeline, config)
    words = pipelines.encode_prompts(pipeline, [prompt, ""])
    seeds = np.random.default_rng((config.seed, _PRIOR)).integers(2**62, size=config.class_images)
    generator = torch.Generator().manual_seed(config.seed)
    parts: list[Tensor] = []
    progress.stage("Generating class images", config.class_images)

    def pictures(noise: Tensor) -> Tensor:
        latents = sampling.sample_latents(
            pipeline,
            noise,
            words[:1],
            words[1:],
            steps=config.class_steps,
            guidance=config.class_guidance,
        )
        return pipelines.decode_latents(pipeline, latents)

    for start in range(0, len(seeds), _BATCH):
        chosen = [int(seed) for seed in seeds[start : start + _BATCH]]
        noise = sampling.seeded_noise(pipeline, chosen, size)
        images = current().mapped(pictures, noise)
        parts.append(mirrored(pipeline, images, config.flip, generator))
        progress.advance(len(chosen))
    return torch.cat(parts, dim=1)
