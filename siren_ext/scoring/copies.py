"""Copies among pictures, which count once: the same picture again is not a new observation.

Exact copies have the same bytes. Near copies are the same picture in another format, size or
quality, also mirrored or upside down, and are found by a perceptual hash of each picture that is
stored with its score. Neither depends on the scores, and of several copies the first one in the
order of the pool is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from siren_ext.scoring.score_set import ScoreSet

NEAR = 36
"""Two pictures are near copies if at most this many of the 255 bits of their hashes differ.

Chosen on the bundled samples: copies of them differ in at most 19 bits, different ones in 74 or
more. ``python benchmarks/near_copies.py FOLDER ...`` prints the same for other sets.
"""
MOST = 10_000
"""Near copies are not looked for in larger pools, where comparing all pairs takes too long."""
_SIDE = 16  # lowest frequencies in each direction
_BLOCK = 512
_LUMA = (0.299, 0.587, 0.114)
_ODD = np.arange(_SIDE) % 2 == 1
MIRRORED = tuple(
    np.where((_ODD[:, None] & turned) ^ (_ODD[None] & mirrored), -1, 1).ravel().astype(np.float32)
    for turned in (False, True)
    for mirrored in (False, True)
)
"""Signs of the waves of a picture, and of its mirrored and upside-down copies: 4 x 256."""
_DIGITS = 4  # coefficients are rounded, so that a plain picture has the same bits everywhere


def phash_of(view: Tensor) -> str:
    """The perceptual hash of a picture.

    Parameters
    ----------
    view : Tensor
        1 x 3 x H x W in [0,1].

    Returns
    -------
    str
        64 hexadecimal digits. The picture's brightness is reduced to 64 x 64 pixels; each bit says
        whether one of the 255 lowest frequencies of their cosine transform (without the mean) is
        above the median, and the first bit is 0.

    References
    ----------
    Zauner (2010), "Implementation and benchmarking of perceptual image hash functions", section 3.2
    (DCT based hash), with 256 bits in place of 64.
    """
    from scipy.fft import dctn

    from siren_ext.data.images import square_view  # here, because verdicts need no torch

    small = square_view(view.detach().float(), 4 * _SIDE)[0].double().cpu().numpy()
    waves = dctn(np.tensordot(_LUMA, small, 1), norm="ortho")[:_SIDE, :_SIDE].ravel()
    waves = np.round(waves, _DIGITS)
    bits = waves > np.median(waves[1:])
    bits[0] = False
    return np.packbits(bits).tobytes().hex()


@dataclass(frozen=True)
class Copies:
    """Which pictures of a pool count.

    Attributes
    ----------
    kept : tuple[int, ...]
        Positions of the pictures that count, ascending.
    exact : int
        Pictures left out because an earlier one has the same bytes and the same score.
    near : int
        Pictures left out because an earlier one that counts looks the same.
    looked : bool
        Whether near copies were looked for: not without hashes, and not in more than
        :data:`MOST` pictures.
    """

    kept: tuple[int, ...]
    exact: int
    near: int
    looked: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the positions."""
        values = asdict(self)
        values["kept"] = len(self.kept)
        return values


_KNOWN: WeakKeyDictionary[ScoreSet, Copies] = WeakKeyDictionary()


def copies_in(pool: ScoreSet) -> Copies:
    """Find the copies in a pool.

    Parameters
    ----------
    pool : ScoreSet
        The scores.

    Returns
    -------
    Copies
        Which pictures count, and how many do not.

    Notes
    -----
    A picture is compared with the earlier ones that count, so a test that takes the pictures one by
    one finds the same copies (:class:`Earlier`).
    """
    found = _KNOWN.get(pool)
    if found is None:
        found = _KNOWN[pool] = _copies(pool)
    return found


def mirrored_in(pool: ScoreSet) -> int:
    """Mirrored copies in a pool of an earlier version, which counts them as pictures from now on.

    Parameters
    ----------
    pool : ScoreSet
        The scores, of which nobody asked for copies before.

    Returns
    -------
    int
        How many more are left out today.
    """
    _KNOWN[pool] = _copies(pool, MIRRORED[:1])
    return len(_KNOWN[pool].kept) - len(_copies(pool).kept)


def distinct_rows(pool: ScoreSet) -> list[int]:
    """Positions of a pool's distinct pictures.

    Parameters
    ----------
    pool : ScoreSet
        The scores.

    Returns
    -------
    list[int]
        All positions but those of copies of earlier pictures.
    """
    return list(copies_in(pool).kept)


class Earlier:
    """Remembers the hashes of pictures that came one by one."""

    def __init__(self) -> None:
        self._seen = np.zeros((0, 256), dtype=np.float32)

    def copied(self, phash: str) -> bool:
        """Whether a picture looks the same as an earlier one; it is remembered if not.

        Parameters
        ----------
        phash : str
            Its hash.

        Returns
        -------
        bool
            True for a near copy.
        """
        row = _signs([phash])
        if _near(row, self._seen).any():
            return True
        if len(self._seen) < MOST:
            self._seen = np.concatenate([self._seen, row])
        return False


def _copies(pool: ScoreSet, ways: Sequence[NDArray[np.float32]] = MIRRORED) -> Copies:
    """Exact copies first; then the others are compared in blocks."""
    seen: set[tuple[str, float]] = set()
    rows = []
    for index, (digest, score) in enumerate(zip(pool.hashes, pool.scores, strict=True)):
        entry = (digest, round(float(score), 4))
        if digest and entry in seen:
            continue
        seen.add(entry)
        rows.append(index)
    exact = len(pool) - len(rows)
    if pool.phashes is None or len(rows) > MOST:
        return Copies(tuple(rows), exact, 0, False)
    table = _signs([pool.phashes[row] for row in rows])
    kept: list[int] = []
    for start in range(0, len(rows), _BLOCK):
        block = table[start : start + _BLOCK]
        copied = np.asarray(_near(block, table[kept], ways).any(axis=1))
        within = _near(block, block, ways)
        for place in range(len(block)):
            if not copied[place]:
                kept.append(start + place)
                copied[place + 1 :] |= within[place, place + 1 :]
    return Copies(tuple(rows[place] for place in kept), exact, len(rows) - len(kept), True)


def _signs(phashes: list[str]) -> NDArray[np.float32]:
    """n x 256 of -1 and +1."""
    data = np.frombuffer(bytes.fromhex("".join(phashes)), dtype=np.uint8)
    bits = np.unpackbits(data.reshape(len(phashes), -1), axis=1)
    return bits.astype(np.float32) * 2 - 1


def _near(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    ways: Sequence[NDArray[np.float32]] = MIRRORED,
) -> NDArray[np.bool_]:
    """Which pairs differ in NEAR bits or fewer, as they are or one of them mirrored."""
    near = np.zeros((len(first), len(second)), dtype=bool)
    for signs in ways:
        near |= (first * signs) @ second.T >= 256 - 2 * NEAR
    return near
