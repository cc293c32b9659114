"""The owner's secret message, one per recipient, and the encrypted file that keeps it."""

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
    """A secret message of k signs, drawn after the coater was trained and independently of it.

    Neither ``repr`` nor an error nor a pickle shows it. Immutable.

    Parameters
    ----------
    signs : ArrayLike
        k numbers, -1 or +1 each, k from 1 to 512.
    salt : bytes | None
        32 random bytes that keep the message hidden behind :meth:`fingerprint`; drawn from
        the operating system when left out.

    Raises
    ------
    EvidenceError
        the signs or the salt are of another form.
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
                f"A message of shape {values.shape} was given; expected 1 to {MAX_BITS} values, "
                "-1 or +1 each."
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
        """A uniform message from the operating system's randomness."""
        if not 1 <= bits <= MAX_BITS:
            raise EvidenceError(f"A key of {bits} bits was asked for; expected 1 to {MAX_BITS}.")
        return cls(_unpacked(os.urandom((bits + 7) // 8), bits))

    @property
    def bits(self) -> int:
        """k, the length of the message."""
        return len(self._message)

    def signs(self) -> NDArray[np.int8]:
        """The secret itself: (k,) of -1 and +1, read-only. Never log or store it unencrypted."""
        return self._message

    def fingerprint(self) -> str:
        """A commitment to the message, 64 hexadecimal digits: binding, and it hides the message.

        SHA-256 over a fixed word, k, the salt and the message. The salt's 256 random bits are what
        hides a message that is short enough to be guessed.
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
        raise AttributeError("A coating key can't be changed; draw another.")

    def __repr__(self) -> str:
        return f"CoatingKey({self.bits} bits, fingerprint {self.fingerprint()[:12]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A coating key is not pickled; KeyRing.save writes it encrypted.")

    def __copy__(self) -> CoatingKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CoatingKey:
        return self


class KeyRing:
    """Named keys: one per recipient, or a single one under the name "".

    Immutable; ``repr`` shows names only.
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
                f"The recipient {double!r} is there already; every recipient has one key, which "
                "stays as it is."
            )
        if len({key.bits for key in self._keys.values()}) > 1:
            raise EvidenceError("The keys differ in length; expected one length for all.")

    @classmethod
    def draw(cls, recipients: Sequence[str] = (), bits: int = BITS) -> KeyRing:
        """One fresh key per recipient; a single unnamed one when there are none."""
        return cls((name, CoatingKey.draw(bits)) for name in recipients or ("",))

    def extended(self, recipients: Sequence[str]) -> KeyRing:
        """This ring and a fresh key for each further recipient."""
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
        """A recipient's key, or the only one; raises :class:`EvidenceError`."""
        if recipient is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if recipient is not None and _checked_name(recipient) in self._keys:
            return self._keys[_checked_name(recipient)]
        known = ", ".join(name or "(unnamed)" for name in self.names[:20])
        asked = f"no key for {printable(recipient)!r}" if recipient else "several keys"
        raise EvidenceError(f"The key file holds {asked}; name one of its recipients: {known}.")

    def __iter__(self) -> Iterator[tuple[str, CoatingKey]]:
        return iter(self._keys.items())

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"KeyRing({list(self.names)!r})"

    def save(self, path: Path, passphrase: str, *, replace: bool = False) -> None:
        """Write the keys encrypted, see :func:`siren_ext.keys.encrypted_file.write_encrypted`.

        An existing file stays as it is unless ``replace`` is set.
        """
        keys = [key._stored(name) for name, key in self]
        write_encrypted(Path(path), FORMAT, _StoredRing(keys), passphrase, replace=replace)

    @classmethod
    def load(cls, path: Path, passphrase: str) -> KeyRing:
        """Read an encrypted key file; raises :class:`EvidenceError` with what is wrong."""
        stored = read_encrypted(Path(path), FORMAT, _StoredRing, passphrase)
        return cls((entry.recipient, CoatingKey._restored(entry)) for entry in stored.keys)


def _checked_name(name: Any) -> str:
    text = name.strip() if isinstance(name, str) else None
    if text is None or len(text) > MAX_NAME or text != printable(text):
        raise EvidenceError(
            f"{str(name)[:60]!r} can't be a recipient's name; expected a line of at most "
            f"{MAX_NAME} letters."
        )
    return text


def _unpacked(packed: bytes, bits: int) -> NDArray[np.int8]:
    values = np.unpackbits(np.frombuffer(packed, dtype=np.uint8))[:bits]
    return (values.astype(np.int8) * 2 - 1).astype(np.int8)
