"""The models of the passive study: who was trained on what, and on which images it is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from siren_ext.config import Config
from siren_ext.errors import ConfigError

Kind = Literal["base", "guilty", "innocent"]

TRAINED = (20, 50, 100, 200)
"""Images that guilty models are trained on, fewer where a set is too small."""
STEPS = (100, 200, 500)
RANKS = (8, 16, 32)
_INNOCENT_IMAGES = (20, 32, 40)
_FEWEST = 40


@dataclasses.dataclass(frozen=True)
class PassiveStudyConfig(Config):
    """How large the passive study is.

    Attributes
    ----------
    guilty, innocent : int
        Models of each kind.
    pool : int
        Largest number of images of a set that models are asked about and trained on.
    learning_rate : float
        Of all trainings; the other settings are those of ``siren-ext personalize``.
    seed : int
        Random seed of the whole study.
    """

    guilty: Annotated[int, Meta(ge=0, le=10_000)] = 24
    innocent: Annotated[int, Meta(ge=0, le=10_000)] = 48
    pool: Annotated[int, Meta(ge=_FEWEST, le=100_000)] = 440
    learning_rate: Annotated[float, Meta(ge=0.0, le=1.0)] = 5e-4
    seed: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


@dataclasses.dataclass(frozen=True)
class Suspect:
    """One model of the study.

    Attributes
    ----------
    name : str
        Name of its files.
    kind : Kind
        Guilty models are trained on images of the set that they are asked about; innocent ones on
        other images of that set, or on another set; the base model on neither.
    asked : int
        Number of the set that it is asked about.
    taught : int
        Number of the set that it is trained on; the same for guilty models.
    images, steps, rank : int
        Of the training; 0 for the base model.
    place : int
        Its number, which determines its seeds.
    """

    name: str
    kind: Kind
    asked: int
    taught: int = -1
    images: int = 0
    steps: int = 0
    rank: int = 0
    place: int = 0

    def chosen(self, pool: int, config: PassiveStudyConfig) -> list[int]:
        """Positions of the training images within the pool of the set, in rising order.

        Parameters
        ----------
        pool : int
            Images in the pool of the set that it is trained on.
        config : PassiveStudyConfig
            Gives the seed.
        """
        rng = np.random.default_rng((config.seed, 1, self.place))
        return sorted(rng.permutation(pool)[: self.images].tolist())

    def facts(self) -> dict[str, Any]:
        """Plain values for the record."""
        return dataclasses.asdict(self)


def pool_rows(images: int, number: int, config: PassiveStudyConfig) -> list[int]:
    """Positions of the images of a set that take part, in rising order.

    Parameters
    ----------
    images : int
        Size of the set.
    number : int
        Number of the set.
    config : PassiveStudyConfig
        Gives their number and the seed.
    """
    rng = np.random.default_rng((config.seed, 2, number))
    return sorted(rng.permutation(images)[: config.pool].tolist())


def roster(config: PassiveStudyConfig, pools: Mapping[str, int]) -> list[Suspect]:
    """All models of the study.

    Parameters
    ----------
    config : PassiveStudyConfig
        Their numbers.
    pools : Mapping[str, int]
        Sets in order, with the number of images in their pool.

    Returns
    -------
    list[Suspect]
        The base model once per set, then guilty and innocent models, in turn about each set.
        Guilty ones are trained on at most half of a pool. Half of the innocent ones are trained on
        images of the same set, which are left out of their tests; with one set, all of them.

    Raises
    ------
    ConfigError
        If a pool is too small.
    """
    sizes = list(pools.values())
    for name, size in pools.items():
        if size < _FEWEST:
            raise ConfigError(f"{name} has {size} images; expected {_FEWEST} or more, better 400.")
    models = [Suspect(f"base_{number}", "base", number) for number in range(len(sizes))]
    for index in range(config.guilty):
        # sets change fastest, then numbers of images, then steps, then ranks
        rest, asked = divmod(index, len(sizes))
        rest, wanted = divmod(rest, len(TRAINED))
        rest, steps = divmod(rest, len(STEPS))
        images = min(TRAINED[wanted], sizes[asked] // 2)
        models.append(
            Suspect(
                f"guilty_{index:02d}",
                "guilty",
                asked,
                asked,
                images,
                STEPS[steps],
                RANKS[(steps + wanted + rest) % len(RANKS)],
                1000 + index,
            )
        )
    for index in range(config.innocent):
        rest, asked = divmod(index, len(sizes))
        other = (asked + 1 + rest // 2 % max(1, len(sizes) - 1)) % len(sizes)
        taught = asked if rest % 2 == 0 else other
        models.append(
            Suspect(
                f"innocent_{index:02d}",
                "innocent",
                asked,
                taught,
                min(_INNOCENT_IMAGES[rest % 3], sizes[taught] // 3),
                STEPS[rest % 3],
                RANKS[rest // 3 % 3],
                2000 + index,
            )
        )
    return models
