from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from siren_ext.baselines.base import Floats
from siren_ext.baselines.yu import Yu, YuTraining
from siren_ext.errors import ModelError
from siren_ext.experiments import baseline_networks
from siren_ext.progress import NULL

train = baseline_networks.train_yu


def corpus() -> Tensor:
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def readers(monkeypatch: pytest.MonkeyPatch, good: int) -> list[int]:
    """Trainings of no steps, of which only the one with seed ``good`` reads its bits."""
    seeds: list[int] = []

    def made(images: Tensor, settings: YuTraining, *_: object) -> Yu:
        seeds.append(settings.seed)
        return train(images, YuTraining(32, 1, batch=2, seed=settings.seed))

    def evidence(self: Yu, images: Tensor) -> Floats:
        bits = np.tile(self.string, (len(images), 1))
        if seeds[-1] != good:
            bits[:, ::2] = 1 - bits[:, ::2]
        return bits

    monkeypatch.setattr(baseline_networks, "train_yu", made)
    monkeypatch.setattr(Yu, "evidence", evidence)
    return seeds


def test_the_first_pair_that_reads_its_bits_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = readers(monkeypatch, good=2)
    path = tmp_path / "yu.safetensors"
    pair = baseline_networks.yu_pair(corpus(), 10, path, NULL)
    assert seeds == [0, 1, 2]
    again = baseline_networks.yu_pair(corpus(), 10, path, NULL)
    assert seeds == [0, 1, 2]  # read, not trained
    image = corpus()
    assert torch.equal(again.protect(image).images, pair.protect(image).images)


def test_pairs_that_read_nothing_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = readers(monkeypatch, good=9)
    path = tmp_path / "yu.safetensors"
    with pytest.raises(ModelError, match=r"5 trainings of 10 steps .* \(0\.50 of them"):
        baseline_networks.yu_pair(corpus(), 10, path, NULL)
    assert len(seeds) == 5
    assert not path.exists()


@pytest.mark.parametrize("mode", ["unconditional", "trigger"])
def test_diagnosis_is_trained_for_the_mode(mode: str) -> None:
    owned = torch.rand(6, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    found = baseline_networks.diagnosis_of(owned, mode, 1, NULL)
    assert found.warp.mode == mode
    assert found.size == 128
