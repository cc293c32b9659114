"""One float32 vector for all trained tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from siren_ext.personalize.weights import VectorWeights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vector_and_live_tensors_follow_each_other(dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 2).to(dtype).requires_grad_(False)
    weights = VectorWeights(list(layer.parameters()))
    assert weights.vector.dtype == torch.float32
    assert [tuple(piece.shape) for piece in weights.pieces()] == [(2, 3), (2,)]
    torch.testing.assert_close(weights.pieces()[0], layer.weight.detach().float())
    layer(torch.ones(4, 3, dtype=dtype)).sum().backward()
    weights.collect()
    weights.collect()  # nothing is added twice
    assert layer.weight.grad is None
    assert weights.vector.grad is not None
    torch.testing.assert_close(weights.vector.grad, torch.full((8,), 4.0))
    weights.clear()
    assert weights.vector.grad is None
    weights.restore(torch.arange(8.0))
    torch.testing.assert_close(layer.bias.detach().float(), torch.tensor([6.0, 7.0]))
