"""Random projection of long gradients, made block by block so that memory is bounded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from siren_ext.passive.batch import noise_seed

_BLOCK = 4096  # rows of the projection that are drawn at a time
_FLOATS = 1 << 19  # numbers of it that are multiplied at a time: they stay in a processor's cache


def project(
    gradients: Tensor,
    layers: Sequence[tuple[str, int]],
    dimension: int,
    *,
    kind: Literal["rademacher", "gaussian"] = "rademacher",
    seed: int = 0,
) -> Tensor:
    """Multiply gradients by a random matrix P, whose rows depend on seed, layer and place only.

    Parameters
    ----------
    gradients : Tensor
        m x parameters, float32.
    layers : sequence of (str, int)
        Names of the layers and their numbers of parameters, in the order of the columns.
    dimension : int
        k, the columns of P.
    kind : {"rademacher", "gaussian"}
        Entries of P times sqrt(k): signs, or standard normal numbers.
    seed : int
        Seed of P.

    Returns
    -------
    Tensor
        m x k, float32, on the CPU.

    Notes
    -----
    The expectation of ``(u P) . (v P)`` is ``u . v``, with variance at most
    ``(|u|^2 |v|^2 + (u . v)^2) / k`` (Johnson and Lindenstrauss 1984; Achlioptas 2003, "Database-
    friendly random projections", for signs). At most 4096 rows of P are in memory.
    """
    found = torch.zeros(len(gradients), dimension)
    start, step = 0, max(1, _FLOATS // dimension)
    room = torch.empty(step, dimension)  # used again, because fresh memory takes time
    for name, size in layers:
        for number, first in enumerate(range(0, size, _BLOCK)):
            rows = min(_BLOCK, size - first)
            part = gradients[:, start + first : start + first + rows].cpu()
            rng = np.random.default_rng(noise_seed(seed, name, f"projection {kind}", number))
            if kind == "gaussian":
                drawn = rng.standard_normal((rows, dimension), dtype=np.float32)
                found += part @ torch.from_numpy(drawn)
                continue
            bits = _bits(rng, rows, dimension)
            found -= part.sum(1, keepdim=True)  # signs are 2 b - 1 for bits b
            for place in range(0, rows, step):
                these = part[:, place : place + step]
                some = room[: these.shape[1]].copy_(bits[place : place + step])
                found.addmm_(these, some, alpha=2)
        start += size
    return found.div_(math.sqrt(dimension))


def _bits(rng: np.random.Generator, rows: int, columns: int) -> Tensor:
    """Random bits, 0 or 1, bytes."""
    packed = np.frombuffer(rng.bytes(-(-rows * columns // 8)), np.uint8)
    return torch.from_numpy(np.unpackbits(packed, count=rows * columns).reshape(rows, columns))
