"""The models of a study: trained, asked for images and scored through the public functions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import DatasetError, ScoreError
from siren_ext.experiments.study import (
    DetectionConfig,
    Layout,
    Model,
    StudyLog,
    experiment_key,
    study_prompts,
)
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.progress import Named, Progress
from siren_ext.scoring.score import PROVENANCE, score_folder
from siren_ext.scoring.score_set import ScoreSet, read_json
from siren_ext.suspects.base import PromptPlan, generate_images
from siren_ext.suspects.local import LocalSuspect
from siren_ext.training.prompts import class_prompt

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater


@dataclasses.dataclass(frozen=True)
class Chain:
    """What every stage of a study needs.

    Attributes
    ----------
    data : ImageSet
        the clean set; only images that can be read.
    coater : Coater
        under study.
    base : str | Path
        the model that is personalised.
    class_word : str
        the noun for what the images show.
    config : DetectionConfig
        the study's settings.
    training : PersonalizeConfig
        settings of every personalisation, apart from seed and prompt.
    layout : Layout
        where things lie.
    log : StudyLog
        log of time and memory.
    device : str
        auto or a torch device name.
    progress : Progress
        told of every step.
    """

    data: ImageSet
    coater: Coater
    base: str | Path
    class_word: str
    config: DetectionConfig
    training: PersonalizeConfig
    layout: Layout
    log: StudyLog
    device: str
    progress: Progress

    def coat(self) -> CoatManifest:
        """Coat the set, or go on with it.

        Raises
        ------
        DatasetError
            an image could not be coated, so that guilty and innocent models would
            not be trained on the same images.
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
                f"{len(manifest.failures)} images could not be coated, such as {first.source}: "
                f"{first.error} A study needs the same images coated and clean; take them out of "
                "the set."
            )
        return manifest

    def original(self, source: str) -> Path:
        """The file behind a source name of the manifest."""
        return next(item.path for item in self.data.items if item.name == source)

    def run(self, model: Model) -> ScoreSet:
        """Train a model, make its images and score them; what is finished is only read."""
        progress = Named(self.progress, model.name)
        with self.log.step(f"train {model.name}"):
            self._train(model, progress)
        with self.log.step(f"generate {model.name}"):
            self._generate(model, progress)
        with self.log.step(f"score {model.name}"):
            return self._score(model, progress)

    def training_settings(self, model: Model) -> PersonalizeConfig:
        """Captions where every image has one, else the class prompt for all."""
        prompt = self.training.prompt
        if prompt is None and not all(item.caption for item in self.data.items):
            prompt = class_prompt(self.class_word)
        return dataclasses.replace(self.training, seed=model.training_seed, prompt=prompt)

    def _train(self, model: Model, progress: Progress) -> None:
        images = ImageSet.open(self.layout.coated) if model.role == "guilty" else self.data
        personalize(
            images,
            self.base,
            self.training_settings(model),
            self.layout.adapter(model),
            device=self.device,
            progress=progress,
        )

    def _generate(self, model: Model, progress: Progress) -> None:
        plan = PromptPlan(
            prompts=study_prompts(self.data, self.class_word, self.config),
            count=model.images,
            seed=model.noise_seed,
            steps=self.config.sampling_steps,
            guidance=self.config.guidance,
        )
        source = LocalSuspect(self.base, self.layout.adapter(model), device=self.device)
        generate_images(source, plan, self.layout.mimicries(model), progress=progress)

    def _score(self, model: Model, progress: Progress) -> ScoreSet:
        folder, path = self.layout.mimicries(model), self.layout.scores(model)
        if path.exists():
            try:
                stored = ScoreSet.load(path)
            except ScoreError:
                pass  # damaged: scored anew
            else:
                if stored.coater == self.coater.fingerprint and self._describes(stored, folder):
                    return stored
        scores = score_folder(folder, self.coater, progress=progress)
        if scores.failures:
            name, error = scores.failures[0]
            raise ScoreError(
                f"{len(scores.failures)} of the images of {model.name} can't be scored, such as "
                f"{name}: {error} Delete {folder} to make them again."
            )
        scores.save(path)
        return scores

    @staticmethod
    def _describes(stored: ScoreSet, folder: Path) -> bool:
        """Whether scores were made from what lies in the folder now."""
        now: Any = read_json(folder / PROVENANCE)
        return bool(stored.source.get("provenance") == now)
