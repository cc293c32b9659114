"""The models of the study of source attribution: sources, infringing and innocent ones.

A source is a bundled model, fine-tuned on some of the images. Infringing models are LoRAs of the
same bundled model that are trained on a mixture of the source's pictures and of images that no
source has seen, and innocent ones on such images alone. Everything finished is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from siren_ext.attribution.mixtures import build_mixture
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion.load import POCKET, SMALL
from siren_ext.files import atomic
from siren_ext.personalize.config import Method, PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.progress import NULL, Named, Progress
from siren_ext.suspects.base import PromptPlan, generate_images
from siren_ext.suspects.local import LocalSuspect

PARTS, SOURCE_PARTS = 6, 4
"""Images are dealt to six parts: four for sources, two for all other models."""
SHARES = (1.0, 0.7, 0.5, 0.3)
"""rho, as in the paper."""
_PICTURE_SEED = 700_000_000  # far from the seeds of questions and of key images
_PICTURE_STEPS = 10
_RANK, _RATE = 32, 6e-3  # with smaller ones, short trainings teach little of single images
_INNOCENT_SEED, _TRIAL, _OTHER_BASE, _SEEDS_PER_SOURCE = 100, 2000, 4000, 10_000


@dataclass(frozen=True)
class SourceKind:
    """How a source was made.

    Attributes
    ----------
    name : str
        Of its files.
    part : int
        The part of the images that it was trained on, from 0 on.
    method : str
        ``lora``, or ``full`` to train all weights.
    seed : int
        Of its training.
    rate : float
        Learning rate.
    base : str
        The bundled model that it and the models that are asked about it were trained from.
    """

    name: str
    part: int
    seed: int
    method: Method = "lora"
    rate: float = 2e-3
    base: str = POCKET

    @property
    def other_base(self) -> bool:
        """Whether its base model is the second one, which has models of other names."""
        return self.base != POCKET


SOURCES = {
    kind.name: kind
    for kind in (
        SourceKind("first", 3, 1),
        SourceKind("second", 0, 2),
        SourceKind("full", 1, 3, "full", 5e-4),
        SourceKind("small_first", 3, 4, base=SMALL),
        SourceKind("small_second", 0, 5, base=SMALL),
        SourceKind("small_full", 1, 6, "full", 5e-4, SMALL),
    )
}
"""All sources: LoRAs of two sets of images, and all weights trained on a third set, of each of the
two bundled models."""


@dataclass(frozen=True)
class Length:
    """How much is computed.

    Attributes
    ----------
    sources : tuple of str
        Names of the sources that are reported.
    each, innocent : int
        Infringing models for every rho and source, and innocent models, which serve all sources.
    source_steps, steps : int
        Training steps of a source and of each other model.
    source_batch, batch : int
        Images of a training step of each.
    images : int
        Training images of every model.
    shares : tuple of float
        rho of infringing models.
    """

    sources: tuple[str, ...]
    each: int
    innocent: int
    source_steps: int
    steps: int
    source_batch: int
    batch: int
    images: int = 16
    shares: tuple[float, ...] = SHARES

    @property
    def needed(self) -> int:
        """Images that the parts need in all."""
        return PARTS * self.images

    @property
    def training(self) -> dict[str, int]:
        """What models depend on; there may be more of them in a later call."""
        names = ("source_steps", "steps", "source_batch", "batch", "images")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class SourceModels:
    """A source and the models that are asked about it, trained when needed.

    Attributes
    ----------
    kind : SourceKind
        The source.
    data : ImageSet
        All images of the study, with captions.
    out : Path
        Folder of the study.
    length : Length
        How much is computed.
    progress : Progress
        Receives every step; may cancel.
    trial : bool
        Whether the models are those with which the settings are chosen. They have other names and
        seeds than those that are reported on; the source is the same.
    """

    kind: SourceKind
    data: ImageSet
    out: Path
    length: Length
    progress: Progress = NULL
    trial: bool = False

    @cached_property
    def own(self) -> ImageSet:
        """Training images of the source."""
        items = self.data.items[self.kind.part :: PARTS][: self.length.images]
        return replace(self.data, items=tuple(items))

    @cached_property
    def others(self) -> ImageSet:
        """Images that no source has seen."""
        rows = enumerate(self.data.items)
        return replace(
            self.data, items=tuple(item for row, item in rows if row % PARTS >= SOURCE_PARTS)
        )

    def suspect(self, name: str, data: ImageSet, training: PersonalizeConfig) -> LocalSuspect:
        """A personalised model, trained if it does not exist.

        Parameters
        ----------
        name : str
            Of its file or folder.
        data : ImageSet
            Its training images.
        training : PersonalizeConfig
            How it is trained.
        """
        progress = Named(self.progress, name)
        if training.method == "full":
            folder = self.out / "models" / name
            personalize(data, self.kind.base, training, folder, progress=progress)
            return LocalSuspect(folder)
        file = self.out / "models" / f"{name}.safetensors"
        personalize(data, self.kind.base, training, file, progress=progress)
        return LocalSuspect(self.kind.base, file)

    def lora(self, seed: int) -> PersonalizeConfig:
        """How infringing and innocent models are trained.

        Parameters
        ----------
        seed : int
            Of the training.
        """
        return _training(seed, self.length.steps, self.length.batch, rank=_RANK, rate=_RATE)

    @cached_property
    def source(self) -> LocalSuspect:
        """The source."""
        training = _training(
            self.kind.seed,
            self.length.source_steps,
            self.length.source_batch,
            rank=_RANK,
            rate=self.kind.rate,
        )
        if self.kind.method == "full":
            training = replace(training, method="full")
        return self.suspect(self.kind.name, self.own, training)

    @cached_property
    def made(self) -> ImageSet:
        """Pictures of the source with its own captions: what infringers take."""
        folder, captions = self.out / "made" / self.kind.name, tuple(self.own.captions())
        plan = PromptPlan(captions, len(captions), _PICTURE_SEED, steps=_PICTURE_STEPS)
        for number, file in enumerate(generate_images(self.source, plan, folder)):
            with atomic(file.with_suffix(".txt")) as temporary:
                temporary.write_text(plan.prompt(number), encoding="utf-8")
        self.source.release()
        return ImageSet.from_folder(folder)

    @cached_property
    def shares(self) -> dict[str, float]:
        """rho of every model but the source; 0 for innocent ones."""
        prefix = "trial_" if self.trial else ""
        others = prefix + "small_" * self.kind.other_base
        found = {
            f"{prefix}{self.kind.name}_rho{100 * share:.0f}_{number}": share
            for share in self.length.shares
            for number in range(self.length.each)
        }
        return found | {f"{others}innocent_{number}": 0.0 for number in range(self.length.innocent)}

    @property
    def first_seed(self) -> int:
        """Seeds of infringing models are from here on."""
        place = self.kind.part + PARTS * self.kind.other_base
        return _SEEDS_PER_SOURCE * (1 + place) + _TRIAL * self.trial

    def seed(self, name: str) -> int:
        """Training seed of a model.

        Parameters
        ----------
        name : str
            As in ``shares``.
        """
        share, number = self.shares[name], int(name.rpartition("_")[2])
        if share:
            return self.first_seed + round(100 * share) + 100 * number
        base = _INNOCENT_SEED + _OTHER_BASE * self.kind.other_base
        return base + number + _TRIAL * self.trial

    def model(self, name: str) -> LocalSuspect:
        """One of the models, trained if it does not exist.

        Parameters
        ----------
        name : str
            As in ``shares``.
        """
        share, seed = self.shares[name], self.seed(name)
        made = self.made if share else self.others
        folder = self.out / "sets" / name
        mixture = build_mixture(made, self.others, self.length.images, share, folder, seed=seed)
        return self.suspect(name, mixture, self.lora(seed))


def _training(seed: int, steps: int, batch: int, *, rank: int, rate: float) -> PersonalizeConfig:
    return PersonalizeConfig(
        steps=steps,
        batch_size=batch,
        rank=rank,
        alpha=float(rank),
        conv_rank=0,
        learning_rate=rate,
        flip=False,
        seed=seed,
    )
