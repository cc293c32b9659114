"""The owner's secret message, one per recipient, and the encrypted file that holds it."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import EvidenceError
from siren_ext.keys.encrypted_file import read_encrypted, write_encrypted
from siren_ext.text import printable

FORMAT = "siren_ext.keys"
BITS = 48
MAX_BITS = 512
MAX_RECIPIENTS = 10_000
MAX_NAME = 200
_SALT_BYTES = 32
_DOMAIN = b"siren_ext.coating_key.1\0"


class _StoredKey(Struct, forbid_unknown_fields=True):
    """A key as it is encrypted; never shown."""

    recipient: Annotated[str, Meta(max_length=MAX_NAME)]
    bits: Annotated[int, Meta(ge=1, le=MAX_BITS)]
    message: Annotated[str, Meta(pattern=r"\A([0-9a-f]{2})+\Z")]
    salt: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]

    def __repr__(self) -> str:
        return f"_StoredKey({self.bits} bits)"


class _StoredRing(Struct, forbid_unknown_fields=True):
    """What the encrypted file keeps."""

    keys: Annotated[list[_StoredKey], Meta(min_length=1, max_length=MAX_RECIPIENTS)]


class CoatingKey:
    """A secret message of k signs, drawn independently of the coater and after its training.

    Immutable. The message never appears in ``repr``, errors or pickles.

    Parameters
    ----------
    signs : ArrayLike
        k numbers, each -1 or +1, k from 1 to 512.
    salt : bytes | None
        32 random bytes that hide the message in :meth:`fingerprint`; None to draw them.

    Raises
    ------
    EvidenceError
        the signs or the salt have another form.
    """

    __slots__ = ("_message", "_salt")
    _message: NDArray[np.int8]
    _salt: bytes

    def __init__(self, signs: ArrayLike, salt: bytes | None = None) -> None:
        try:
            values = np.asarray(signs, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.zeros(0)
        if values.ndim != 1 or not 1 <= len(values) <= MAX_BITS or not (np.abs(values) == 1).all():
            raise EvidenceError(
                f"The message has the shape {values.shape}; expected 1 to {MAX_BITS} values, each "
                "-1 or +1."
            )
        message = values.astype(np.int8)
        message.flags.writeable = False
        salt = os.urandom(_SALT_BYTES) if salt is None else bytes(salt)
        if len(salt) != _SALT_BYTES:
            raise EvidenceError(f"The salt has {len(salt)} bytes; expected {_SALT_BYTES}.")
        object.__setattr__(self, "_message", message)
        object.__setattr__(self, "_salt", salt)

    @classmethod
    def draw(cls, bits: int = BITS) -> CoatingKey:
        """Draw a uniform message from the operating system's random numbers.

        Parameters
        ----------
        bits : int
            1 to 512.

        Returns
        -------
        CoatingKey
            a new key.

        Raises
        ------
        EvidenceError
            the number of bits is out of range.
        """
        if not 1 <= bits <= MAX_BITS:
            raise EvidenceError(f"{bits} bits were asked for; expected 1 to {MAX_BITS}.")
        return cls(_unpacked(os.urandom((bits + 7) // 8), bits))

    @property
    def bits(self) -> int:
        """k, the length of the message."""
        return len(self._message)

    def signs(self) -> NDArray[np.int8]:
        """The secret itself; never log it or store it unencrypted.

        Returns
        -------
        NDArray[np.int8]
            (k,) of -1 and +1, read-only.
        """
        return self._message

    def fingerprint(self) -> str:
        """A commitment to the message that hides it.

        Returns
        -------
        str
            SHA-256 of a fixed word, k, the salt and the message, as 64 hexadecimal digits. The
            salt's 256 random bits hide even a message that is short enough to guess.
        """
        size = self.bits.to_bytes(2, "big")
        return hashlib.sha256(_DOMAIN + size + self._salt + self._packed()).hexdigest()

    def _packed(self) -> bytes:
        return np.packbits(self._message > 0).tobytes()

    def _stored(self, recipient: str) -> _StoredKey:
        return _StoredKey(recipient, self.bits, self._packed().hex(), self._salt.hex())

    @classmethod
    def _restored(cls, stored: _StoredKey) -> CoatingKey:
        packed = bytes.fromhex(stored.message)
        if len(packed) != (stored.bits + 7) // 8:
            raise EvidenceError("A key in the file is damaged; use a copy of the file.")
        return cls(_unpacked(packed, stored.bits), bytes.fromhex(stored.salt))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CoatingKey):
            return NotImplemented
        return hmac.compare_digest(self.fingerprint(), other.fingerprint())

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("A coating key can't be changed; draw another one.")

    def __repr__(self) -> str:
        return f"CoatingKey({self.bits} bits, fingerprint {self.fingerprint()[:12]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A coating key can't be pickled; KeyRing.save writes it encrypted.")

    def __copy__(self) -> CoatingKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CoatingKey:
        return self


class KeyRing:
    """Named keys: one per recipient, or a single one under the name "".

    Immutable; ``repr`` shows names only.

    Parameters
    ----------
    keys : Iterable[tuple[str, CoatingKey]]
        1 to 10,000 pairs of a recipient and their key, all keys of one length.

    Raises
    ------
    EvidenceError
        the number of keys is out of range, a name is malformed or repeated, or keys differ in
        length.
    """

    def __init__(self, keys: Iterable[tuple[str, CoatingKey]]) -> None:
        pairs = [(_checked_name(name), key) for name, key in keys]
        if not 1 <= len(pairs) <= MAX_RECIPIENTS:
            raise EvidenceError(f"{len(pairs)} keys were given; expected 1 to {MAX_RECIPIENTS:,}.")
        self._keys = dict(pairs)
        if len(self._keys) != len(pairs):
            names = [name for name, _ in pairs]
            double = next(name for name in names if names.count(name) > 1)
            raise EvidenceError(
                f"There is already a key for {double!r}, and a recipient can have only one; "
                "choose another name."
            )
        if len({key.bits for key in self._keys.values()}) > 1:
            raise EvidenceError(
                "The keys have different lengths; expected the same length for all."
            )

    @classmethod
    def draw(cls, recipients: Sequence[str] = (), bits: int = BITS) -> KeyRing:
        """Draw a key for every recipient.

        Parameters
        ----------
        recipients : Sequence[str]
            their names; empty for one unnamed key.
        bits : int
            length of the keys, 1 to 512.

        Returns
        -------
        KeyRing
            new keys.

        Raises
        ------
        EvidenceError
            a name is malformed or repeated, or the number of bits is out of range.
        """
        return cls((name, CoatingKey.draw(bits)) for name in recipients or ("",))

    def extended(self, recipients: Sequence[str]) -> KeyRing:
        """Draw keys for more recipients.

        Parameters
        ----------
        recipients : Sequence[str]
            their names.

        Returns
        -------
        KeyRing
            the keys of this ring, and new ones.

        Raises
        ------
        EvidenceError
            a name is malformed, or has a key already.
        """
        fresh = [(name, CoatingKey.draw(self.bits)) for name in recipients]
        return KeyRing([*self, *fresh])

    @property
    def names(self) -> tuple[str, ...]:
        """The recipients, in the order they were added."""
        return tuple(self._keys)

    @property
    def bits(self) -> int:
        """The length of every key."""
        return next(iter(self._keys.values())).bits

    def key(self, recipient: str | None = None) -> CoatingKey:
        """Get a key.

        Parameters
        ----------
        recipient : str | None
            whose; None if there is only one.

        Returns
        -------
        CoatingKey
            the key.

        Raises
        ------
        EvidenceError
            there is no such recipient, or several without a name given.
        """
        if recipient is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if recipient is not None and _checked_name(recipient) in self._keys:
            return self._keys[_checked_name(recipient)]
        known = ", ".join(name or "(unnamed)" for name in self.names[:20])
        asked = f"no key for {recipient!r}" if recipient else "several keys"
        raise EvidenceError(f"The key file has {asked}; name one of its recipients: {known}.")

    def __iter__(self) -> Iterator[tuple[str, CoatingKey]]:
        return iter(self._keys.items())

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"KeyRing({list(self.names)!r})"

    def save(self, path: Path, passphrase: str, *, replace: bool = False) -> None:
        """Write the keys to an encrypted file that only this user can read.

        Parameters
        ----------
        path : Path
            the file; its folder must exist.
        passphrase : str
            8 characters or more.
        replace : bool
            replace an existing file.

        Raises
        ------
        EvidenceError
            the file exists or can't be written, or the passphrase is too short.
        MissingExtraError
            the package ``cryptography`` is not installed.
        """
        keys = [key._stored(name) for name, key in self]
        write_encrypted(Path(path), FORMAT, _StoredRing(keys), passphrase, replace=replace)

    @classmethod
    def load(cls, path: Path, passphrase: str) -> KeyRing:
        """Read an encrypted key file.

        Parameters
        ----------
        path : Path
            file of :meth:`save`.
        passphrase : str
            as given to :meth:`save`.

        Returns
        -------
        KeyRing
            the keys.

        Raises
        ------
        EvidenceError
            the file is missing, damaged or of another kind, or the passphrase is wrong.
        MissingExtraError
            the package ``cryptography`` is not installed.
        """
        stored = read_encrypted(Path(path), FORMAT, _StoredRing, passphrase)
        return cls((entry.recipient, CoatingKey._restored(entry)) for entry in stored.keys)


def _checked_name(name: Any) -> str:
    text = name.strip() if isinstance(name, str) else None
    if text is None or len(text) > MAX_NAME or text != printable(text):
        raise EvidenceError(
            f"{str(name)[:60]!r} can't be a recipient's name; expected one line of at most "
            f"{MAX_NAME} characters."
        )
    return text


def _unpacked(packed: bytes, bits: int) -> NDArray[np.int8]:
    values = np.unpackbits(np.frombuffer(packed, dtype=np.uint8))[:bits]
    return (values.astype(np.int8) * 2 - 1).astype(np.int8)
