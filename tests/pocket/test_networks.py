"""The distribution of noise levels that the pocket model is trained on."""

from __future__ import annotations

from types import SimpleNamespace

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


@pytest.mark.parametrize("error", [0.0, 0.1])
def test_error_in_the_noise_counts_as_one_in_the_velocity_up_to_a_limit(error: float) -> None:
    """A stand-in for the UNet that knows the noise but for a constant error."""
    clean = torch.randn(6, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    seen = torch.Generator().manual_seed(2)
    noise = torch.randn(clean.shape, generator=seen)
    kept = torch.linspace(0.99, 0.01, 50)
    times = torch.multinomial(torch.ones(50), 6, replacement=True, generator=seen)
    net = SimpleNamespace(
        kept=kept,
        chance=torch.ones(50),
        dtype=torch.float32,
        design=networks.DESIGNS["small"],
        text=lambda tokens: SimpleNamespace(last_hidden_state=tokens),
        unet=lambda noisy, steps, hidden: SimpleNamespace(sample=noise + error),
    )
    tokens = torch.zeros(6, 32)
    found = networks.Networks.loss(net, clean, tokens, torch.Generator().manual_seed(2))
    weight = (1 / kept[times]).clamp(max=networks.NOISE_WEIGHT)
    assert found.item() == pytest.approx(error**2 * weight.mean().item(), abs=1e-6)
    assert weight.max() == networks.NOISE_WEIGHT > weight.min()
