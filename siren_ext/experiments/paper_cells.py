"""Rows of the paper's tables: how a model was made and asked, and its pictures changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from siren_ext.attacks.apply import Step
from siren_ext.config import Config
from siren_ext.data.dataset import ImageSet, Item

NOISES = 1_000_000
"""Seeds of pictures that every model has."""
SEEDS = 1000
"""Seeds of models that every role has."""
_ROLES = {"reference": 1, "innocent": 2, "guilty": 3}
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class PaperConfig(Config):
    """How much a study of the paper's tables makes.

    Attributes
    ----------
    seeds : int
        Guilty models of every row.
    innocents : int
        Innocent ones.
    first : int
        Number of the first model of both; those before it were measured elsewhere.
    steps : int
        Training steps, for methods with a setting of their own too.
    mimicries, reference : int
        Pictures of a suspicious model, and of the reference.
    size, against : int
        Of one KS test: pictures of each, drawn anew for every repetition.
    repeats : int
        Tests per model.
    sampling_steps, guidance : int, float
        Of the pictures, where a row has no other.
    file : bool
        Also ask the files of models (:mod:`siren_ext.preference.measure`), where nothing but the
        model matters.
    """

    seeds: Annotated[int, Meta(ge=1, le=100)] = 3
    innocents: Annotated[int, Meta(ge=1, le=100)] = 3
    first: Annotated[int, Meta(ge=0, le=99)] = 0
    steps: Annotated[int, Meta(ge=1, le=1_000_000)] = 400
    mimicries: Annotated[int, Meta(ge=1, le=NOISES)] = 150
    reference: Annotated[int, Meta(ge=1, le=NOISES)] = 300
    size: Annotated[int, Meta(ge=1, le=NOISES)] = 30
    against: Annotated[int, Meta(ge=1, le=NOISES)] = 100
    repeats: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    sampling_steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    guidance: Annotated[float, Meta(ge=0, le=100)] = 3.0
    file: bool = True

    def numbers(self, role: str) -> range:
        """Numbers of a row's models that are ``guilty`` or ``innocent``."""
        return range(self.first, self.seeds if role == "guilty" else self.innocents)


QUICK = PaperConfig(
    seeds=1, innocents=1, steps=150, mimicries=40, reference=100, repeats=2000, sampling_steps=10
)
"""Minutes for a row: too little training and too few pictures for figures to be quoted."""


@dataclass(frozen=True)
class Made:
    """How a suspicious model was made.

    Attributes
    ----------
    share : float
        Share of the training images that are coated; the rest are the clean originals.
    images : int
        Training images, drawn from the set; 0 for all.
    handling : tuple of Step
        What happened to all training images.
    training : Mapping[str, Any]
        Settings of :class:`~siren_ext.personalize.config.PersonalizeConfig` that differ from the
        study's.
    weights : str
        What happened to the file of the adapter: an attack on weights, or nothing.
    trigger : str
        Added to the captions of coated images; nobody who asks the model knows it.
    further : int
        Steps for which the finished model was then trained on other people's images.
    base : str
        The base model that it was trained from; empty for that of the study.
    few_steps : bool
        The adapter with which the bundled model draws in a few steps was merged afterwards.
    strength : float
        At which the adapter is merged.
    """

    share: float = 1.0
    images: int = 0
    handling: tuple[Step, ...] = ()
    training: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    weights: str = ""
    trigger: str = ""
    further: int = 0
    base: str = ""
    few_steps: bool = False
    strength: float = 1.0

    def to_plain(self) -> dict[str, Any]:
        """Plain values, of which equal ones are trained once for a base model."""
        return {
            "share": self.share,
            "images": self.images,
            "handling": [[step.name, dict(step.settings)] for step in self.handling],
            "training": dict(self.training),
            "weights": self.weights,
            "trigger": self.trigger,
            "further": self.further,
            **({"few_steps": True} if self.few_steps else {}),
            **({"strength": self.strength} if self.strength != 1 else {}),
        }


@dataclass(frozen=True)
class Fitted:
    """How a row's own coater is trained.

    Attributes
    ----------
    training : Mapping[str, Any]
        Settings of :class:`~siren_ext.training.config.TrainConfig` that differ from the preset
        ``default``.
    shape : Mapping[str, Any]
        Settings of :class:`~siren_ext.coater.config.CoaterConfig`, for a new coater.
    start : bool
        The bundled start is adapted; otherwise the coater is a new one.
    """

    training: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    shape: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    start: bool = True


