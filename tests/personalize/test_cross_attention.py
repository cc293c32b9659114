"""Custom Diffusion: keys and values of the prompt, and no gradient through the start token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.short_runs import load, short
from support.tiny_models import need_models
from torch import nn

from siren_ext.errors import ModelError
from siren_ext.personalize.cross_attention import CustomWeights, cross_layers

need_models()
pytestmark = pytest.mark.models


def test_layers(model: Path) -> None:
    found = cross_layers(load(model).unet)
    assert len(found) == 2 * len({path.rpartition(".")[0] for path in found})
    assert all(path.endswith(("attn2.to_k", "attn2.to_v")) for path in found)
    with pytest.raises(ModelError, match="no cross-attention"):
        cross_layers(nn.Sequential(nn.Linear(2, 2)))


def test_start_token_gives_no_gradient(model: Path) -> None:
    pipeline = load(model)
    words = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
    layer = next(iter(cross_layers(pipeline.unet).values()))
    plain = layer(words)
    weights = CustomWeights(pipeline, short("custom-diffusion"))
    assert len(weights.live) == 1 + len(weights.names)
    result = layer(words)
    assert torch.equal(result, plain)
    result[:, 0].sum().backward(retain_graph=True)
    assert not layer.weight.grad.any()
    result[:, 1].sum().backward()
    assert layer.weight.grad.any()
