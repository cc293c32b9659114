"""The distribution of noise levels that the pocket model is trained on."""

from __future__ import annotations

import pytest
import torch
from support.tiny_models import need_models

from siren_ext.pocket import networks

need_models()
pytestmark = pytest.mark.models


def test_noise_levels_are_normal_in_the_log_ratio() -> None:
    kept = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    log_ratio = (kept / (1 - kept)).log()
    chance = networks.noise_levels(log_ratio, centre=0.5, spread=1.0)
    assert chance.sum().item() == pytest.approx(1, abs=1e-5)
    assert (chance * log_ratio).sum().item() == pytest.approx(0.5, abs=0.02)
    spread = (chance * (log_ratio - 0.5).square()).sum().sqrt().item()
    assert spread == pytest.approx(1.0, abs=0.03)
