"""What the paper's tables need where an attacker trains: unlearning, and networks that uncoat."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.adapters.read import read_summary
from siren_ext.attacks.apply import Step
from siren_ext.attacks.augment import AugmentConfig, augmented
from siren_ext.attacks.uncoat_training import UncoatConfig, train_uncoater
from siren_ext.attacks.unlearning import (
    UnlearnConfig,
    isolated_images,
    isolation_quality,
    unlearn,
)
from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import ConfigError
from siren_ext.experiments.paper_cells import digest
from siren_ext.experiments.rows import given
from siren_ext.experiments.study import coated_set
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.run import personalize
from siren_ext.progress import Progress

RATE = "isolation_rate"
"""Setting of a training that also unlearns."""
AUGMENT = "augment"
"""Setting of a training whose images are handled afresh at each step."""
UNCOATING = UncoatConfig(width=16, epochs=125, learning_rate=5e-4)
"""A network that a CPU trains in half an hour from 200 images.

A quarter of the channels and epochs of the paper's, at five times the learning rate.
"""
QUICK_UNCOATING = UncoatConfig(width=8, epochs=20, learning_rate=1e-3)
"""Minutes: too little for figures to be quoted."""


def training_of(settings: Mapping[str, Any]) -> PersonalizeConfig:
    """Settings of a training, which may also say what is unlearnt, or done at each step.

    Parameters
    ----------
    settings : Mapping[str, Any]
        Of :class:`PersonalizeConfig`, :class:`UnlearnConfig` or :class:`AugmentConfig`.

    Returns
    -------
    PersonalizeConfig
        Of the kind that has all of them.

    Raises
    ------
    ConfigError
        If a setting is unknown or its value does not fit.
    """
    if AUGMENT in settings:
        return AugmentConfig.from_dict(settings)
    return (UnlearnConfig if RATE in settings else PersonalizeConfig).from_dict(settings)


def train_model(
    images: ImageSet, base: str, settings: Mapping[str, Any], path: Path, progress: Progress
) -> None:
    """Personalise a model in the way that the settings say.

    Parameters
    ----------
    images : ImageSet
        The training images.
    base : str
        The base model.
    settings : Mapping[str, Any]
        As for :func:`training_of`.
    path : Path
        What to write.
    progress : Progress
        One unit per step; may cancel.
    """
    match training_of(settings):
        case AugmentConfig() as config:
            augmented(images, base, config, path, progress=progress)
        case UnlearnConfig() as config:
            unlearn(images, base, config, path, progress=progress)
        case config:
            personalize(images, base, config, path, progress=progress)


def isolation_figures(path: Path, coated: Collection[int]) -> dict[str, float]:
    """How well the unlearnt images of a model are the coated ones.

    Parameters
    ----------
    path : Path
        The model's file.
    coated : collection of int
        Places of the coated images among its training images.

    Returns
    -------
    dict
        ``isolated``, ``precision`` and ``recall``; NaN where there is nothing to divide by.
    """
    found = isolation_quality(isolated_images(read_summary(path)), coated)
    return {
        "isolated": found.isolated, "precision": found.precision, "recall": found.recall,
    }  # fmt: skip


@dataclass(frozen=True)
class Uncoating:
    """Somebody with clean images, who has them coated and learns to undo it.

    Attributes
    ----------
    own : ImageSet
        The owner's clean images.
    others : ImageSet | None
        Other people's images.
    coater : Coater
        The owner's coater.
    other_coater : Coater | None
        Another one.
    config : UncoatConfig
        Shape and training of the network. ``size`` becomes that of the pictures to clean.
    out : Path
        Folder of the study.
    progress : Progress
        Receives every step; may cancel.
    """

    own: ImageSet
    others: ImageSet | None
    coater: Coater
    other_coater: Coater | None
    config: UncoatConfig
    out: Path
    progress: Progress

    def step(self, kind: str, pictures: Path) -> tuple[Step, str]:
        """The attack on a folder of pictures; the network is trained unless it exists.

        Parameters
        ----------
        kind : {"coater", "key", "own", "half"}
            Other people's images are coated by another coater, by the owner's with another key, or
            by the owner's with the owner's key, which no outsider has; or half of the owner's
            images by another coater.
        pictures : Path
            The folder.

        Returns
        -------
        step : Step
            The attack.
        name : str
            Stands for the network.

        Raises
        ------
        ConfigError
            If other people's images or another coater are missing.
        """
        images = self.others
        if kind == "half":
            images = replace(self.own, items=self.own.items[::2])
        if images is None:
            raise ConfigError("This row needs other people's images: give a folder with --others.")
        coater = self.coater if kind in ("key", "own") else self.other_coater
        if coater is None:
            raise ConfigError("This row needs another coater: name one with --other-coater.")
        seed = 1 if kind == "key" else 0
        first = read_picture(ImageSet.open(pictures).items[0].path).rgb
        config = replace(self.config, size=min(to_tensor(first).shape[2:]))
        coated = self._coated(images, coater, seed)
        name = digest(images.hash, coater.fingerprint, seed, config.to_dict())
        path = self.out / "uncoating" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        train_uncoater(coated, images, config, path, progress=self.progress)
        return Step("uncoat", {"file": str(path)}), name

    def _coated(self, images: ImageSet, coater: Coater, seed: int) -> ImageSet:
        """Their coated images, made unless they are complete."""
        folder = self.out / "coated" / digest("others", images.hash, coater.fingerprint, seed)
        return coated_set(images, coater, folder, self.progress, seed=seed)


def notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines below a table: which images were isolated.

    Parameters
    ----------
    rows : sequence of dict
        Of one table and set.
    """
    lines = []
    for row in dict.fromkeys(str(one["row"]) for one in rows):
        own = [one for one in rows if one["row"] == row and one["role"] == "guilty"]
        if precision := given(own, "precision"):
            share, hits = (f"{100 * float(np.mean(x)):.0f} %"
                           for x in (precision, given(own, "recall")))  # fmt: skip
            lines.append(f"- {row}: {share} of the isolated images are coated, and {hits} of the "
                         "coated images are isolated.")  # fmt: skip
    return [*lines, ""] if lines else []
