"""Ed25519 signatures, and the encrypted file that holds the private key."""

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
    """A private signing key; it never appears in ``repr``, errors or pickles.

    Parameters
    ----------
    private : Ed25519PrivateKey
        of the package ``cryptography``.
    """

    __slots__ = ("_private",)

    def __init__(self, private: Any) -> None:
        self._private = private

    @classmethod
    def draw(cls) -> Signer:
        """Draw a new key.

        Returns
        -------
        Signer
            the key.

        Raises
        ------
        MissingExtraError
            the package ``cryptography`` is not installed.
        """
        return cls(_module().Ed25519PrivateKey.generate())

    @property
    def public(self) -> str:
        """The public half, 64 hexadecimal digits; publish it beside your name."""
        raw: bytes = self._private.public_key().public_bytes_raw()
        return raw.hex()

    def sign(self, message: bytes) -> str:
        """Sign a message.

        Parameters
        ----------
        message : bytes
            what to sign.

        Returns
        -------
        str
            128 hexadecimal digits.
        """
        signature: bytes = self._private.sign(message)
        return signature.hex()

    def save(self, path: Path, passphrase: str) -> None:
        """Write the key to a new encrypted file that only this user can read.

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
        """
        content = _Stored(self._private.private_bytes_raw().hex())
        write_encrypted(Path(path), FORMAT, content, passphrase)

    @classmethod
    def load(cls, path: Path, passphrase: str) -> Signer:
        """Read an encrypted signing key.

        Parameters
        ----------
        path : Path
            file of :meth:`save`.
        passphrase : str
            as given to :meth:`save`.

        Returns
        -------
        Signer
            the key.

        Raises
        ------
        EvidenceError
            the file is missing, damaged or of another kind, or the passphrase is wrong.
        MissingExtraError
            the package ``cryptography`` is not installed.
        """
        content = read_encrypted(Path(path), FORMAT, _Stored, passphrase)
        return cls(_module().Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content.private)))

    def __repr__(self) -> str:
        return f"Signer({self.public[:12]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A signing key can't be pickled; Signer.save writes it encrypted.")


def is_signed(message: bytes, signature: str, public: str) -> bool:
    """Check a signature.

    Parameters
    ----------
    message : bytes
        what was signed.
    signature, public : str
        128 and 64 hexadecimal digits; anything else does not match.

    Returns
    -------
    bool
        whether the holder of the private key signed exactly this message.

    Raises
    ------
    MissingExtraError
        the package ``cryptography`` is not installed.
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
    """Check that a text is a public key.

    Parameters
    ----------
    text : str
        64 hexadecimal digits, of either case and with spaces around them.

    Returns
    -------
    str
        64 lower-case hexadecimal digits.

    Raises
    ------
    EvidenceError
        the text is anything else.
    """
    tidy = text.strip().lower()
    if not _PUBLIC.fullmatch(tidy):
        raise EvidenceError(
            f"{str(text)[:80]!r} is not a public key; expected the 64 hexadecimal digits that "
            "'siren-ext key signing' printed."
        )
    return tidy


def _module() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingExtraError("cryptography", "evidence") from error
    return ed25519
