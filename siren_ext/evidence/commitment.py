"""A commitment: once published, it proves that coater, keys and files existed at that time.

It holds hashes only, but whoever has it can find out which public files are coated. So publish or
time-stamp the SHA-256 of the commitment file, which reveals nothing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from siren_ext.errors import EvidenceError
from siren_ext.evidence.coated_files import (
    MAX_FILES,
    coated_hashes,
    differences,
    refuse_other_runs,
)
from siren_ext.evidence.precedence import Precedence as Precedence
from siren_ext.evidence.precedence import not_committed as not_committed
from siren_ext.evidence.prompt_plan import CommittedPlan
from siren_ext.files import sha256_file
from siren_ext.formats import Sha256, read_format
from siren_ext.keys.coating_key import MAX_RECIPIENTS
from siren_ext.keys.encrypted_file import write_private
from siren_ext.schema import shown, to_plain
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.keys.derived import KeySalt

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SHOWN = 5
_UNTOUCHED = "Use the file that 'siren-ext commit' wrote, unchanged."
_Short = Annotated[str, Meta(max_length=200)]
_FORMAT = {"format": "siren_ext.commitment", "version": 1}


class _StoredFile(Struct, forbid_unknown_fields=True):
    """A coated file that was committed to."""

    name: Annotated[str, Meta(min_length=1, max_length=4096)]
    sha256: Sha256


class StoredSalt(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """A salt from which keys will be derived: its hash, how many keys, and hashes of their bits."""

    sha256: Sha256
    count: Annotated[int, Meta(ge=1, le=MAX_RECIPIENTS)]
    bits: tuple[Sha256, ...] = ()


class _Stored(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The commitment's file."""

    format: Literal["siren_ext.commitment"] = "siren_ext.commitment"
    version: Literal[1, 2] = 1
    created: str
    tool: _Short
    coater: _Short
    coater_sha256: Sha256
    committed: list[Sha256]
    files: Annotated[list[_StoredFile], Meta(max_length=MAX_FILES)]
    nonce: Sha256
    bits: list[Sha256] = []
    salt: StoredSalt | None = None
    plan: CommittedPlan | None = None
    twins: Sha256 | None = None


