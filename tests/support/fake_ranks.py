"""One of several ranks without the others: what it would send is kept, not exchanged."""

from __future__ import annotations

from typing import TypeVar

import pytest
from torch import Tensor

from siren_ext import ranks
from siren_ext.ranks import Ranks

T = TypeVar("T")


class FakeRanks(Ranks):
    """Computes its own share; sums and lists hold nothing of other ranks."""

    def add(self, *tensors: Tensor) -> None:
        """Leave the share of this rank as it is."""

    def gather(self, value: T) -> list[T]:
        return [value]


def pretend(monkeypatch: pytest.MonkeyPatch, rank: int, size: int) -> None:
    """Let this process be one rank of several."""
    monkeypatch.setattr(ranks, "_now", FakeRanks(rank, size, rank))
