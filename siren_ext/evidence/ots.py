"""Time stamps by OpenTimestamps: a Bitcoin block that follows from the SHA-256 of a commitment.

A calendar server collects hashes and puts one hash of them all into a block, hours later. So a
proof is pending at first and is completed later. A complete proof leads to the Merkle root of one
block. What it is worth follows from the block's header, which the person who checks names: its
time, and the work that went into its hash.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from siren_ext.documents import read_bytes
from siren_ext.errors import EvidenceError, MissingExtraError
from siren_ext.files import sha256_file
from siren_ext.text import printable

MAGIC = b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94"
"""How every proof file begins."""
MAX_PROOF = 1 << 17
MAX_HEADER = 1000
_MAX_ANSWER = 10_000
_KIND = "application/x-www-form-urlencoded"
_ADVICE = (
    "Use the proof as 'siren-ext commit stamp --calendar' wrote it, a file such as c.json.ots."
)
_HEADER = (
    "Use the header of that block from a Bitcoin node or a block explorer, as 80 bytes or as 160 "
    "hexadecimal digits."
)
PLACE = (
    "whether the block belongs to the chain that Bitcoin uses (compare its hash with that of a "
    "node or a block explorer)"
)
"""What a header alone does not show; only its work is checked."""
_LEAST_WORK = 1 << 188
"""Hashes of real blocks are smaller since 2016, before the first calendar. To make up a header
with such a hash takes 2^68 tries."""
_CLOCKS = timedelta(hours=2)
"""By how much the time in a header may be wrong: nodes accept no more into the future, and the
median of the last 11 blocks, about an hour, into the past."""


@dataclass(frozen=True)
class BlockProof:
    """What a complete proof leads to.

    Attributes
    ----------
    height : int
        number of the Bitcoin block.
    root : bytes
        its Merkle root, as it stands in the header.
    """

    height: int
    root: bytes


@dataclass(frozen=True)
class Proof:
    """A proof for one file, which fits it.

    Attributes
    ----------
    data : bytes
        the content of its file.
    blocks : tuple[BlockProof, ...]
        what it leads to, lowest block first; empty while it is pending.
    calendars : tuple[str, ...]
        servers that promised to complete it.
    """

    data: bytes
    blocks: tuple[BlockProof, ...]
    calendars: tuple[str, ...]


@dataclass(frozen=True)
class Header:
    """The header of a block.

    Attributes
    ----------
    hash : str
        of the block, as explorers show it.
    root : bytes
        Merkle root.
    time : datetime
        in UTC, as the miner stated it.
    """

    hash: str
    root: bytes
    time: datetime


def request_proof(url: str, file: Path, *, timeout: float = 60.0) -> Proof:
    """Ask a calendar to promise a proof of a file.

    Parameters
    ----------
    url : str
        the calendar's https address; http is allowed for this machine only.
    file : Path
        the commitment.
    timeout : float
        seconds for the whole exchange.

    Returns
    -------
    Proof
        pending. The calendar got a hash of the file's SHA-256 and a random number.

    Raises
    ------
    ConfigError
        the address is malformed or not https.
    EvidenceError
        the file can't be read, or the calendar gave no proof.
    MissingExtraError
        the package ``opentimestamps`` is not installed.
    """
    from siren_ext.evidence.web import send_safely

    ots = _Library()
    stamp = ots.timestamp.Timestamp(_digest(file))
    asked = stamp.ops.add(ots.op.OpAppend(os.urandom(16))).ops.add(ots.op.OpSHA256())
    where = f"{url.rstrip('/')}/digest"
    answer = send_safely(where, asked.msg, _KIND, limit=_MAX_ANSWER, timeout=timeout)
    asked.merge(ots.answer(answer, asked.msg))
    return ots.proof(ots.timestamp.DetachedTimestampFile(ots.op.OpSHA256(), stamp))


def complete_proof(proof: Proof, *, timeout: float = 60.0) -> Proof:
    """Ask the calendars in a pending proof for the rest of it.

    Parameters
    ----------
    proof : Proof
        of :func:`read_proof`.
    timeout : float
        seconds for each exchange.

    Returns
    -------
    Proof
        complete, or as it was if no calendar has the rest yet.

    Raises
    ------
    ConfigError
        an address in the proof is malformed or not https.
    EvidenceError
        a calendar gave no usable answer.
    """
    from siren_ext.evidence.web import get_safely

    ots = _Library()
    file = ots.read(proof.data, "The proof")
    for stamp in list(ots.pending(file.timestamp)):
        for promise in sorted(stamp.attestations):
            if not isinstance(promise, ots.notary.PendingAttestation):
                continue
            where = f"{promise.uri.rstrip('/')}/timestamp/{stamp.msg.hex()}"
            try:
                answer = get_safely(where, limit=_MAX_ANSWER, timeout=timeout)
            except EvidenceError as error:
                if " answered 404" in str(error):  # not in a block yet
                    continue
                raise
            stamp.merge(ots.answer(answer, stamp.msg))
    return ots.proof(file)


def read_proof(place: Path, file: Path) -> Proof:
    """Read a proof and check that it is for a file.

    Parameters
    ----------
    place : Path
        the proof.
    file : Path
        the commitment.

    Returns
    -------
    Proof
        pending or complete. Nothing is known yet of the blocks that it names.

    Raises
    ------
    EvidenceError
        a file can't be read, or the proof is damaged or for another file.
    MissingExtraError
        the package ``opentimestamps`` is not installed.
    """
    name = printable(Path(place).name)
    data = read_bytes(place, error=EvidenceError, max_bytes=MAX_PROOF, name=name, advice=_ADVICE)
    ots = _Library()
    found = ots.read(data, name)
    if not isinstance(found.file_hash_op, ots.op.OpSHA256) or found.file_digest != _digest(file):
        raise EvidenceError(
            f"{name} does not belong to {printable(Path(file).name)}, or one of them was changed."
        )
    return ots.proof(found)


def read_header(data: bytes) -> Header:
    """Read the header of a Bitcoin block and check its work.

    Parameters
    ----------
    data : bytes
        80 bytes, or their 160 hexadecimal digits.

    Returns
    -------
    Header
        its figures.

    Raises
    ------
    EvidenceError
        it is no header, or less work went into it than into any block since 2016.
    """
    if len(data) != 80:
        text = b"".join(data.split())
        if not re.fullmatch(rb"[0-9A-Fa-f]{160}", text):
            raise EvidenceError(f"This is not the header of a Bitcoin block. {_HEADER}")
        data = bytes.fromhex(text.decode("ascii"))
    digest = hashlib.sha256(hashlib.sha256(data).digest()).digest()[::-1]
    bits = int.from_bytes(data[72:76], "little")
    target = (bits & 0x7FFFFF) << max(0, 8 * ((bits >> 24) - 3))
    if int.from_bytes(digest, "big") > min(target, _LEAST_WORK):
        raise EvidenceError(
            f"The block with hash {digest.hex()} has less work than any real one since 2016, so "
            f"anybody could have made it up. {_HEADER}"
        )
    time = datetime.fromtimestamp(int.from_bytes(data[68:72], "little"), timezone.utc)
    return Header(digest.hex(), data[36:68], time)


def check_proof(proof: Proof, header: bytes) -> tuple[BlockProof, Header, datetime]:
    """Check a complete proof against the header of its block.

    Parameters
    ----------
    proof : Proof
        of :func:`read_proof`.
    header : bytes
        as in :func:`read_header`.

    Returns
    -------
    tuple[BlockProof, Header, datetime]
        the block; its header; and the latest time at which it can have been made.

    Raises
    ------
    EvidenceError
        the proof is pending, or the header is another block's.

    References
    ----------
    Todd (2016), "OpenTimestamps: Scalable, Trust-Minimized, Distributed Timestamping with Bitcoin".
    """
    if not proof.blocks:
        raise EvidenceError(
            f"The proof is pending at {', '.join(proof.calendars) or 'no calendar'}; complete it "
            "with 'siren-ext commit stamp --calendar' some hours after you asked for it."
        )
    found = read_header(header)
    for block in proof.blocks:
        if block.root == found.root:
            return block, found, found.time + _CLOCKS
    heights = " or ".join(f"{block.height:,}" for block in proof.blocks)
    raise EvidenceError(
        f"The proof leads to block {heights}, but the header of another block was given (hash "
        f"{found.hash}). {_HEADER}"
    )


class _Library:
    """The package that reads and writes proofs."""

    def __init__(self) -> None:
        try:
            from opentimestamps.core import notary, op, serialize, timestamp
        except (ImportError, OSError) as error:
            raise MissingExtraError("opentimestamps", "opentimestamps") from error
        self.notary, self.op, self.serialize, self.timestamp = notary, op, serialize, timestamp
        # what the package raises for bad data: besides its own, limits of numbers and of depth
        self.bad = (
            serialize.DeserializationError,
            ValueError,
            TypeError,
            RecursionError,
            MemoryError,
        )

    def read(self, data: bytes, name: str) -> Any:
        """A proof file, parsed."""
        context = self.serialize.BytesDeserializationContext(data)
        try:
            return self.timestamp.DetachedTimestampFile.deserialize(context)
        except (*self.bad, AssertionError) as error:
            raise EvidenceError(f"{name} is not an OpenTimestamps proof. {_ADVICE}") from error

    def answer(self, data: bytes, message: bytes) -> Any:
        """A calendar's answer, parsed."""
        context = self.serialize.BytesDeserializationContext(data)
        try:
            found = self.timestamp.Timestamp.deserialize(context, message)
            context.assert_eof()
        except (*self.bad, AssertionError) as error:
            raise EvidenceError(
                "The calendar's answer is not a proof; try again, or ask another calendar."
            ) from error
        return found

    def pending(self, stamp: Any) -> Iterator[Any]:
        """All parts of a proof that a calendar promised to complete."""
        if any(isinstance(one, self.notary.PendingAttestation) for one in stamp.attestations):
            yield stamp
        for following in list(stamp.ops.values()):
            yield from self.pending(following)

    def proof(self, file: Any) -> Proof:
        """The contents of a parsed proof."""
        context = self.serialize.BytesSerializationContext()
        file.serialize(context)
        found = list(file.timestamp.all_attestations())
        blocks = {
            BlockProof(one.height, message)
            for message, one in found
            if isinstance(one, self.notary.BitcoinBlockHeaderAttestation) and len(message) == 32
        }
        calendars = {one.uri for _, one in found if isinstance(one, self.notary.PendingAttestation)}
        ordered = sorted(blocks, key=lambda block: (block.height, block.root))
        return Proof(context.getbytes(), tuple(ordered), tuple(sorted(calendars)))


def _digest(file: Path) -> bytes:
    """SHA-256 of a commitment."""
    try:
        return bytes.fromhex(sha256_file(file))
    except OSError as error:
        raise EvidenceError(
            f"{printable(Path(file).name)} can't be read: {error.strerror}."
        ) from error
