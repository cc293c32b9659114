"""Keys that nobody chose: messages derived from a committed salt and a later public random number.

The owner draws a salt, publishes its hash in a time-stamped commitment, and derives the messages
from the salt and the first round of a public beacon after the stamp. The salt was fixed before the
random number existed, so neither the owner nor the beacon could choose a message.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

from msgspec import Meta, Struct

from siren_ext.errors import EvidenceError
from siren_ext.keys.coating_key import (
    BITS,
    MAX_BITS,
    MAX_NAME,
    MAX_RECIPIENTS,
    CoatingKey,
    KeyRing,
)
from siren_ext.keys.encrypted_file import read_encrypted, write_encrypted
from siren_ext.keys.single_bits import bit_secrets, derived_sign, joint_hash, salted_hash

FORMAT = "siren_ext.key_salt"
_DOMAIN = b"siren_ext.key_salt.1\0"
_MESSAGE = b"siren_ext.derived_salt.1\0"
_BYTES = 32


class _Stored(Struct, forbid_unknown_fields=True):
    """What the encrypted file keeps."""

    salt: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    bits: Annotated[int, Meta(ge=1, le=MAX_BITS)]
    recipients: Annotated[
        list[Annotated[str, Meta(max_length=MAX_NAME)]],
        Meta(min_length=1, max_length=MAX_RECIPIENTS),
    ]

    def __repr__(self) -> str:
        return f"_Stored({self.bits} bits)"


class KeySalt:
    """A secret salt, and whose keys will be derived from it.

    Immutable; the salt never appears in ``repr``, errors or pickles.

    Parameters
    ----------
    recipients : Sequence[str]
        1 to 10,000 names, "" for a single unnamed key.
    bits : int
        length of every message, 1 to 512.
    salt : bytes | None
        32 random bytes; None to draw them.

    Raises
    ------
    EvidenceError
        a name is malformed or repeated, or a length is out of range.
    """

    __slots__ = ("_salt", "bits", "recipients")
    _salt: bytes
    bits: int
    recipients: tuple[str, ...]

    def __init__(
        self, recipients: Sequence[str] = (), bits: int = BITS, salt: bytes | None = None
    ) -> None:
        names = KeyRing.draw(recipients, bits).names  # checks them as a key file does
        salt = os.urandom(_BYTES) if salt is None else bytes(salt)
        if len(salt) != _BYTES:
            raise EvidenceError(f"The salt has {len(salt)} bytes; expected {_BYTES}.")
        object.__setattr__(self, "_salt", salt)
        object.__setattr__(self, "bits", bits)
        object.__setattr__(self, "recipients", names)

    def fingerprint(self) -> str:
        """A commitment to salt, length and recipients that hides them.

        Returns
        -------
        str
            SHA-256 as 64 hexadecimal digits.
        """
        named = [name.encode() for name in self.recipients]
        listed = b"".join(len(name).to_bytes(2, "big") + name for name in named)
        size = self.bits.to_bytes(2, "big") + len(named).to_bytes(4, "big")
        return hashlib.sha256(_DOMAIN + self._salt + size + listed).hexdigest()

    def derive(self, randomness: str, commitment: str) -> KeyRing:
        """The keys that follow from the salt and a public random number.

        Parameters
        ----------
        randomness : str
            of the beacon's round, 64 hexadecimal digits.
        commitment : str
            SHA-256 of the commitment that holds :meth:`fingerprint`.

        Returns
        -------
        KeyRing
            one key per recipient; the same arguments give the same keys and fingerprints.

        Notes
        -----
        HKDF-SHA256 expands the owner's salt to one salt per recipient, and this to a secret per
        bit; see :mod:`siren_ext.keys.single_bits`. A bit is the first one of HMAC-SHA256 of
        randomness and commitment under its secret.

        References
        ----------
        RFC 5869, "HMAC-based Extract-and-Expand Key Derivation Function".
        """
        keys = []
        for name, salt in zip(self.recipients, self._salts(), strict=True):
            secrets = bit_secrets(salt, self.bits)
            signs = [derived_sign(secret, randomness, commitment) for secret in secrets]
            keys.append((name, CoatingKey(signs, salt)))
        return KeyRing(keys)

    def bit_hashes(self) -> tuple[str, ...]:
        """The joint hash of every derived key's single bits, in the order of the recipients."""
        return tuple(
            joint_hash([salted_hash(i, one) for i, one in enumerate(bit_secrets(salt, self.bits))])
            for salt in self._salts()
        )

    def _salts(self) -> list[bytes]:
        """The salt of every recipient's key."""
        secret = hmac.new(b"", self._salt, hashlib.sha256).digest()
        head = _MESSAGE + self.bits.to_bytes(2, "big")
        return [expand(secret, head + name.encode(), _BYTES) for name in self.recipients]

    def save(self, path: Path, passphrase: str) -> None:
        """Write the salt to a new encrypted file that only this user can read.

        Parameters
        ----------
        path : Path
            a new file; its folder must exist.
        passphrase : str
            8 characters or more.

        Raises
        ------
        EvidenceError
            the file exists or can't be written, or the passphrase is too short.
        MissingExtraError
            the package ``cryptography`` is not installed.
        """
        stored = _Stored(self._salt.hex(), self.bits, list(self.recipients))
        write_encrypted(Path(path), FORMAT, stored, passphrase)

    @classmethod
    def load(cls, path: Path, passphrase: str) -> KeySalt:
        """Read an encrypted salt.

        Parameters
        ----------
        path : Path
            file of :meth:`save`.
        passphrase : str
            as given to :meth:`save`.

        Returns
        -------
        KeySalt
            the salt.

        Raises
        ------
        EvidenceError
            the file is missing, damaged or of another kind, or the passphrase is wrong.
        MissingExtraError
            the package ``cryptography`` is not installed.
        """
        stored = read_encrypted(Path(path), FORMAT, _Stored, passphrase)
        return cls(stored.recipients, stored.bits, bytes.fromhex(stored.salt))

    def __repr__(self) -> str:
        return f"KeySalt({len(self.recipients)} keys of {self.bits} bits)"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("A salt can't be changed; draw another one.")

    def __reduce__(self) -> NoReturn:
        raise TypeError("A salt can't be pickled; KeySalt.save writes it encrypted.")


def expand(secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF's second step with SHA-256, at most 8,160 bytes (RFC 5869, section 2.3)."""
    found, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(secret, block + info + bytes([counter]), hashlib.sha256).digest()
        found += block
    return found[:length]
