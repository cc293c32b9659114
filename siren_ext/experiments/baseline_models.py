"""A pocket model that was trained on images protected by a baseline, and its pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from siren_ext.baselines.base import Protected
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.experiments.baseline_sets import pictures_of
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.base import PromptPlan
from siren_ext.workflows.experiment_run import ExperimentModel, spread_captions

PICTURES, STEPS = 60, 500
SEED = 7
"""Seed of the models that are tested."""


def write_protected(protected: Protected, folder: Path) -> ImageSet:
    """Write images and captions as an owner publishes them.

    Parameters
    ----------
    protected : Protected
        Images and captions.
    folder : Path
        Made if missing; files in it are replaced.

    Returns
    -------
    ImageSet
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for row, image in enumerate(protected.images):
        write_picture(Picture(to_uint8(image)), folder / f"{row:04}.png")
        if protected.captions:
            (folder / f"{row:04}.txt").write_text(protected.captions[row], encoding="utf-8")
    return ImageSet.from_folder(folder)


def pictures_after_training(
    protected: Protected,
    folder: Path,
    prompt: Callable[[str], str] = str,
    progress: Progress = NULL,
    *,
    steps: int = STEPS,
    count: int = PICTURES,
    name: str = "pictures",
    seed: int = SEED,
) -> Tensor:
    """Train a LoRA of the pocket model on protected images and generate pictures.

    Parameters
    ----------
    protected : Protected
        The training images.
    folder : Path
        For images, LoRA and pictures; what is finished in it is only read.
    prompt : callable
        Makes the prompt of a test from a caption.
    progress : Progress
        Told of every step; may cancel.
    steps, count : int
        Training steps, and number of pictures.
    name : str
        Of the folder of pictures; another way of asking the same model has another name.
    seed : int
        Of the training; the pictures begin at a thousand times this seed.

    Returns
    -------
    Tensor
        count x 3 x H x W in [0,1].

    Raises
    ------
    MissingExtraError
        If diffusers is not installed.
    Cancelled
        If the user stops; the same call resumes.
    """
    data = write_protected(protected, folder / "protected")
    captions = spread_captions(data)
    model = ExperimentModel(
        base="pocket",
        plan=PromptPlan(
            prompts=tuple(prompt(text) for text in captions), count=count, seed=1000 * seed
        ),
        images=folder / name,
        training=PersonalizeConfig(steps=steps, seed=seed),
        adapter=folder / "lora.safetensors",
    )
    model.train(data, progress)
    model.generate(progress)
    return pictures_of(ImageSet.from_folder(folder / name), protected.images.shape[-1], count)