@dataclass(frozen=True)
class Cell:
    """A row of a table.

    Attributes
    ----------
    row : str
        Its name.
    made : Made
        How the suspicious model was made.
    asked : Mapping[str, Any]
        Settings of :class:`~siren_ext.suspects.base.PromptPlan` that differ from the study's, for
        all models, because whoever tests a model chooses how it is asked. The prompt ``class``
        stands for "an image of" the class word.
    after : tuple of Step
        What happened to the suspicious model's pictures before they were tested.
    uncoat : str
        Whose coating a network then removed from them, see
        :meth:`~siren_ext.experiments.paper_attacks.Uncoating.step`; empty for none.
    alike : bool
        The reference is personalised in the same way. Otherwise it is a LoRA; but a word that one
        model has learnt says nothing to the other.
    quality : bool
        How good the pictures are is measured, and not whether they are accused.
    fitted : Fitted | None
        The row has a coater of its own, without a key; None for that of the study.
    paper : str
        What the paper reports, or "lost" if its text was not available.
    matched : bool
        The reference's pictures are changed like the suspicious model's, as by a tester who has
        noticed the change.
    """

    row: str
    made: Made = Made()
    asked: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    after: tuple[Step, ...] = ()
    uncoat: str = ""
    alike: bool = False
    quality: bool = False
    fitted: Fitted | None = None
    paper: str = "lost"
    matched: bool = False

    @property
    def needs_others(self) -> bool:
        """Whether somebody trains on images of their own."""
        return self.made.further > 0 or self.uncoat not in ("", "half")

    @property
    def clean(self) -> Cell:
        """How the reference is made and asked, and its pictures changed."""
        made = self.made if self.alike else Made()
        return Cell("", made, self.asked, self.after if self.matched else ())


@dataclass(frozen=True)
class PaperTable:
    """A table or figure of the paper.

    Attributes
    ----------
    title : str
        What it is about.
    reported : str
        What the paper says, in a sentence.
    cells : tuple of Cell
        What the study measures.
    elsewhere : str
        Markdown that names the page where it is measured, if not here.
    missing : tuple of (str, str)
        Rows that are not measured, and why.
    difference : str
        How the figures differ from the paper's, and why, in Markdown; stands below the table.
    about : tuple of str
        The rows that ``difference`` speaks of; all of them if empty.
    """

    title: str
    reported: str
    cells: tuple[Cell, ...] = ()
    elsewhere: str = ""
    missing: tuple[tuple[str, str], ...] = ()
    difference: str = ""
    about: tuple[str, ...] = ()


def mixture(count: int, made: Made, seed: int) -> tuple[list[int], set[int]]:
    """Which images of a set a model is trained on, and which of these are coated.

    Parameters
    ----------
    count : int
        Images of the set.
    made : Made
        How the model is made.
    seed : int
        Its training seed.

    Returns
    -------
    used : list of int
        Places in the set, in rising order.
    coated : set of int
        Those of them that are coated.
    """
    order = np.random.default_rng((seed, 3)).permutation(count)
    used = sorted(order[: made.images or count].tolist())
    mixed = np.random.default_rng((seed, 4)).permutation(used)
    return used, set(mixed[: round(made.share * len(used))].tolist())


def digest(*parts: Any) -> str:
    """Sixteen hexadecimal digits that belong to plain values.

    Parameters
    ----------
    parts
        Values that JSON can hold.
    """
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seed_of(role: str, number: int) -> int:
    """The training seed of a model; models of equal training differ in it at least.

    Parameters
    ----------
    role : {"guilty", "innocent", "reference"}
        What it is trained on.
    number : int
        Which of those that differ in nothing else.
    """
    return SEEDS * _ROLES[role] + number


def with_trigger(item: Item, trigger: str) -> Item:
    """An image whose caption ends with a trigger.

    Parameters
    ----------
    item : Item
        The image.
    trigger : str
        The text; may be empty.
    """
    return replace(item, caption=(item.caption or "") + trigger)


def with_word(data: ImageSet, made: Made) -> ImageSet:
    """The images as a model is asked about them: with its new word in the captions, if it has one.

    Parameters
    ----------
    data : ImageSet
        The images.
    made : Made
        How the model was made.
    """
    if not made.training.get("token"):
        return data
    items = tuple(replace(item, caption=made.training.get("prompt")) for item in data.items)
    return replace(data, items=items)
