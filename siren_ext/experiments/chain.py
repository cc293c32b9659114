"""The models of a study: its set is coated, every model is trained, sampled and scored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import DatasetError
from siren_ext.experiments.layout import Layout
from siren_ext.experiments.study import DetectionConfig, Model, experiment_key, study_prompts
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.progress import Named, Progress
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.suspects.base import PromptPlan
from siren_ext.training.prompts import class_prompt
from siren_ext.workflows.experiment_run import ExperimentModel, experiment_run

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.workflows.run_log import RunLog


@dataclasses.dataclass(frozen=True)
class Chain:
    """Everything that the steps of a study need.

    Attributes
    ----------
    data : ImageSet
        the clean set; only readable images.
    coater : Coater
        the coater that is studied.
    base : str | Path
        the base model.
    class_word : str
        noun for what the images show.
    config : DetectionConfig
        the study's settings.
    training : PersonalizeConfig
        settings of every personalisation, apart from seed and prompt.
    layout : Layout
        where files lie.
    log : RunLog
        logs time and memory.
    device : str
        auto or a torch device name.
    progress : Progress
        receives every step; may cancel.
    """

    data: ImageSet
    coater: Coater
    base: str | Path
    class_word: str
    config: DetectionConfig
    training: PersonalizeConfig
    layout: Layout
    log: RunLog
    device: str
    progress: Progress

    def coat(self) -> CoatManifest:
        """Coat the set, or resume coating it.

        Returns
        -------
        CoatManifest
            an entry per image.

        Raises
        ------
        DatasetError
            an image can't be coated, so guilty and innocent models would differ in their images.
        """
        bits = self.coater.config.message_bits
        with self.log.step("coat"):
            manifest = coat_folder(
                self.data,
                self.coater,
                self.layout.coated,
                CoatConfig(strength=self.config.strength),
                key=experiment_key(self.config.seed, bits) if bits else None,
                progress=self.progress,
            )
        if manifest.failures:
            first = manifest.failures[0]
            raise DatasetError(
                f"{len(manifest.failures)} images can't be coated, such as {first.source}: "
                f"{first.error} A study needs the same images coated and clean; remove them from "
                "the set."
            )
        return manifest

    def original(self, source: str) -> Path:
        """Find the clean file of a coated one.

        Parameters
        ----------
        source : str
            name in the manifest.

        Returns
        -------
        Path
            the clean file.
        """
        return next(item.path for item in self.data.items if item.name == source)

    def run(self, model: Model) -> ScoreSet:
        """Train a model, generate its images and score them; what is finished is only read.

        Parameters
        ----------
        model : Model
            one of the study.

        Returns
        -------
        ScoreSet
            the scores of its images.

        Raises
        ------
        ScoreError
            an image can't be scored.
        Cancelled
            the user stopped; the same call resumes.
        """
        made = ExperimentModel(
            base=self.base,
            plan=PromptPlan(
                prompts=study_prompts(self.data, self.class_word, self.config),
                count=model.images,
                seed=model.noise_seed,
                steps=self.config.sampling_steps,
                guidance=self.config.guidance,
            ),
            images=self.layout.mimicries(model),
            training=self.training_settings(model),
            adapter=self.layout.adapter(model),
            device=self.device,
        )
        return experiment_run(
            made,
            lambda: ImageSet.open(self.layout.coated) if model.role == "guilty" else self.data,
            {self.layout.scores(model): self.coater},
            self.log,
            model.name,
            Named(self.progress, model.name),
        )[0]

    def training_settings(self, model: Model) -> PersonalizeConfig:
        """Settings of a model's personalisation.

        Parameters
        ----------
        model : Model
            one of the study.

        Returns
        -------
        PersonalizeConfig
            trains on the images' captions if all have one, else on the class prompt.
        """
        prompt = self.training.prompt
        if prompt is None and not all(item.caption for item in self.data.items):
            prompt = class_prompt(self.class_word)
        return dataclasses.replace(self.training, seed=model.training_seed, prompt=prompt)
