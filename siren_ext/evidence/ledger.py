"""The ledger of a key file: which tests were made with its keys, each line bound to the last.

Whoever tests often enough finds something by chance, so p is corrected for the number of tests.
Test j of a key file is multiplied by j (j + 1): the accepted risk of all tests together, however
many follow, is then at most alpha, as the sum of 1 / (j (j + 1)) over all j is 1. The same pictures
tested again are the same test. A coater without a key, which is ranked among decoys, has its ledger
beside the commitment, and so have the coins of twins.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from siren_ext.documents import read_bytes
from siren_ext.errors import EvidenceError
from siren_ext.evidence.precedence import Precedence
from siren_ext.files import locked, sibling
from siren_ext.formats import Sha256
from siren_ext.keys.encrypted_file import write_private
from siren_ext.schema import parse_as, to_plain
from siren_ext.scoring.copies import copies_in
from siren_ext.scoring.decoys import decoys_of
from siren_ext.scoring.score_set import CENTRED, ScoreSet

MAX_BYTES = 256 << 20
KEY_FILE, COMMITMENT = ("key file", "key"), ("commitment", "coater")
COINS = ("commitment", "twins' coins")
"""Beside what a ledger lies, and whose tests it counts."""
_START = hashlib.sha256(b"siren_ext.ledger.1\0").hexdigest()
_EARLIER = "earlier tests of the "
_FAULT = (
    r" (There was no ledger beside the [a-z ]+, so earlier tests of [a-z' ]+ are not known; one "
    r"was begun|The ledger of the [a-z ]+ (is broken: (tests before )?line \d+ (is no entry|does "
    r"not follow the line before|has the number of another test|are missing)|has no beginning)\. "
    r"Earlier tests are not known)\."
)
_READINGS = ("mirrored", "removed")
_ADVICE = "Use an untouched copy of the ledger."
_PATIENCE = 10.0  # seconds; another process needs milliseconds to count


class Entry(Struct, forbid_unknown_fields=True, frozen=True):
    """A line of the ledger.

    Attributes
    ----------
    previous : str
        SHA-256 of the line before; of a fixed word for the first.
    number : int
        of the test, from 1; the line itself is also numbered 0 where the ledger begins.
    time : str
        in UTC by the computer's clock.
    suspect : str
        SHA-256 of the coater's fingerprint and the tested pictures; "" in the first line.
    key : str
        fingerprint of the tested key; "" for all keys of the file, for a coater without a key, and
        in the first line.
    """

    previous: Sha256
    number: Annotated[int, Meta(ge=0, le=10**9)]
    time: Annotated[str, Meta(max_length=40)]
    suspect: Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")]
    key: Annotated[str, Meta(pattern=r"\A([0-9a-f]{64})?\Z")]


@dataclass(frozen=True)
class Count:
    """Which test of a key file or of a commitment this is.

    Attributes
    ----------
    number : int
        j, from 1.
    whole : bool
        whether the ledger was there from the beginning and no line is missing or changed.
    text : str
        the same in words.
    head : str
        SHA-256 of the ledger's last line, which fixes all lines.
    tested : str
        "key", "coater" or "twins' coins".
    """

    number: int
    whole: bool
    text: str
    head: str
    tested: str = "key"

    @property
    def price(self) -> int:
        """What p is multiplied by, j (j + 1)."""
        return price_of(self.number)


def price_of(number: int) -> int:
    """The factor of test ``number``, from 1."""
    return number * (number + 1)


def priced(found: Precedence, count: Count, recipients: int) -> tuple[Precedence, int]:
    """Add the ledger's count to what a commitment says.

    Parameters
    ----------
    found : Precedence
        of the commitment.
    count : Count
        of the ledger.
    recipients : int
        number of keys in the key file; 0 for a coater without a key.

    Returns
    -------
    tuple[Precedence, int]
        the same with the count, and what p is multiplied by: K, the larger of the numbers of
        committed and of present keys, times j (j + 1).
    """
    keys = max(found.keys, recipients)
    earlier = f"{_EARLIER}{count.tested}"
    open_ = found.unchecked if count.whole else (*found.unchecked, earlier)
    texts = [found.text, count.text]
    if recipients > found.keys and recipients > 1:
        texts.append(f"The key file holds {recipients:,} keys, and p is multiplied by this too.")
    added = replace(
        found,
        text=" ".join(texts),
        keys=keys,
        number=count.number,
        ledger=count.head,
        unchecked=open_,
    )
    return added, max(1, keys) * count.price


def counted_words(stated: Precedence, before: str) -> tuple[bool, tuple[str, ...]]:
    """Whether a text is one that :func:`priced` can have made.

    Parameters
    ----------
    stated : Precedence
        with the text, the number of the test and K.
    before : str
        the text to which the count was added.

    Returns
    -------
    tuple[bool, tuple[str, ...]]
        whether it is, and what the ledger left open, which the text then says too.
    """
    open_ = tuple(one for one in stated.unchecked[-1:] if one.startswith(_EARLIER))
    if not stated.number:
        return stated.text == before and not open_, open_
    price = price_of(stated.number)
    # earlier versions wrote "again, test 1 of the key file"
    count = rf" This is (again, )?test {stated.number} of the [a-z ]+; p is multiplied by {price}\."
    keys = rf"( The key file holds {stated.keys:,} keys, and p is multiplied by this too\.)?"
    pattern = re.escape(before) + count + (_FAULT if open_ else "") + keys
    return re.fullmatch(pattern, stated.text) is not None, open_


def ledger_of(file: Path) -> Path:
    """Where the ledger of a key file or of a commitment lies: beside it."""
    return sibling(Path(file), ".ledger")


def start_ledger(file: Path) -> None:
    """Begin the ledger of a new key file or commitment; one that is there already stays.

    Raises
    ------
    EvidenceError
        it can't be written.
    """
    place = ledger_of(file)
    if not place.exists():
        write_private(place, _line(Entry(_START, 0, _now(), "", "")))


def count_test(file: Path, scores: ScoreSet, key: str, kind: tuple[str, str] = KEY_FILE) -> Count:
    """Enter a test into the ledger, before its result is known.

    Parameters
    ----------
    file : Path
        the key file or commitment.
    scores : ScoreSet
        the suspect's.
    key : str
        fingerprint of the key; "" for all keys of the file, and for a coater without a key.
    kind : tuple[str, str]
        :data:`KEY_FILE`, :data:`COMMITMENT` or :data:`COINS`.

    Returns
    -------
    Count
        the number of the test. A missing or broken ledger is reported there.

    Raises
    ------
    EvidenceError
        the ledger can't be read or written.
    """
    # or two processes would give two tests one number, and break the chain
    with locked(ledger_of(file), _PATIENCE):
        return _entered(file, scores, key, kind)


def _entered(file: Path, scores: ScoreSet, key: str, kind: tuple[str, str]) -> Count:
    """:func:`count_test`, while no other process counts."""
    beside, tested = kind
    place = ledger_of(file)
    fault = ""
    if not place.exists():
        start_ledger(file)
        this = tested if kind == COINS else f"this {tested}"
        fault = (
            f"There was no ledger beside the {beside}, so earlier tests of {this} are not "
            "known; one was begun."
        )
    lines = read_lines(place)
    entries, broken = read_ledger(place, lines)
    if broken:
        fault = f"The ledger of the {beside} is broken: {broken}. Earlier tests are not known."
    if not fault and not (entries and entries[0].number == 0):
        fault = f"The ledger of the {beside} has no beginning. Earlier tests are not known."
    seen = list(dict.fromkeys(one.suspect for one in entries if one.suspect))
    suspect = suspect_digest(scores)
    again = suspect in seen
    number = seen.index(suspect) + 1 if again else len(seen) + 1
    head = line_hash(lines[-1]) if lines else _START
    if not any((one.suspect, one.key) == (suspect, key) for one in entries):
        line = _line(Entry(head, number, _now(), suspect, key))
        _append(place, line)
        head = line_hash(line.rstrip(b"\n"))
    which = f"test {number} of the {beside}{' again' if again else ''}"
    text = f"This is {which}; p is multiplied by {price_of(number)}."
    return Count(number, not fault, f"{text} {fault}".rstrip(), head, tested)


def read_ledger(place: Path, lines: Sequence[bytes] | None = None) -> tuple[list[Entry], str]:
    """Read a ledger and check its chain.

    Parameters
    ----------
    place : Path
        the file.
    lines : Sequence[bytes] | None
        its lines, if they were read already.

    Returns
    -------
    tuple[list[Entry], str]
        the lines that can be read, and the first fault in words, "" for none.

    Raises
    ------
    EvidenceError
        the file can't be read.
    """
    entries: list[Entry] = []
    fault, before, number = "", _START, 0
    seen: dict[str, int] = {"": 0}
    for index, line in enumerate(read_lines(place) if lines is None else lines, start=1):
        try:
            entry = parse_as(line, Entry, name="line", error=EvidenceError, max_bytes=1000)
        except EvidenceError:
            fault = fault or f"line {index} is no entry"
        else:
            entries.append(entry)
            if entry.previous != before:
                fault = fault or f"line {index} does not follow the line before"
            if entry.number > number + 1:
                fault = fault or f"tests before line {index} are missing"
            if entry.number != seen.setdefault(entry.suspect, len(seen)):
                fault = fault or f"line {index} has the number of another test"
            number = max(number, entry.number)
        before = line_hash(line)
    return entries, fault


def suspect_digest(scores: ScoreSet, *, chosen: bool = True) -> str:
    """SHA-256 that names what is tested: the coater and the pictures, in any order.

    Of near copies the first one counts, so the order decides what is tested if there are any. Then
    the pictures that count are named too, and another choice among copies is another test.

    What is measured on images of the owner, a model's preference or its losses of twins, is named
    by its figures and not by these; a test of whole changes and one of bits alone are two, and so
    are two readings of one measurement. Of a test of whole changes the files of the images are
    named too: the messages that the key is compared with follow from them, so the same images,
    saved anew, are another test. The same pictures, centred by uncoated ones or by others, are
    another test, and so is their rank among another number of decoys.

    Parameters
    ----------
    scores : ScoreSet
        the suspect's.
    chosen : bool
        whether to name the pictures that count among near copies, and the files of a test of
        whole changes; ledgers of earlier versions do not.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(scores.coater.encode())
    if (among := decoys_of(scores)) is not None:
        digest.update(f"{len(among.decoys)} decoys".encode())
    if CENTRED in scores.source:
        digest.update(json.dumps(scores.source[CENTRED], sort_keys=True).encode())
    if scores.whole:
        digest.update(b"whole changes")
    if scores.preference and (reading := _reading(scores)):
        digest.update(json.dumps(reading, sort_keys=True).encode())
    named = all(scores.hashes) and not scores.preference and not scores.twins
    hashes = scores.hashes if named else tuple(map(float.hex, scores.scores.tolist()))
    for one in sorted(set(hashes)):
        digest.update(f"\0{one}".encode())
    if chosen and named and (copies := copies_in(scores)).near:
        for one in sorted(scores.hashes[row] for row in copies.kept):
            digest.update(f"\1{one}".encode())
    if chosen and scores.whole:
        for one in scores.hashes:  # in their order, as for the seed of the messages
            digest.update(f"\2{one}".encode())
    return digest.hexdigest()