@dataclass(frozen=True)
class Commitment:
    """Hashes of a coater, keys and coated files.

    Attributes
    ----------
    created : str
        time in UTC by the computer's clock, such as ``2026-01-31T12:00:00Z``.
    tool : str
        name and version of the program.
    coater : str
        fingerprint of the coater.
    coater_sha256 : str
        of the coater file.
    keys : tuple[str, ...]
        fingerprints of the keys, sorted; they are salted, so they hide the messages.
    files : tuple[tuple[str, str], ...]
        (name, SHA-256) of every coated file.
    nonce : str
        32 random bytes as hexadecimal digits, so that the file's hash can't be guessed.
    salt : StoredSalt | None
        of keys that will be derived after the time stamp.
    plan : CommittedPlan | None
        what the suspect will be asked.
    bits : tuple[str, ...]
        joint hashes of the keys' single bits, in the order of ``keys``; empty if none were made.
    twins : str | None
        SHA-256 of the record of twins, which fixes their coins.
    """

    created: str
    tool: str
    coater: str
    coater_sha256: str
    keys: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    nonce: str
    salt: StoredSalt | None = None
    plan: CommittedPlan | None = None
    bits: tuple[str, ...] = ()
    twins: str | None = None

    @property
    def count(self) -> int:
        """K, the number of keys that the owner could choose from; p is multiplied by it."""
        return len(self.keys) + (self.salt.count if self.salt else 0)

    def save(self, path: Path) -> str:
        """Write the JSON file, readable by this user only.

        Parameters
        ----------
        path : Path
            a new file.

        Returns
        -------
        str
            SHA-256 of the file.

        Raises
        ------
        EvidenceError
            the file exists or can't be written.
        """
        stored = _Stored(
            created=self.created,
            tool=self.tool,
            coater=self.coater,
            coater_sha256=self.coater_sha256,
            committed=list(self.keys),
            files=[_StoredFile(name, digest) for name, digest in self.files],
            nonce=self.nonce,
            salt=self.salt,
            plan=self.plan,
            bits=list(self.bits),
            twins=self.twins,
            version=2 if self.salt or self.plan or self.bits or self.twins else 1,
        )
        text = json.dumps(_FORMAT | to_plain(stored), indent=2, ensure_ascii=False) + "\n"
        write_private(Path(path), text.encode("utf-8"))
        return sha256_file(path)

    @classmethod
    def load(cls, path: Path) -> Commitment:
        """Read a commitment.

        Parameters
        ----------
        path : Path
            file of :meth:`save`.

        Returns
        -------
        Commitment
            its content.

        Raises
        ------
        EvidenceError
            the file is missing, damaged or of another kind.
        """
        name = Path(path).name
        stored = read_format(path, _Stored, error=EvidenceError, name=name, advice=_UNTOUCHED)
        if not _is_time(stored.created):
            raise EvidenceError(
                f"{name}: created is {shown(stored.created)}; expected a time such as "
                f"2026-01-31T12:00:00Z. {_UNTOUCHED}"
            )
        if stored.bits and len(stored.bits) != len(stored.committed):
            raise EvidenceError(
                f"{name}: there are {len(stored.bits)} hashes of bits for {len(stored.committed)} "
                f"keys; expected one for each. {_UNTOUCHED}"
            )
        for file in stored.files:
            # save() never writes such names, which could forge lines in a list of differences.
            if not file.name.isprintable() and file.name != printable(file.name):
                raise EvidenceError(
                    f"{name}: a file is named {shown(file.name)}; expected a name without control "
                    f"characters. {_UNTOUCHED}"
                )
        return cls(
            stored.created,
            stored.tool,
            stored.coater,
            stored.coater_sha256,
            tuple(stored.committed),
            tuple((file.name, file.sha256) for file in stored.files),
            stored.nonce,
            stored.salt,
            stored.plan,
            tuple(stored.bits),
            stored.twins,
        )


def make_commitment(
    coater_file: Path,
    keys: Iterable[str] = (),
    coated: Path | None = None,
    *,
    salt: KeySalt | None = None,
    plan: CommittedPlan | None = None,
    bits: Mapping[str, str] | None = None,
    twins: Path | None = None,
) -> Commitment:
    """Commit to a coater, keys and the images of a coated folder.

    Parameters
    ----------
    coater_file : Path
        the coater.
    keys : Iterable[str]
        fingerprints of the keys.
    coated : Path | None
        folder with the coated images; uncoated images that ``coat`` copied are left out.
    salt : KeySalt | None
        from which keys will be derived.
    plan : CommittedPlan | None
        what the suspect will be asked.
    bits : Mapping[str, str] | None
        joint hash of each key's single bits by the key's fingerprint, so that some bits can be
        shown later; see :mod:`siren_ext.keys.single_bits`.
    twins : Path | None
        private folder of :func:`~siren_ext.coating.twins.coat_twins`, all of whose twins must be
        unchanged.

    Returns
    -------
    Commitment
        dated now.

    Raises
    ------
    CoaterError
        the coater can't be read.
    EvidenceError
        a folder holds no coated images, or some that were coated with another coater or key, or
        one can't be read.
    """
    from importlib import metadata

    from siren_ext.coater.coater import Coater
    from siren_ext.coating.twins import checked_twins

    try:
        version = metadata.version("siren-ext")
    except metadata.PackageNotFoundError:
        import siren_ext

        version = siren_ext.__version__
    prints, mark = sorted(keys), Coater.load(coater_file).fingerprint
    if coated is not None:
        refuse_other_runs(coated, mark, prints)
    return Commitment(
        datetime.now(timezone.utc).strftime(_TIME),
        f"siren-ext {version}",
        mark,
        sha256_file(coater_file),
        tuple(prints),
        tuple(coated_hashes(coated)) if coated is not None else (),
        secrets.token_hex(32),
        StoredSalt(salt.fingerprint(), len(salt.recipients), salt.bit_hashes()) if salt else None,
        plan,
        tuple(bits[one] for one in prints) if bits else (),
        checked_twins(twins)[1] if twins is not None else None,
    )


