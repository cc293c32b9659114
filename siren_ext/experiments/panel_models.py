"""A model of the panel: trained, sampled, scored by all coaters, and deleted again."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import DatasetError
from siren_ext.experiments.panel_roster import OWN, Coating, PanelConfig, Panelist, roster, theme
from siren_ext.experiments.study import DetectionConfig, experiment_key, study_prompts
from siren_ext.progress import Named, Progress
from siren_ext.suspects.base import PromptPlan, generate_images
from siren_ext.training.prompts import class_prompt
from siren_ext.workflows.experiment_run import ExperimentModel, experiment_run

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.workflows.run_log import RunLog


@dataclasses.dataclass(frozen=True)
class Panel:
    """Everything that the models of the panel need.

    Attributes
    ----------
    data : ImageSet
        the owner's clean set; only readable images.
    others : Mapping[str, ImageSet]
        other people's sets by name.
    coaters : Mapping[Coating, Coater]
        by coating; ``unkeyed`` always, ``keyed`` if the keyed test is on the panel.
    base : str | Path
        the base model.
    class_word : str
        noun for what the owner's images show.
    config : PanelConfig
        the panel's settings.
    training : PersonalizeConfig
        of all personalisations, except where a model has settings of its own.
    out : Path
        folder of the panel.
    log : RunLog
        logs time and memory.
    keep : bool
        whether images and adapters are kept.
    device : str
        auto or a torch device name.
    progress : Progress
        receives every step; may cancel.
    """

    data: ImageSet
    others: Mapping[str, ImageSet]
    coaters: Mapping[Coating, Coater]
    base: str | Path
    class_word: str
    config: PanelConfig
    training: PersonalizeConfig
    out: Path
    log: RunLog
    keep: bool
    device: str
    progress: Progress

    def key(self) -> CoatingKey:
        """The owner's key.

        Returns
        -------
        CoatingKey
            for the keyed coater, which must be on the panel.
        """
        return experiment_key(self.config.seed, self.coaters["keyed"].config.message_bits)

    def scores(self, model: Panelist, coating: Coating) -> Path:
        """The file of a model's scores.

        Parameters
        ----------
        model : Panelist
            one of the panel.
        coating : Coating
            which coater measured them.

        Returns
        -------
        Path
            it exists once the model is finished.
        """
        return self.out / "scores" / f"{model.name}.{coating}.json"

    def done(self, model: Panelist) -> bool:
        """Whether a model is finished.

        Parameters
        ----------
        model : Panelist
            one of the panel.

        Returns
        -------
        bool
            whether all its score files exist.
        """
        return all(self.scores(model, coating).is_file() for coating in self.coaters)

    def run(self, model: Panelist) -> None:
        """Train, sample and score a model unless it is finished; then delete its images.

        Parameters
        ----------
        model : Panelist
            one of the panel.

        Raises
        ------
        DatasetError
            an image can't be coated.
        ScoreError
            an image can't be scored.
        Cancelled
            the user stopped; the same call resumes.
        """
        if self.done(model):
            return
        progress = Named(self.progress, model.name)
        work = self.out / "work" / model.name
        owner = self._owner(model)
        made = ExperimentModel(
            base=self.base,
            plan=self._plan(model),
            images=work / "images",
            training=self._training(owner) if owner.data else None,
            adapter=self._adapter(owner) if owner.data else None,
            device=self.device,
        )
        experiment_run(
            made,
            lambda: self._images(owner, progress),
            {self.scores(model, coating): coater for coating, coater in self.coaters.items()},
            self.log,
            model.kind,
            progress,
        )
        if not self.keep:
            shutil.rmtree(work)

    def _owner(self, model: Panelist) -> Panelist:
        """The model whose adapter this one uses: itself or another one."""
        if not model.shares_with:
            return model
        models = roster(self.config, list(self.others), keyed="keyed" in self.coaters)
        return next(other for other in models if other.name == model.shares_with)

    def _adapter(self, owner: Panelist) -> Path:
        shared = owner.name == "clean_0"
        folder = self.out / "adapters" if shared else self.out / "work" / owner.name
        return folder / f"{owner.name}.safetensors"

    def _training(self, owner: Panelist) -> PersonalizeConfig:
        settings: dict[str, Any] = {
            "steps": self.config.steps,
            "prompt": self._caption(owner),
            "seed": owner.training_seed(self.config),
            **owner.training,
        }
        return dataclasses.replace(self.training, **settings)

    def _caption(self, owner: Panelist) -> str | None:
        """One caption for all training images unless each has its own."""
        if (prompt := theme(owner.data)) is not None:
            return prompt
        data = self.data if owner.data == OWN else self.others[owner.data]
        if all(item.caption for item in data.items):
            return None
        return class_prompt(self.class_word if owner.data == OWN else owner.data)

    def _images(self, owner: Panelist, progress: Progress) -> ImageSet:
        """The training images of a model."""
        if owner.coating:
            return self._coated(owner, progress)
        if theme(owner.data) is not None:
            return self._drawn(owner, progress)
        return self.data if owner.data == OWN else self.others[owner.data]

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
            raise DatasetError(
                f"{first.source} can't be coated: {first.error} Remove it from the set."
            )
        return ImageSet.open(out)

    def _drawn(self, model: Panelist, progress: Progress) -> ImageSet:
        """A set that the base model generates with one prompt."""
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

    def _plan(self, model: Panelist) -> PromptPlan:
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
        return PromptPlan(**settings)
