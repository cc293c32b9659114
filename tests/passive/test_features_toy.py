"""A toy diffusion model, trained on half of the images: features and tests find which half."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.known_denoisers import SHAPE, Constant
from torch import Tensor, nn

from siren_ext.passive import features
from siren_ext.passive.batch import Batch
from siren_ext.passive.config import FAMILIES, PassiveConfig, columns_of
from siren_ext.passive.set_comparison import compare_sets
from siren_ext.passive.set_config import SetTestConfig
from siren_ext.passive.table import FeatureTable

HALF, STEPS, WIDTH = 64, 400, 256
CONFIG = PassiveConfig(features="all")
LOSSES = FAMILIES["multiple_loss"]


class Learnt(Constant):
    """A perceptron that is trained to see the noise in some latents."""

    def __init__(self, latents: Tensor, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        size = latents[0].numel()
        self.network = nn.Sequential(
            nn.Linear(size + 1, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(),
            nn.Linear(WIDTH, size),
        )  # fmt: skip
        optimiser = torch.optim.Adam(self.network.parameters(), lr=2e-3)
        for _ in range(STEPS):
            time = int(torch.randint(0, 1000, ()))
            noise = torch.randn(latents.shape)
            error = self.noise_in(self.noisy(latents, noise, time), time, {}) - noise
            optimiser.zero_grad()
            error.square().mean().backward()
            optimiser.step()

    def noise_in(self, noisy: Tensor, time: int, condition: dict[str, Any]) -> Tensor:
        times = torch.full((len(noisy), 1), time / 1000)
        return self.network(torch.cat([noisy.flatten(1), times], dim=1)).view_as(noisy)


@pytest.fixture(scope="module")
def tables() -> dict[str, FeatureTable]:
    """Features of 128 images: the suspect was trained on the first 64, the control on others."""
    with torch.random.fork_rng(devices=[]):
        drawn = torch.randn(4 * HALF, *SHAPE, generator=torch.Generator().manual_seed(0))
        asked, others = drawn[: 2 * HALF], drawn[2 * HALF :]
        hashes = tuple(f"{number:064x}" for number in range(len(asked)))
        made = {}
        for name, latents in (("suspect", asked[:HALF]), ("control", others[:HALF])):
            batch = Batch(Learnt(latents, 1), asked, ("",) * len(asked), hashes, 64, CONFIG)
            with torch.no_grad():
                values = features._features(batch)
            made[name] = FeatureTable(CONFIG.columns, values, hashes, hashes, {"settings": {}})
    return made


def p_value(
    table: FeatureTable, columns: tuple[str, ...], scorer: Any, *, swap: bool = False
) -> float:
    values = table.columns(columns).values
    sets = (values[HALF:], values[:HALF]) if swap else (values[:HALF], values[HALF:])
    smaller = range(len(columns)) if scorer == "mean" else ()
    config = SetTestConfig(mode="default", scorer=scorer)
    return compare_sets(*sets, config, smaller=smaller).p_value


def test_training_images_have_smaller_losses(tables: dict[str, FeatureTable]) -> None:
    for column in ("denoising_loss", *LOSSES[1:8], "mean_loss"):
        used, others = np.split(tables["suspect"].columns([column]).values, 2)
        assert used.mean() < others.mean() - 0.5 * others.std(), column


@pytest.mark.parametrize("families", [("multiple_loss",), CONFIG.families[:7]])
def test_the_suspect_is_found_and_the_control_is_not(
    tables: dict[str, FeatureTable], families: tuple[str, ...]
) -> None:
    columns = columns_of(families)
    assert p_value(tables["suspect"], columns, "logistic") < 0.01
    assert p_value(tables["control"], columns, "logistic") > 0.05
    both = tables["suspect"].minus(tables["control"])
    assert p_value(both, columns_of(families, difference=True), "logistic") < 0.01


def test_the_more_was_used_the_smaller_is_p(tables: dict[str, FeatureTable]) -> None:
    """Published images of which a share was used, against others that were not."""
    values = tables["suspect"].columns(LOSSES).values
    used, others, n = values[:HALF], values[HALF:], HALF // 2
    found = []
    for count in (0, n // 2, n):
        published = np.concatenate([used[:count], others[: n - count]])
        config = SetTestConfig(mode="default", scorer="mean")
        columns = range(len(LOSSES))
        found.append(compare_sets(published, others[n:], config, smaller=columns).p_value)
    assert found[0] > 0.05
    assert found[0] > found[1] > found[2]
    assert found[2] < 0.01


def test_exchanged_sets_are_not_found(tables: dict[str, FeatureTable]) -> None:
    assert p_value(tables["suspect"], LOSSES, "mean") < 0.01
    assert p_value(tables["suspect"], LOSSES, "mean", swap=True) > 0.5
