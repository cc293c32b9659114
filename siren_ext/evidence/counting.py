"""Counts every test of a key, or of a coater without one, in its ledger, wherever it is made."""

from __future__ import annotations

from pathlib import Path

from siren_ext.evidence.ledger import COINS, COMMITMENT, count_test, priced
from siren_ext.evidence.precedence import Precedence, not_committed
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.scoring.decoys import decoys_of
from siren_ext.scoring.score_set import ScoreSet


class FiledKey(CoatingKey):
    """A key that knows its file, so that its tests can be counted.

    Parameters
    ----------
    key : CoatingKey
        the key.
    file : Path
        its file; the ledger lies beside it.
    keys : int
        number of keys in the file.
    """

    __slots__ = ("file", "keys")
    file: Path
    keys: int

    def __init__(self, key: CoatingKey, file: Path, keys: int) -> None:
        super().__init__(key.signs(), key._salt)
        object.__setattr__(self, "file", Path(file))
        object.__setattr__(self, "keys", keys)


def counted(
    key: CoatingKey | None,
    scores: ScoreSet,
    found: Precedence | None,
    commitment: Path | None = None,
) -> tuple[Precedence | None, int]:
    """Enter a test into the ledger before its result is known, and say what it costs.

    Parameters
    ----------
    key : CoatingKey | None
        the tested key; only a :class:`FiledKey` has a ledger.
    scores : ScoreSet
        the suspect's.
    found : Precedence | None
        what a commitment says; None without one.
    commitment : Path | None
        its file. A rank among decoys and a test of twins are entered into the ledger beside it.
        Without a commitment such a rank finds nothing, and the coins of twins are not shown to be
        older than the test, so neither is counted.

    Returns
    -------
    tuple[Precedence | None, int]
        the same with the number of the test, and what p is multiplied by. Without features there
        will be no keyed test, and nothing is entered.

    Raises
    ------
    EvidenceError
        the ledger can't be read or written.
    """
    if key is None and found is not None and commitment and decoys_of(scores) is not None:
        return priced(found, count_test(commitment, scores, "", COMMITMENT), 0)
    if key is None and found is not None and commitment and scores.twins:
        count = count_test(commitment, scores, "", COINS)
        return priced(found, count, 0)[0], count.price  # keys have no part in it
    if not isinstance(key, FiledKey) or scores.features is None:
        return found, max(1, found.keys) if found is not None and key is not None else 1
    count = count_test(key.file, scores, key.fingerprint())
    return priced(found or not_committed(keyed=True), count, key.keys)
