"""A model of the panel: trained, asked for images, scored by both coaters, and cleared away."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import DatasetError
from siren_ext.experiments.panel_roster import OWN, Coating, PanelConfig, Panelist, roster, theme
from siren_ext.experiments.study import DetectionConfig, StudyLog, experiment_key, study_prompts
from siren_ext.progress import Named, Progress
from siren_ext.scoring.score import score_folder
from siren_ext.training.prompts import class_prompt

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.personalize.config import PersonalizeConfig


@dataclasses.dataclass(frozen=True)
class Panel:
    """What every model of the panel needs.

    Attributes
    ----------
    data : ImageSet
        the owner's clean set; only images that can be read.
    others : Mapping[str, ImageSet]
        other people's sets by name.
    coaters : Mapping[Coating, Coater]
        by coating; ``unkeyed`` always, ``keyed`` perhaps.
    base : str | Path
        the model that is personalised.
    class_word : str
        the noun for what the owner's images show.
    config : PanelConfig
        the panel's settings.
    training : PersonalizeConfig
        of all personalisations, but for what a model has of its own.
    out : Path
        where everything lies.
    log : StudyLog
        log of time and memory.
    keep : bool
        whether images and adapters stay.
    device : str
        auto or a torch device name.
    progress : Progress
        told of every step.
    """

    data: ImageSet
    others: Mapping[str, ImageSet]
    coaters: Mapping[Coating, Coater]
    base: str | Path
    class_word: str
    config: PanelConfig
    training: PersonalizeConfig
    out: Path
    log: StudyLog
    keep: bool
    device: str
    progress: Progress

    def key(self) -> CoatingKey:
        """The owner's key."""
        return experiment_key(self.config.seed, self.coaters["keyed"].config.message_bits)

    def scores(self, model: Panelist, coating: Coating) -> Path:
        """Where a model's scores by a coater lie."""
        return self.out / "scores" / f"{model.name}.{coating}.json"

    def done(self, model: Panelist) -> bool:
        """Whether a model has all its scores."""
        return all(self.scores(model, coating).is_file() for coating in self.coaters)

    def run(self, model: Panelist) -> None:
        """Train, ask and score one model, unless that is done; then clear up."""
        if self.done(model):
            return
        progress = Named(self.progress, model.name)
        images = self.out / "work" / model.name / "images"
        with self.log.step(f"train {model.kind}"):
            adapter = self._adapter(model, progress)
        with self.log.step(f"generate {model.kind}"):
            self._generate(model, adapter, images, progress)
        with self.log.step("score"):
            for coating, coater in self.coaters.items():
                score_folder(images, coater, progress=progress).save(self.scores(model, coating))
        if not self.keep:
            shutil.rmtree(images.parent)

    def _adapter(self, model: Panelist, progress: Progress) -> Path | None:
        """The model's LoRA, trained unless it is there; None for the bare base model."""
        from siren_ext.personalize.run import personalize

        if not model.data:
            return None
        owner = model
        if model.shares_with:
            models = roster(self.config, list(self.others), keyed="keyed" in self.coaters)
            owner = next(other for other in models if other.name == model.shares_with)
        data, prompt = self._set(owner, progress)
        settings: dict[str, Any] = {
            "steps": self.config.steps,
            "prompt": prompt,
            "seed": owner.training_seed(self.config),
            **owner.training,
        }
        place = self.out / "adapters" if self._shared(owner) else self.out / "work" / owner.name
        adapter = place / f"{owner.name}.safetensors"
        training = dataclasses.replace(self.training, **settings)
        personalize(data, self.base, training, adapter, device=self.device, progress=progress)
        return adapter

    @staticmethod
    def _shared(model: Panelist) -> bool:
        return model.name == "clean_0"

    def _set(self, model: Panelist, progress: Progress) -> tuple[ImageSet, str | None]:
        """The images that a model is trained on, and one prompt for all where captions lack."""
        data = self.data
        if model.coating:
            data = self._coated(model, progress)
        elif theme(model.data):
            data = self._drawn(model, progress)
        elif model.data != OWN:
            data = self.others[model.data]
        if all(item.caption for item in data.items):
            return data, None
        words = self.class_word if model.data == OWN else model.data
        return data, theme(model.data) or class_prompt(words)

    def _coated(self, model: Panelist, progress: Progress) -> ImageSet:
        from siren_ext.coating.folder import coat_folder
        from siren_ext.coating.manifest import CoatConfig

        out = self.out / "sets" / f"{model.coating}_{100 * model.share:.0f}"
        manifest = coat_folder(
            self.data,
            self.coaters[model.coating],
            out,
            CoatConfig(share=model.share, seed=self.config.seed),
            key=self.key() if model.coating == "keyed" else None,
            progress=progress,
        )
        if manifest.failures:
            first = manifest.failures[0]
            raise DatasetError(f"{first.source} can't be coated: {first.error} Take it out.")
        return ImageSet.open(out)

    def _drawn(self, model: Panelist, progress: Progress) -> ImageSet:
        """A set that the base model draws under one prompt."""
        from siren_ext.suspects.base import PromptPlan, generate_images
        from siren_ext.suspects.local import LocalSuspect

        out = self.out / "sets" / model.data.replace(" ", "_")
        plan = PromptPlan(
            prompts=(theme(model.data) or "",),
            count=self.config.theme_images,
            seed=model.noise_seed(self.config) + 500_000,
            steps=self.config.sampling_steps,
            guidance=self.config.guidance,
        )
        generate_images(LocalSuspect(self.base, device=self.device), plan, out, progress=progress)
        return ImageSet.open(out)

    def _generate(
        self, model: Panelist, adapter: Path | None, images: Path, progress: Progress
    ) -> None:
        from siren_ext.suspects.base import PromptPlan, generate_images
        from siren_ext.suspects.local import LocalSuspect

        prompts = study_prompts(
            self.data, self.class_word, DetectionConfig(prompt_count=self.config.prompt_count)
        )
        reference = model.kind == "reference"
        settings: dict[str, Any] = {
            "prompts": prompts,
            "count": self.config.reference if reference else self.config.images,
            "seed": model.noise_seed(self.config),
            "steps": self.config.sampling_steps,
            "guidance": self.config.guidance,
            **model.sampling,
        }
        source = LocalSuspect(self.base, adapter, device=self.device)
        generate_images(source, PromptPlan(**settings), images, progress=progress)
