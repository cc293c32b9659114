"""Shows a third party some bits of a key, chosen by a public random number; the rest stay secret.

First the owner seals: a file with the hash of the report and with salted hashes of every bit of the
key and of every F_j. Once somebody else has this file, or it has a time stamp, a later round of a
public beacon chooses the bits, and the owner opens these: sign, F_j and the secrets of their
hashes. The test of the opened bits is a keyed test of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from siren_ext.documents import parse_json
from siren_ext.errors import EvidenceError
from siren_ext.evidence.beacon import CHAINS, QUICKNET, Round, check_round
from siren_ext.evidence.commitment import Commitment
from siren_ext.files import sha256_file
from siren_ext.formats import Sha256, convert_format, read_format
from siren_ext.keys.coating_key import MAX_BITS, CoatingKey
from siren_ext.keys.encrypted_file import write_private
from siren_ext.keys.single_bits import bit_secrets, joint_hash, key_hashes, salted_hash
from siren_ext.report.integrity import JSON
from siren_ext.report.stored import ADVICE, StoredReport
from siren_ext.schema import to_plain
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import LARGEST, contributions, whole_sums
from siren_ext.verdict.pools import used_features

BITS = 24
"""How many bits are opened unless stated otherwise: p of the opened test is 2^-24 or more."""
MAX_BYTES = 4 << 20
_SUMS = b"sums\0"
_CHOICE = b"siren_ext.opened_choice.1\0"
_UNTOUCHED = "Use the file that 'siren-ext report open' wrote, unchanged."
_Hashes = Annotated[tuple[Sha256, ...], Meta(min_length=1, max_length=MAX_BITS)]


class Sealed(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is fixed before a random number chooses the bits; it reveals none of them.

    Attributes
    ----------
    created : str
        in UTC by the computer's clock.
    report : str
        SHA-256 of ``report.json``.
    key : str
        fingerprint of the tested key.
    derived : bool
        whether the key follows from a committed salt.
    count : int
        how many bits will be opened.
    key_hashes, sum_hashes : tuple[str, ...]
        salted hashes of every bit of the key, and of every F_j.
    """

    format: Literal["siren_ext.sealed_bits"] = "siren_ext.sealed_bits"
    version: Literal[1] = 1
    created: Annotated[str, Meta(max_length=40)]
    report: Sha256
    key: Sha256
    derived: bool
    count: Annotated[int, Meta(ge=1, le=MAX_BITS // 2)]
    key_hashes: _Hashes
    sum_hashes: _Hashes


class OpenedBit(Struct, forbid_unknown_fields=True, frozen=True):
    """One bit: its place, sign and F_j, and the secrets of their two hashes."""

    index: Annotated[int, Meta(ge=0, lt=MAX_BITS)]
    sign: Literal[-1, 1]
    secret: Sha256
    sum: Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
    sum_secret: Sha256


class Opening(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The opened bits, with the sealed file to the letter and the round that chose them."""

    format: Literal["siren_ext.opened_bits"] = "siren_ext.opened_bits"
    version: Literal[1] = 1
    sealed: Annotated[str, Meta(max_length=MAX_BYTES)]
    round: Round
    opened: Annotated[tuple[OpenedBit, ...], Meta(min_length=1, max_length=MAX_BITS // 2)]

    @property
    def digest(self) -> str:
        """SHA-256 of the sealed file."""
        return hashlib.sha256(self.sealed.encode()).hexdigest()

    def unsealed(self) -> Sealed:
        """The sealed file's content.

        Raises
        ------
        EvidenceError
            it is malformed.
        """
        return _sealed(self.sealed.encode(), "The sealed part of the opening")


def seal_bits(
    folder: Path, key: CoatingKey, suspect: ScoreSet, commitment: Path, count: int = BITS
) -> Sealed:
    """Fix everything that an opening will show, before it is known what is shown.

    Parameters
    ----------
    folder : Path
        of the report.
    key : CoatingKey
        the tested key.
    suspect : ScoreSet
        the scores with features from which the report was made.
    commitment : Path
        that holds the hashes of the key's bits.
    count : int
        how many bits will be opened, at most half of them.

    Returns
    -------
    Sealed
        to be saved by :func:`save_sealed`.

    Raises
    ------
    EvidenceError
        report, key, scores and commitment do not belong together, or ``count`` is out of range.
    """
    report, sums = _fitting(folder, key, suspect)
    if not 1 <= count <= key.bits // 2:
        raise EvidenceError(
            f"{count} of {key.bits} bits would be opened; expected 1 to {key.bits // 2}, so that "
            "as many stay secret."
        )
    derived = _is_derived(key, Commitment.load(commitment), Path(commitment).name)
    hidden = _sum_secrets(key, report)
    return Sealed(
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        report=report,
        key=key.fingerprint(),
        derived=derived,
        count=count,
        key_hashes=tuple(key_hashes(key, derived=derived)),
        sum_hashes=tuple(
            salted_hash(i, secret, value)
            for i, (secret, value) in enumerate(zip(hidden, sums, strict=True))
        ),
    )


def open_bits(
    folder: Path,
    key: CoatingKey,
    suspect: ScoreSet,
    sealed: str,
    found: Round,
    number: int | None = None,
) -> Opening:
    """Open the bits that a round chooses.

    Parameters
    ----------
    folder, key, suspect
        as for :func:`seal_bits`.
    sealed : str
        content of the sealed file.
    found : Round
        of drand's quicknet.
    number : int | None
        the round that it must be: the one that the third party named, or the first after the time
        stamp of the sealed file; None for any.

    Returns
    -------
    Opening
        to be saved by :func:`save_opening`.

    Raises
    ------
    EvidenceError
        the sealed file is of another report or key, or it is another round.
    """
    was = _sealed(sealed.encode(), "The sealed file")
    report, sums = _fitting(folder, key, suspect)
    if (was.report, was.key) != (report, key.fingerprint()):
        raise EvidenceError(
            "The sealed file is of another report or key. Use that which was sealed, unchanged."
        )
    check_round(found, CHAINS[QUICKNET], found.round if number is None else number)
    digest = hashlib.sha256(sealed.encode()).hexdigest()
    secrets, hidden = bit_secrets(key._salt, key.bits), _sum_secrets(key, report)
    signs = key.signs()
    opened = tuple(
        OpenedBit(i, 1 if signs[i] > 0 else -1, secrets[i].hex(), int(sums[i]), hidden[i].hex())
        for i in chosen_bits(found.randomness, digest, key.bits, was.count)
    )
    return Opening(sealed=sealed, round=found, opened=opened)


def chosen_bits(randomness: str, sealed: str, bits: int, count: int) -> list[int]:
    """The bits that a random number chooses: those with the smallest hashes.

    Parameters
    ----------
    randomness, sealed : str
        of the round, and SHA-256 of the sealed file; 64 hexadecimal digits each.
    bits, count : int
        k, and how many to choose.

    Returns
    -------
    list[int]
        ascending.
    """
    head = _CHOICE + bytes.fromhex(randomness) + bytes.fromhex(sealed)
    order = sorted(range(bits), key=lambda i: hashlib.sha256(head + i.to_bytes(2, "big")).digest())
    return sorted(order[:count])


def save_sealed(sealed: Sealed, path: Path) -> str:
    """Write a sealed file, a new one; returns its SHA-256.

    Raises
    ------
    EvidenceError
        the file exists or can't be written.
    """
    return _save(sealed, path)


def save_opening(opening: Opening, path: Path) -> str:
    """Write an opening, a new file that only this user can read; returns its SHA-256.

    Raises
    ------
    EvidenceError
        the file exists or can't be written.
    """
    return _save(opening, path)


def read_sealed(path: Path) -> str:
    """The text of a sealed file, checked for its form.

    Raises
    ------
    EvidenceError
        the file can't be read or is malformed.
    """
    name = Path(path).name
    read_format(
        path, Sealed, error=EvidenceError, name=name, max_bytes=MAX_BYTES, advice=_UNTOUCHED
    )
    return Path(path).read_bytes().decode()


def read_opening(path: Path) -> Opening:
    """Read an opening.

    Raises
    ------
    EvidenceError
        the file can't be read or is malformed.
    """
    name = Path(path).name
    return read_format(
        path, Opening, error=EvidenceError, name=name, max_bytes=MAX_BYTES, advice=_UNTOUCHED
    )


def _save(content: Struct, path: Path) -> str:
    text = json.dumps(to_plain(content), indent=2, ensure_ascii=False) + "\n"
    write_private(Path(path), text.encode())
    return sha256_file(path)


def _sealed(text: bytes, name: str) -> Sealed:
    values = parse_json(text, name=name, error=EvidenceError, max_bytes=MAX_BYTES)
    return convert_format(values, Sealed, name=name, error=EvidenceError, advice=_UNTOUCHED)


def _fitting(folder: Path, key: CoatingKey, suspect: ScoreSet) -> tuple[str, list[int]]:
    """SHA-256 of the report and F, if report, key and scores belong together."""
    path = Path(folder) / JSON
    report = read_format(path, StoredReport, error=EvidenceError, name=JSON, advice=ADVICE)
    kept = next((one for one in report.verdict.findings if one.test == "keyed"), None)
    if kept is None or kept.committed_as != key.fingerprint():
        raise EvidenceError("The report has no test of this key; name the report of its test.")
    sums = [int(value) for value in whole_sums(contributions(used_features(suspect)))]
    if sorted(map(abs, sums)) != [int(value) for value in kept.strengths]:
        raise EvidenceError(
            "The scores are not those of the report; use the file from which it was made."
        )
    return sha256_file(path), sums


def _is_derived(key: CoatingKey, commitment: Commitment, name: str) -> bool:
    """Whether the commitment's hashes of the key's bits are those of a derived key."""
    if joint_hash(key_hashes(key)) in commitment.bits:
        return False
    salt = commitment.salt
    if salt is not None and joint_hash(key_hashes(key, derived=True)) in salt.bits:
        return True
    raise EvidenceError(
        f"{name} holds no hashes of this key's single bits; expected the commitment to this key, "
        "made by a version that writes them."
    )


def _sum_secrets(key: CoatingKey, report: str) -> Sequence[bytes]:
    """The secrets of the hashes of F_j in one report."""
    return bit_secrets(key._salt, key.bits, _SUMS + bytes.fromhex(report))
