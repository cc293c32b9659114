"""Fewer bits: right values, and what they cannot hold."""

from __future__ import annotations

import pytest
import torch

from siren_ext.attacks.rounding import half, int8
from siren_ext.errors import ConfigError


def test_sixteen_bits() -> None:
    weights = torch.tensor([[1.0, 1e-3, 1e6], [0.1, -2.5, -1e6]])
    assert torch.equal(half(weights), weights.clamp(-65504, 65504).half())
    assert half(weights, form="bfloat16").dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="form is 'int4'; expected one of float16, bfloat16"):
        half(weights, form="int4")  # type: ignore[arg-type]


def test_eight_bits_with_a_scale_for_each_row() -> None:
    weights = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(1))
    weights[2] *= 1e-4
    weights[4] = 0
    found = int8(weights)
    assert found.shape == weights.shape
    assert found.dtype == weights.dtype
    steps = weights.abs().amax((1, 2), keepdim=True) / 127
    assert ((found - weights).abs() <= steps / 2 + 1e-9).all()
    assert torch.allclose(int8(found), found, atol=1e-7)
    assert len(found[0].unique()) <= 12
    assert int8(weights.half()).dtype == torch.float16
