"""A model of an experiment: train a LoRA, generate images with it, score them.

The demo, the studies and the guided web demo make all their models this way. Every step is cached:
a second call reads what is finished and resumes what was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.errors import ScoreError
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.base import PromptPlan, generate_images
from siren_ext.workflows.cached_scores import cached_scores

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.workflows.run_log import RunLog

PROMPTS = 10
"""Prompts that all models of an experiment share by default: 30, 50, 100 images use each equally
often."""


@dataclass(frozen=True)
class ExperimentModel:
    """How a model of an experiment is made and sampled, and where its files lie.

    Attributes
    ----------
    base : str | Path
        base model: pocket, a diffusers folder or a checkpoint file.
    plan : PromptPlan
        the images to generate.
    images : Path
        folder for them.
    training : PersonalizeConfig | None
        how the LoRA is trained; None for the bare base model.
    adapter : Path | None
        the LoRA file; None for the bare base model.
    device : str
        auto or a torch device name.
    """

    base: str | Path
    plan: PromptPlan
    images: Path
    training: PersonalizeConfig | None = None
    adapter: Path | None = None
    device: str = "auto"

    def train(self, data: ImageSet, progress: Progress = NULL) -> None:
        """Train the LoRA; does nothing if it is finished, or for the bare base model.

        Parameters
        ----------
        data : ImageSet
            the training images.
        progress : Progress
            receives every training step; may cancel.

        Raises
        ------
        ConfigError
            the file belongs to a stopped run with other images, model or settings.
        Cancelled
            the user stopped; the same call resumes.
        """
        from siren_ext.personalize.run import personalize

        if self.adapter is not None and self.training is not None:
            personalize(  # the run's own file: of another device if it was resumed there
                data,
                self.base,
                self.training,
                self.adapter,
                device=self.device,
                progress=progress,
                force=True,
            )

    def generate(self, progress: Progress = NULL) -> list[Path]:
        """Generate the images that are missing.

        Parameters
        ----------
        progress : Progress
            receives every image; may cancel.

        Returns
        -------
        list[Path]
            all image files of the plan.

        Raises
        ------
        ConfigError
            the folder holds images of another model or plan.
        Cancelled
            the user stopped; the same call resumes.
        """
        from siren_ext.suspects.local import LocalSuspect

        source = LocalSuspect(self.base, self.adapter, device=self.device)
        return generate_images(source, self.plan, self.images, progress=progress)

    def score(self, coater: Coater, file: Path, progress: Progress = NULL) -> ScoreSet:
        """Score the images; scores in ``file`` are read if they are of these images.

        Parameters
        ----------
        coater : Coater
            measures the images.
        file : Path
            JSON file of the scores.
        progress : Progress
            receives every image; may cancel.

        Returns
        -------
        ScoreSet
            one score per image.

        Raises
        ------
        ScoreError
            an image can't be scored.
        Cancelled
            the user stopped; the same call resumes.
        """
        scores = cached_scores(self.images, coater, file, progress=progress)
        if scores.failures:
            name, error = scores.failures[0]
            raise ScoreError(
                f"{len(scores.failures)} images in {self.images} can't be scored, such as {name}: "
                f"{error} Delete the folder to generate them again."
            )
        return scores


def experiment_run(
    model: ExperimentModel,
    data: Callable[[], ImageSet],
    scores: Mapping[Path, Coater],
    log: RunLog,
    label: str,
    progress: Progress = NULL,
) -> list[ScoreSet]:
    """Train a model, generate its images and score them; what is finished is only read.

    Parameters
    ----------
    model : ExperimentModel
        the model and the places of its files.
    data : Callable[[], ImageSet]
        makes or opens the training images; not called for the bare base model.
    scores : Mapping[Path, Coater]
        score files to write, and the coater that measures the images for each.
    log : RunLog
        logs the time of each step.
    label : str
        the model's name in the log.
    progress : Progress
        receives every unit of work; may cancel.

    Returns
    -------
    list[ScoreSet]
        the scores, in the order of ``scores``.

    Raises
    ------
    ConfigError
        a file or folder belongs to another model.
    ScoreError
        an image can't be scored.
    Cancelled
        the user stopped; the same call resumes.
    """
    with log.step(f"train {label}"):
        if model.adapter is not None:
            model.train(data(), progress)
    with log.step(f"generate {label}"):
        model.generate(progress)
    with log.step(f"score {label}"):
        return [model.score(coater, file, progress) for file, coater in scores.items()]


def spread_captions(data: ImageSet, count: int = PROMPTS) -> tuple[str, ...]:
    """Choose captions of a set as the prompts of all models.

    Parameters
    ----------
    data : ImageSet
        at least one image; one without a caption counts as "an image".
    count : int
        how many captions.

    Returns
    -------
    tuple[str, ...]
        at most ``count`` different captions, evenly spread over the set.
    """
    captions = list(dict.fromkeys(data.captions("an image")))
    count = min(count, len(captions))
    return tuple(captions[index * len(captions) // count] for index in range(count))
