"""SVDiff: shifts of singular values, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.short_runs import load, short, trained
from support.tiny_models import need_models

from siren_ext.adapters.changes import spectral_parts
from siren_ext.data.dataset import ImageSet
from siren_ext.personalize.spectral import Spectral, SpectralWeights

need_models()
pytestmark = pytest.mark.models


@pytest.mark.parametrize("shape", [(6, 4), (3, 5, 2, 2)])
def test_shifted_weight(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    spectral = Spectral(weight)
    assert torch.equal(spectral(weight), weight)
    left, values, right = spectral_parts(weight)
    shift = torch.linspace(-5, 1, len(values))
    with torch.no_grad():
        spectral.delta.copy_(shift)
    wanted = left @ torch.diag((values + shift).clamp(min=0)) @ right
    torch.testing.assert_close(spectral(weight).flatten(1), wanted, atol=1e-5, rtol=1e-5)


def test_singular_vectors_stay(model: Path, data: ImageSet) -> None:
    before = load(model).unet
    after = trained(model, data, short("svdiff"), 3).pipeline.unet
    path = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    left, values, right = spectral_parts(before.get_submodule(path).weight)
    core = left.T @ after.get_submodule(path).weight.detach() @ right.T
    assert (core.diagonal() - values).abs().max() > 1e-3
    rest = core - torch.diag(core.diagonal())
    assert rest.abs().max() < 1e-5 * values.max()


def test_only_shifts_are_trained(model: Path) -> None:
    pipeline = load(model)
    weights = SpectralWeights(pipeline)
    trained_ones = [p for p in pipeline.unet.parameters() if p.requires_grad]
    assert {id(p) for p in trained_ones} == {id(p) for p in weights.live}
    total = sum(p.numel() for p in load(model).unet.parameters())
    assert weights.vector.numel() < 0.1 * total
