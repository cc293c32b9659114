"""Without gradients, the residual is made in little memory and is the same."""

from __future__ import annotations

import pytest
import torch

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig


def test_residual_in_little_memory_is_the_trained_one() -> None:
    """Without gradients no copies are kept; the numbers are the same to the last bit."""
    shape = CoaterConfig(channels=4, bits=2, features=3, working_size=16, min_psnr=30, strength=9)
    coater = Coater(shape, seed=2)
    images = torch.rand(2, 3, 37, 29, generator=torch.Generator().manual_seed(0))
    for size in (images, images[..., :16, :16].contiguous()):
        before = size.clone()
        with torch.no_grad():
            lean = coater.residual(size)
        assert torch.equal(lean, coater.residual(size).detach())
        assert torch.equal(size, before)


def test_no_mask_is_made_for_a_pattern_that_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    coater = Coater(CoaterConfig(channels=4, generator_blocks=1, working_size=16, coarse=2.0))
    torch.nn.init.zeros_(coater.generator.final_layer.weight)
    torch.nn.init.zeros_(coater.generator.final_layer.bias)
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    with_mask = coater.residual(images)
    monkeypatch.setattr("siren_ext.coater.coater.jnd_strips", None)
    with torch.no_grad():
        assert torch.equal(coater.residual(images), with_mask.detach())
    assert with_mask.abs().max() > 0
