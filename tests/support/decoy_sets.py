"""A small coater without a key, and decoys of it, fitted against a toy."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from support.toy_training import Toy

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.schema import to_plain
from siren_ext.scoring.decoys import DecoyIndex, Ends, ScoredDecoy, ScoredDecoys, decoy_seed
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.training.config import TrainConfig
from siren_ext.training.decoys import decoys_against
from siren_ext.training.train import train_coater

SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=32,
    coarse=3.0,
)  # fmt: skip
RECIPE = TrainConfig(steps=0, rehearse_every=0, seed=4)
SIDE = 32


def owned(folder: Path, count: int = 6, seed: int = 0) -> ImageSet:
    """Images of the owner: soft colours."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        small = rng.integers(60, 200, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        image.save(folder / f"{index}.png")
    return ImageSet.open(folder)


def true_coater(data: ImageSet, **changes: object) -> Coater:
    """The coater that decoys are made of."""
    config = replace(RECIPE, **changes)  # type: ignore[arg-type]
    return train_coater(data, Toy(SIDE), config, coater=SHAPE, device="cpu")


def decoys_of_toy(coater: Coater, data: ImageSet, out: Path, count: int = 2) -> DecoyIndex:
    """A folder of decoys."""
    return decoys_against(coater, data, Toy(SIDE), out, count=count, device="cpu")


@cache
def shared_decoys(root: Path) -> tuple[ImageSet, Coater, Path]:
    """Images, their coater and a folder of four decoys, made once in a test run; don't change them.

    ``root`` is ``tmp_path_factory.getbasetemp()``.
    """
    data = owned(root / "owned-for-decoys", 3)
    coater = true_coater(data)
    decoys_of_toy(coater, data, root / "decoys", count=4)
    return data, coater, root / "decoys"


def ranked(own: float, others: list[float], pictures: int = 4, coater: str = "a" * 64) -> ScoreSet:
    """A suspect on which the true coater and its decoys get these ways, from 0 to 1."""
    ends = Ends(2.0, 1.0)

    def scores(way: float) -> list[float]:
        return [2.0 - way] * pictures

    decoys = [
        ScoredDecoy(i, decoy_seed(coater, i), f"{i:064x}", ends, scores(way))
        for i, way in enumerate(others, start=1)
    ]
    names = tuple(f"{i}.png" for i in range(pictures))
    source = {"kind": "folder", "decoys": to_plain(ScoredDecoys("b" * 64, ends, decoys))}
    hashes = tuple(f"{i:064x}" for i in range(pictures))
    return ScoreSet(np.array(scores(own)), names, hashes, coater, source)