def check_commitment(
    file: Path,
    *,
    coater: str,
    keys: Sequence[str] = (),
    coater_file: Path | None = None,
    coated: Path | None = None,
    twins: str = "",
) -> Precedence:
    """Compare a commitment with the coater, keys and files of a test.

    Parameters
    ----------
    file : Path
        the commitment.
    coater : str
        fingerprint of the coater that scored the images.
    keys : Sequence[str]
        fingerprints of the keys that are tested.
    coater_file : Path | None
        the coater file; None leaves its bytes unchecked.
    coated : Path | None
        folder of the coated images, in which every committed file must be unchanged; None leaves
        them unchecked.
    twins : str
        SHA-256 of the record of the twins that were compared; "" for none.

    Returns
    -------
    Precedence
        what matches, or what differs.

    Raises
    ------
    EvidenceError
        the commitment, or a coated file, can't be read.
    """
    commitment = Commitment.load(file)
    checked: list[str] = []
    wrong: list[str] = []

    def compare(fits: bool, good: str, bad: str) -> None:
        (checked if fits else wrong).append(good if fits else bad)

    compare(
        commitment.coater == coater,
        "the coater",
        f"it is for coater {printable(commitment.coater)[:12]}, but the scores are of coater "
        f"{printable(coater)[:12]}",
    )
    if coater_file is not None:
        same = sha256_file(coater_file) == commitment.coater_sha256
        compare(same, "the coater file", "the coater file differs from the committed one")
    if keys:
        missing = [key for key in keys if key not in commitment.keys]
        compare(
            not missing,
            "the key" if len(keys) == 1 else f"{len(keys)} keys",
            f"{len(missing)} of {len(keys)} keys are not among its {len(commitment.keys)} keys",
        )
    if twins:
        text = "the coins of the twins"
        compare(twins == commitment.twins, text, f"{text} are not the committed ones")
    if coated is not None:
        wrong += _file_differences(commitment, coated)
        if not any(text.startswith("file") for text in wrong):
            checked.append(f"{len(commitment.files)} coated files")
    digest = sha256_file(file)
    if wrong:
        text = f"The commitment does not fit: {'; '.join(wrong)}."
        return Precedence("does not fit", text, commitment.created, digest, tuple(checked))
    match = "match" if len(checked) > 1 or checked[0].endswith("s") else "matches"
    text = (
        f"Committed before: {_listed(checked)} {match} a commitment dated "
        f"{_readable(commitment.created)}. This date is only as reliable as the place where the "
        f"commitment, or its SHA-256 {digest}, was published or time-stamped."
    )
    return Precedence("committed before", text, commitment.created, digest, tuple(checked))


def _file_differences(commitment: Commitment, folder: Path) -> list[str]:
    if not commitment.files:
        return ["files are not part of the commitment"]
    changed, missing = differences(commitment.files, coated_hashes(folder))
    texts = []
    for names, what in ((changed, "differ"), (missing, "are missing")):
        if names:
            shown = ", ".join(names[:_SHOWN]) + (", \u2026" if len(names) > _SHOWN else "")
            texts.append(f"files that {what}: {len(names)} ({shown})")
    return texts


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _readable(created: str) -> str:
    return datetime.strptime(created, _TIME).strftime("%Y-%m-%d %H:%M UTC")


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, _TIME)
    except ValueError:
        return False
    return True
