"""Where the signal is lost, on a surrogate whose losses are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from siren_ext.experiments import stages
from siren_ext.progress import NULL


class Eye:
    """A coater that sees brightness: dark is coated."""

    device = torch.device("cpu")

    def score(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))


class Mirror:
    """A surrogate that keeps half of everything in its autoencoder and nothing in noise."""

    resolution = 16
    kept = torch.linspace(1, 0, 500)

    def round_trip(self, images: Tensor) -> Tensor:
        return 0.5 * images

    def renoise(self, images: Tensor, low: int, high: int, *, generator: torch.Generator) -> Tensor:
        assert high == low + 1
        return torch.rand(images.shape, generator=generator)


def test_survival_of_a_known_surrogate(tmp_path: Path) -> None:
    pairs = []
    for number in range(10):
        level = 100 + number
        for name, value in (("clean", level), ("coated", level - 20)):
            Image.new("RGB", (24, 20), (value,) * 3).save(tmp_path / f"{name}{number}.png")
        pairs.append((tmp_path / f"clean{number}.png", tmp_path / f"coated{number}.png"))
    mirror: Any = Mirror()
    eye: Any = Eye()
    assert stages.usable_levels(mirror, (50, 499, 500, 900)) == (50, 499)
    rows = stages.survival(pairs, mirror, eye, (50,), seed=1, progress=NULL)
    assert [row["stage"] for row in rows] == [
        stages.AS_WRITTEN,
        stages.RESIZED,
        stages.ROUND_TRIP,
        stages.denoised(50),
    ]
    assert [row["auc"] for row in rows] == [1, 1, 1, 0.5], "equal noise for coated and clean"
    assert rows[0]["kept"] is None
    assert [row["kept"] for row in rows[1:]] == pytest.approx([1, 0.5, 0], abs=1e-5)
    clean = [pair[0] for pair in pairs]
    options = {"seed": 1, "progress": NULL}
    first = stages.denoised_scores(clean, mirror, eye, (50,), **options)
    second = stages.denoised_scores(clean, mirror, eye, (50,), **options)
    assert first == second, "both models get equal noise"
    assert stages.learnt(first, second)[0]["auc"] == 0.5
    assert len(first[stages.denoised(50)]) == 10
