"""Ed25519 signatures, and the encrypted file that keeps the private half."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, NoReturn

from msgspec import Meta, Struct

from siren_ext.errors import EvidenceError, MissingExtraError
from siren_ext.keys.encrypted_file import read_encrypted, write_encrypted

FORMAT = "siren_ext.signing_key"
_PUBLIC = re.compile(r"[0-9a-f]{64}")


class _Stored(Struct, forbid_unknown_fields=True):
    """A private key as it is encrypted; never shown."""

    private: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]

    def __repr__(self) -> str:
        return "_Stored()"


class Signer:
    """A private signing key; neither ``repr`` nor an error nor a pickle shows it."""

    __slots__ = ("_private",)

    def __init__(self, private: Any) -> None:
        self._private = private

    @classmethod
    def draw(cls) -> Signer:
        """A fresh key; raises :class:`MissingExtraError` without ``cryptography``."""
        return cls(_module().Ed25519PrivateKey.generate())

    @property
    def public(self) -> str:
        """The public half, 64 hexadecimal digits; publish it beside your name."""
        raw: bytes = self._private.public_key().public_bytes_raw()
        return raw.hex()

    def sign(self, message: bytes) -> str:
        """The signature of a message, 128 hexadecimal digits."""
        signature: bytes = self._private.sign(message)
        return signature.hex()

    def save(self, path: Path, passphrase: str) -> None:
        """Write the key to a new encrypted file.

        See :func:`siren_ext.keys.encrypted_file.write_encrypted`.
        """
        content = _Stored(self._private.private_bytes_raw().hex())
        write_encrypted(Path(path), FORMAT, content, passphrase)

    @classmethod
    def load(cls, path: Path, passphrase: str) -> Signer:
        """Read the file; raises :class:`EvidenceError` with what is wrong."""
        content = read_encrypted(Path(path), FORMAT, _Stored, passphrase)
        return cls(_module().Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content.private)))

    def __repr__(self) -> str:
        return f"Signer({self.public[:12]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A signing key is not pickled; Signer.save writes it encrypted.")


def is_signed(message: bytes, signature: str, public: str) -> bool:
    """Whether the holder of ``public``'s private half signed exactly this message.

    Raises :class:`MissingExtraError` without ``cryptography``.
    """
    module = _module()
    from cryptography.exceptions import InvalidSignature

    try:
        key = module.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def checked_public(text: str) -> str:
    """A public key as 64 hexadecimal digits; raises :class:`EvidenceError` for anything else."""
    tidy = text.strip().lower()
    if not _PUBLIC.fullmatch(tidy):
        raise EvidenceError(
            f"{str(text)[:80]!r} is no public key; expected the 64 hexadecimal digits that "
            "'siren-ext key signing' printed."
        )
    return tidy


def _module() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtraError("cryptography", "evidence") from error
    return ed25519
