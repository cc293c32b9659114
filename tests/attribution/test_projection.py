"""Random projection: inner products, determinism, and blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from siren_ext.attribution import projection
from siren_ext.attribution.projection import project


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_inner_products_are_kept_within_their_tolerance(kind: str) -> None:
    """20 vectors of 9,000 numbers, some alike: errors have the stated variance or less."""
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(20, 9000, generator=generator)
    whole[10:] += 0.8 * whole[:10]
    short = project(whole, [("a", 5000), ("b", 4000)], 512, kind=kind)  # type: ignore[arg-type]
    exact, found = (part.double() @ part.double().T for part in (whole, short))
    lengths = exact.diagonal()
    bound = (torch.outer(lengths, lengths) + exact.square()) / 512
    errors = (found - exact) / bound.sqrt()
    assert float(errors.abs().max()) < 4.5
    off = errors[~torch.eye(20, dtype=torch.bool)]
    assert 0.85 < float(off.square().mean().sqrt()) < 1.15


def test_it_is_a_fixed_matrix_that_depends_on_seed_and_layer() -> None:
    eye = torch.eye(6)
    layers = [("a", 4), ("b", 2)]
    matrix = project(eye, layers, 64)
    assert torch.equal(matrix, project(eye, layers, 64))
    assert torch.allclose(matrix.abs(), torch.full_like(matrix, 1 / math.sqrt(64)))
    swapped = project(eye, [("b", 2), ("a", 4)], 64)
    assert torch.equal(swapped[:2], matrix[4:])
    assert torch.equal(swapped[2:], matrix[:4])
    other = project(eye, layers, 64, seed=1)
    assert not torch.equal(other, matrix)
    assert abs(float((matrix.sign() * other.sign()).mean())) < 0.2
    given = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 6), dtype=np.float32))
    assert torch.allclose(project(given, layers, 64), given @ matrix, atol=1e-5)


def test_blocks_bound_the_memory_and_join_without_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "_BLOCK", 100)
    made: list[int] = []
    bits = projection._bits

    def counted(rng: np.random.Generator, rows: int, columns: int) -> torch.Tensor:
        made.append(rows)
        return bits(rng, rows, columns)

    monkeypatch.setattr(projection, "_bits", counted)
    matrix = project(torch.eye(250), [("a", 250)], 16)
    assert made == [100, 100, 50]
    assert torch.all(matrix != 0)
    assert len({tuple(row.tolist()) for row in matrix}) > 240