def _reading(scores: ScoreSet) -> dict[str, Any]:
    """What changes the figures of a measured model but not its losses; empty if it is as usual."""
    settings, models = scores.source.get("settings"), scores.source.get("provenance")
    known = settings if isinstance(settings, dict) else {}
    found = {name: known[name] for name in _READINGS if known.get(name, True) is not True}
    if isinstance(models, dict) and models.get("others"):
        found["others"] = models["others"]
    return found


def read_lines(place: Path) -> list[bytes]:
    """The lines of a ledger, which :func:`read_ledger` checks."""
    name = place.name
    data = read_bytes(place, error=EvidenceError, max_bytes=MAX_BYTES, name=name, advice=_ADVICE)
    return data.splitlines()


def _append(place: Path, line: bytes) -> None:
    """Add a line, also after one that was not finished; one that fails leaves nothing."""
    size = -1
    try:
        with place.open("a+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 1))
            begun = stream.read(1) not in (b"", b"\n")
            stream.write(b"\n" * begun + line)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        if size >= 0:
            with suppress(OSError):
                os.truncate(place, size)
        raise EvidenceError(
            f"{place.name} can't be written ({error.strerror}), and a test that is not in the "
            "ledger does not count; make the file writable."
        ) from error


def _line(entry: Entry) -> bytes:
    return json.dumps(to_plain(entry), separators=(",", ":")).encode() + b"\n"


def line_hash(line: bytes) -> str:
    """SHA-256 by which the next line, or a report, names a line."""
    return hashlib.sha256(line).hexdigest()


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
