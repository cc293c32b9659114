"""Feature tables of published and unpublished images whose differences are known."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from siren_ext.files import sha256_file
from siren_ext.passive.config import DIFFERENCE, FAMILIES
from siren_ext.passive.judge import PassiveVerdict, judge
from siren_ext.passive.judge_config import JudgeConfig
from siren_ext.passive.table import FeatureTable

COLUMNS = ("denoising_loss", "secmi", "pia", "pian", *FAMILIES["multiple_loss"])
QUICK = {"permutations": 1999, "control_permutations": 199}


def tables(
    n: int = 40, *, trained: float = 0.0, unlike: float = 0.0, seed: int = 0
) -> tuple[FeatureTable, FeatureTable]:
    """Published and unpublished images; ``trained`` lowers the suspect's losses of published ones,
    ``unlike`` those of both models."""
    rng = np.random.default_rng(seed)
    made = []
    for side, name in enumerate(("p", "u")):
        hard = rng.normal(0, 1, (n, 1)) - unlike * (side == 0)
        control = 10 + hard + rng.normal(0, 0.3, (n, len(COLUMNS)))
        change = rng.normal(0, 0.1, (n, len(COLUMNS))) - trained * (side == 0)
        made.append(
            FeatureTable(
                COLUMNS + tuple(DIFFERENCE + column for column in COLUMNS),
                np.hstack([control + change, change]),
                tuple(f"{name}{row}.png" for row in range(n)),
                tuple(
                    hashlib.sha256(f"{name}{row}{seed}".encode()).hexdigest() for row in range(n)
                ),
                {"kind": "features", "suspect": {"model": "toy"}, "control": {"model": "base"}},
            )
        )
    return made[0], made[1]


def looks(n: int = 40, *, unlike: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What the images of both sets look like; the first number differs by ``unlike``."""
    rng = np.random.default_rng((seed, 1))
    first, second = rng.normal(50, 5, (2, n, 8))
    first[:, 0] += 5 * unlike
    return first, second


def verdict(n: int = 40, *, seed: int = 0, **values: Any) -> PassiveVerdict:
    """A verdict on ``tables``; ``dark`` makes the looks differ, other values are settings."""
    made = tables(
        n, trained=values.pop("trained", 0.0), unlike=values.pop("unlike", 0.0), seed=seed
    )
    seen = looks(n, unlike=values.pop("dark", 0.0), seed=seed)
    given = {name: values.pop(name) for name in ("notes", "keyed") if name in values}
    return judge(*made, seen, JudgeConfig.from_dict(QUICK | values), **given)


class Stub:
    """A model that has a name only."""

    warnings: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def describe(self) -> dict[str, Any]:
        return {"kind": "local", "model": self.name}


def imitate_measuring(monkeypatch: pytest.MonkeyPatch, *, trained: float) -> list[int]:
    """Give images known features in place of a model's; returns the number of images per call.

    Those whose folder is called ``p`` have losses that are lower by ``trained``. No pictures are
    completed.
    """
    calls: list[int] = []

    def measure(suspect: Any, images: Any, config: Any, *, control: Any, **_: Any) -> FeatureTable:
        calls.append(len(images))
        made = tables(len(images), trained=trained)
        rows = [
            made[item.path.parent.name != "p"].values[row] for row, item in enumerate(images.items)
        ]
        return FeatureTable(
            made[0].names,
            np.array(rows),
            tuple(item.name for item in images.items),
            tuple(sha256_file(item.path) for item in images.items),
            {
                "kind": "features",
                "suspect": suspect.describe(),
                "control": control.describe(),
                "settings": config.to_dict(),
            },
        )

    monkeypatch.setattr("siren_ext.workflows.passive_evidence.measure_features", measure)
    monkeypatch.setattr(
        "siren_ext.workflows.passive_evidence.complete_pictures", lambda *_, **__: ()
    )
    return calls
