"""Orthogonal changes: the rotations of OFT and BOFT, and what they do to a weight.

Sources: OFT (Qiu et al. 2023, section 3: blocks of the Cayley transform of a skew-symmetric
matrix), BOFT (Liu et al. 2024, section 4: a product of butterfly factors).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_TINY = 1e-8


def trained_rotations(parts: Mapping[str, Tensor]) -> Tensor | str:
    """The rotations in a file of kohya's scripts or LyCORIS.

    Parameters
    ----------
    parts : mapping of str to Tensor
        ``oft_blocks``, n x s x s for OFT or m x n x s x s for BOFT, and maybe ``alpha``: the
        largest norm of the skew-symmetric part, per output channel (0 for any). Or ``oft_diag``,
        n x s x s, in which old files of LyCORIS have the rotations themselves.

    Returns
    -------
    Tensor or str
        The blocks that multiply the weight from the left, in the shape of the factor; or a phrase
        that says what is wrong.
    """
    name = "oft_diag" if "oft_diag" in parts else "oft_blocks"
    blocks = parts[name].float()
    ranks = (3,) if name == "oft_diag" else (3, 4)
    if blocks.ndim not in ranks or blocks.shape[-1] != blocks.shape[-2]:
        sides = "x".join(str(side) for side in blocks.shape)
        return f"{name} {sides}; expected blocks of equal sides"
    if name == "oft_diag":
        return blocks.transpose(-1, -2)
    alpha = parts.get("alpha")
    if alpha is not None and alpha.numel() != 1:
        return "alpha is not one number"
    skew = blocks - blocks.transpose(-1, -2)
    limit = 0.0 if alpha is None else float(alpha) * blocks.shape[-3] * blocks.shape[-1]
    if limit < 0:
        return "alpha is negative"
    norm = float(torch.linalg.vector_norm(skew)) + _TINY
    if 0 < limit < norm:
        skew = skew * (limit / norm)
    rotation = cayley(skew)
    # kohya's scripts and LyCORIS apply the transpose in OFT, but not in BOFT
    return rotation.transpose(-1, -2) if blocks.ndim == 3 else rotation


def peft_rotations(vectors: Tensor, terms: int) -> Tensor | str:
    """The rotations in a file of peft.

    Parameters
    ----------
    vectors : Tensor
        n x s(s-1)/2, the entries above the diagonals of n skew-symmetric matrices.
    terms : int
        Terms of the Neumann series with which peft inverts them; 0 for the exact inverse.

    Returns
    -------
    Tensor or str
        n x s x s blocks that multiply the channels of the input; or a phrase that says what is
        wrong.
    """
    if vectors.ndim != 2:
        return "oft_R is not a list of vectors"
    side = int((1 + (1 + 8 * vectors.shape[1]) ** 0.5) / 2)
    if side * (side - 1) // 2 != vectors.shape[1]:
        return f"oft_R has {vectors.shape[1]} columns; expected s (s - 1) / 2 for some s"
    above = torch.triu_indices(side, side, 1)
    skew = torch.zeros(len(vectors), side, side)
    skew[:, above[0], above[1]] = vectors.float()
    skew = skew - skew.transpose(-1, -2)
    return _neumann(skew, terms) if terms else cayley(-skew)


def cayley(skew: Tensor) -> Tensor:
    """The rotations (I + Q) (I - Q)^-1 of skew-symmetric matrices Q, in their shape."""
    eye = torch.eye(skew.shape[-1])
    rotation: Tensor = torch.linalg.solve(eye - skew, eye + skew, left=False)
    return rotation


def _neumann(skew: Tensor, terms: int) -> Tensor:
    """peft's approximation I + 2 Q + ... + 2 Q^(k-2) + Q^(k-1) of :func:`cayley` with k terms."""
    total = torch.eye(skew.shape[-1]).expand_as(skew).clone()
    power = skew
    for exponent in range(1, terms):
        # the last power counts once, except that two terms give I + 2 Q
        last = exponent == terms - 1 and terms > 2
        total += power if last else 2 * power
        power = power @ skew
    return total


def rotation_misfit(rotation: Tensor, rescale: Tensor | None, channels: int) -> bool:
    """Whether rotations do not fit a number of channels."""
    count, side = rotation.shape[-3], rotation.shape[-1]
    shared = rotation.ndim == 3 and count == 1 and channels % side == 0
    if rescale is not None and rescale.numel() != channels:
        return True
    if rotation.ndim == 4:
        # the first factor joins channels side / 2 apart, each further one twice as far
        whole = side % 2 == 0 and count * side == channels
        return not whole or channels % (side << (len(rotation) - 1)) != 0
    return not shared and count * side != channels


def rotated(weight: Tensor, rotation: Tensor, rescale: Tensor | None, *, on_input: bool) -> Tensor:
    """A weight after the rotations.

    Parameters
    ----------
    weight : Tensor
        (out, in, ...), float32.
    rotation : Tensor
        n x s x s blocks, one block for all channels, or m x n x s x s butterfly factors.
    rescale : Tensor or None
        A factor per channel.
    on_input : bool
        Rotate the channels of the input instead of those of the output.

    Returns
    -------
    Tensor
        The new weight, in the shape of the old one.
    """
    rows = weight.flatten(1)
    rows = rows.T if on_input else rows
    if rotation.ndim == 3:
        rows = _turned(rows, rotation)
    else:
        for step, blocks in enumerate(rotation):
            apart = blocks.shape[-1] // 2 << step
            columns = rows.shape[1]
            mixed = rows.reshape(-1, 2, apart, columns).transpose(1, 2).reshape(-1, columns)
            mixed = _turned(mixed, blocks)
            rows = mixed.reshape(-1, apart, 2, columns).transpose(1, 2).reshape(-1, columns)
    if rescale is not None:
        rows = rows * rescale.reshape(-1, 1)
    return (rows.T if on_input else rows).reshape(weight.shape)


def _turned(rows: Tensor, blocks: Tensor) -> Tensor:
    """Each block of rows multiplied by its matrix."""
    grouped = rows.reshape(-1, blocks.shape[-1], rows.shape[1])
    turned: Tensor = blocks @ grouped
    return turned.flatten(0, 1)
