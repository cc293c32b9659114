"""Random numbers of a share of a batch are those that its rows have in the whole."""

from __future__ import annotations

import torch

from siren_ext.diffusion.draws import own_of, seeded_normal

CPU = torch.device("cpu")


def test_a_share_has_the_numbers_of_its_rows() -> None:
    whole = seeded_normal((5, 2, 3), torch.Generator().manual_seed(4), CPU)
    for rank in range(3):
        own = slice(rank, None, 3)
        generator = torch.Generator().manual_seed(4)
        part = seeded_normal((len(whole[own]), 2, 3), generator, CPU, (5, own))
        assert torch.equal(part, whole[own])
        after = torch.Generator().manual_seed(4)
        seeded_normal((5, 2, 3), after, CPU)
        assert torch.equal(torch.rand(2, generator=generator), torch.rand(2, generator=after))


def test_without_a_share_all_rows_are_meant() -> None:
    assert own_of(7, None) == (7, slice(None))
    assert own_of(7, (9, slice(2))) == (9, slice(2))
