"""Checks what a report says of its commitment by saying it again.

The words are made again with the files that the report names as its own, not with all that the
checking person has, or an honest report would differ from what is found with more or fewer files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from siren_ext.evidence.chain import NOT_DERIVED, SIGNATURE, ChainFiles, check_scores
from siren_ext.evidence.commitment import Commitment
from siren_ext.evidence.ledger import counted_words
from siren_ext.evidence.precedence import Precedence, not_committed
from siren_ext.evidence.prompt_plan import LOST, RECORDS
from siren_ext.report.redaction import clean
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.wording import WORDING

if TYPE_CHECKING:
    from siren_ext.keys.derived import KeySalt

WORDS = "what the report says of its commitment, its time stamp and what matches"
_FILES = re.compile(r"[\d,]+ coated files")
_FIELDS = {"status": "whether it fits", "stamped": "its time stamp", "checked": "what matches"}


def words_of(
    stated: Precedence,
    wording: int | None,
    own: ScoreSet,
    keys: Sequence[str],
    files: ChainFiles | None,
    salt: KeySalt | None,
) -> tuple[list[str], list[str]]:
    """Compare what a report says of its commitment with what follows from the files.

    Parameters
    ----------
    stated : Precedence
        What it says.
    wording : int | None
        The version of its sentences.
    own : ScoreSet
        Its suspect's scores.
    keys : Sequence[str]
        Fingerprints of the tested keys.
    files : ChainFiles | None
        The commitment and what belongs to it; None if they are not at hand.
    salt : KeySalt | None
        Of a derived key.

    Returns
    -------
    tuple[list[str], list[str]]
        What differs and what could not be checked, in words.

    Raises
    ------
    EvidenceError
        A file can't be read, or the time stamp is not valid.
    """
    if stated.status == "does not fit":  # it claims nothing for its owner
        return [], []
    if not stated.created:
        again = not_committed(keyed=bool(keys), twins=own.twins)
    elif files is None:
        return [], [WORDS]
    else:
        used, lacks = _as_written(stated, keys, files, salt)
        if lacks:
            return [], [f"{WORDS}, for which {' and '.join(lacks)} must be given too"]
        again = check_scores(used, own, keys, salt)
        for one in (SIGNATURE, RECORDS, LOST):  # depends on the program that looked
            if (one in again.unchecked) != (one in stated.unchecked):
                return [], [f"{WORDS}, as {one} could not be checked both then and now"]
    wrong = [
        words for name, words in _FIELDS.items() if getattr(stated, name) != getattr(again, name)
    ]
    if wording != WORDING:
        return wrong, ["its sentences, which are those of another version"]
    fits, count_open = counted_words(stated, clean(again.text))
    wrong += ["its text"] * (not fits)
    wrong += ["what was not checked"] * (
        stated.unchecked != (*clean(list(again.unchecked)), *count_open)
    )
    return wrong, []


def _as_written(
    stated: Precedence, keys: Sequence[str], files: ChainFiles, salt: KeySalt | None
) -> tuple[ChainFiles, list[str]]:
    """The files that the report was written with, and the options of those that are missing."""
    derived = not set(keys) <= set(Commitment.load(files.commitment).keys)
    open_ = next((one for one in stated.unchecked if one.startswith(NOT_DERIVED)), "")
    had = {
        "--timestamp": bool(stated.stamped),
        "--coater": "the coater file" in stated.checked,
        "--coated": any(map(_FILES.fullmatch, stated.checked)),
        "--round": derived and "--round" not in open_,
        "--salt": derived and "--salt" not in open_,
    }
    given = {
        "--timestamp": files.timestamp,
        "--coater": files.coater,
        "--coated": files.coated,
        "--round": files.round,
        "--salt": salt,
    }
    lacks = [name for name, there in had.items() if there and given[name] is None]
    used = replace(
        files,
        timestamp=files.timestamp if had["--timestamp"] else None,
        coater=files.coater if had["--coater"] else None,
        coated=files.coated if had["--coated"] else None,
        round=files.round if had["--round"] else None,
    )
    return used, lacks
