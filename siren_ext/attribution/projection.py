"""Random projection of long gradients, made block by block so that memory is bounded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from siren_ext.passive.batch import noise_seed

_BLOCK = 4096  # rows of the projection that exist at a time


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
    start = 0
    for name, size in layers:
        for number, first in enumerate(range(0, size, _BLOCK)):
            rows = min(_BLOCK, size - first)
            part = gradients[:, start + first : start + first + rows].cpu()
            rng = np.random.default_rng(noise_seed(seed, name, f"projection {kind}", number))
            found += part @ _block(rng, rows, dimension, kind)
        start += size
    return found.div_(math.sqrt(dimension))


def _block(rng: np.random.Generator, rows: int, dimension: int, kind: str) -> Tensor:
    """Some rows of the random matrix, times sqrt(k)."""
    if kind == "gaussian":
        return torch.from_numpy(rng.standard_normal((rows, dimension), dtype=np.float32))
    bits = np.frombuffer(rng.bytes(-(-rows * dimension // 8)), np.uint8)
    signs = np.unpackbits(bits, count=rows * dimension).reshape(rows, dimension)
    return torch.from_numpy(signs).float().mul_(2).sub_(1)
