"""Small secrets on disk: JSON encrypted with a passphrase (scrypt, AES-256-GCM)."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from siren_ext.documents import parse_json
from siren_ext.errors import EvidenceError, MissingExtraError
from siren_ext.files import part_prefix, tidy
from siren_ext.formats import read_format
from siren_ext.schema import fits, to_plain

T = TypeVar("T")

MAX_BYTES = 32 << 20  # 10,000 keys of the longest kind
LEAST_LETTERS = 8
COST = 17  # log2 of scrypt's N: 128 MiB and about half a second per guess
_BLOCK = 8
_UNTOUCHED = "Use an unchanged copy of the file."
_Salt = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z", description="32 hexadecimal digits")]
_Nonce = Annotated[str, Meta(pattern=r"\A[0-9a-f]{24}\Z", description="24 hexadecimal digits")]


class _Derivation(Struct, forbid_unknown_fields=True):
    """How the passphrase becomes a key; the bounds limit the memory that a file can demand."""

    name: Literal["scrypt"]
    cost: Annotated[int, Meta(ge=14, le=18)]
    salt: _Salt


class _Cipher(Struct, forbid_unknown_fields=True):
    """How the content is encrypted."""

    name: Literal["aes-256-gcm"]
    nonce: _Nonce


class _File(Struct, forbid_unknown_fields=True):
    """The content of a file; ``sealed`` is the ciphertext."""

    format: str
    version: Literal[1]
    derivation: _Derivation
    cipher: _Cipher
    sealed: bytes

    def head(self) -> bytes:
        """The readable part of the file, which encryption protects against changes."""
        plain = to_plain(self)
        del plain["sealed"]
        return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def write_encrypted(
    path: Path, kind: str, content: Any, passphrase: str, *, replace: bool = False
) -> None:
    """Write an encrypted file that only this user can read (mode 0600, where modes exist).

    Parameters
    ----------
    path : Path
        the file; the folder must exist.
    kind : str
        what it holds; :func:`read_encrypted` expects the same.
    content : Any
        a structure or plain JSON values.
    passphrase : str
        8 characters or more; case and spaces count.
    replace : bool
        replace an existing file.

    Raises
    ------
    EvidenceError
        the file exists or can't be written, or the passphrase is too short.
    MissingExtraError
        the package ``cryptography`` is not installed.
    """
    if len(passphrase) < LEAST_LETTERS:
        raise EvidenceError(
            f"The passphrase has {len(passphrase)} characters; expected at least {LEAST_LETTERS}. "
            "Five words are better."
        )
    file = _File(
        kind,
        1,
        _Derivation("scrypt", COST, os.urandom(16).hex()),
        _Cipher("aes-256-gcm", os.urandom(12).hex()),
        b"",
    )
    cipher = _cipher(passphrase, file.derivation)
    plain = json.dumps(to_plain(content), separators=(",", ":"), allow_nan=False).encode()
    file.sealed = cipher.encrypt(bytes.fromhex(file.cipher.nonce), plain, file.head())
    text = json.dumps(to_plain(file), indent=2) + "\n"
    write_private(path, text.encode(), replace=replace)


def read_encrypted(path: Path, kind: str, content: type[T], passphrase: str) -> T:
    """Read an encrypted file.

    Parameters
    ----------
    path : Path
        the file.
    kind : str
        what it holds, as given to :func:`write_encrypted`.
    content : type[T]
        the structure that it must have.
    passphrase : str
        as given to :func:`write_encrypted`.

    Returns
    -------
    T
        the content.

    Raises
    ------
    EvidenceError
        the passphrase is wrong, or the file is missing, damaged, of another kind or demands too
        much memory. No message contains any of the content.
    MissingExtraError
        the package ``cryptography`` is not installed.
    """
    file = _read(path, kind)
    name = Path(path).name
    plain = _opened(_cipher(passphrase, file.derivation), file, name)
    try:
        values = parse_json(plain, name=name, error=EvidenceError, max_bytes=MAX_BYTES)
    except EvidenceError:  # its message may quote the secret
        values = None
    if not fits(values, content):  # right passphrase, but not written by this program
        raise EvidenceError(f"{name} was decrypted, but it is not a {kind} file; make a new one.")
    return msgspec.convert(values, content)


def require_encrypted(path: Path, kind: str) -> None:
    """Check the readable part of a file, before its passphrase is asked for.

    Parameters
    ----------
    path : Path
        the file.
    kind : str
        what it should hold.

    Raises
    ------
    EvidenceError
        the file is missing, damaged or of another kind.
    """
    _read(path, kind)


def _read(path: Path, kind: str) -> _File:
    return read_format(
        path,
        _File,
        error=EvidenceError,
        name=Path(path).name,
        max_bytes=MAX_BYTES,
        advice=_UNTOUCHED,
        marked=kind,
    )


def write_private(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Write a file that only this user can read.

    Parameters
    ----------
    path : Path
        the file; its folder must exist.
    content : bytes
        its content.
    replace : bool
        replace an existing file, atomically.

    Raises
    ------
    EvidenceError
        the file exists or can't be written.
    """
    path = Path(path)
    tidy(path.parent)
    target = path.with_name(part_prefix() + os.urandom(6).hex()) if replace else path
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(target, flags, 0o600)
    except FileExistsError:
        raise EvidenceError(
            f"{path} already exists and was not overwritten; choose another name."
        ) from None
    except OSError as error:
        raise EvidenceError(f"{path} can't be written: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            target.replace(path)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise EvidenceError(f"{path} can't be written: {error.strerror}.") from error


def passphrase_bytes(passphrase: str) -> bytes:
    """Encode a passphrase independently of how the keyboard composes accented letters.

    Parameters
    ----------
    passphrase : str
        as typed.

    Returns
    -------
    bytes
        UTF-8 of its composed form (NFC).
    """
    return unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")


def _cipher(passphrase: str, derivation: _Derivation) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise MissingExtraError("cryptography", "evidence") from error
    salt = bytes.fromhex(derivation.salt)
    scrypt = Scrypt(salt=salt, length=32, n=2**derivation.cost, r=_BLOCK, p=1)
    return AESGCM(scrypt.derive(passphrase_bytes(passphrase)))


def _opened(cipher: Any, file: _File, name: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        nonce = bytes.fromhex(file.cipher.nonce)
        plain: bytes = cipher.decrypt(nonce, file.sealed, file.head())
    except (InvalidTag, ValueError):
        raise EvidenceError(
            f"{name} can't be opened: the passphrase is wrong, or the file was changed. Check "
            "capital letters and the keyboard layout."
        ) from None
    return plain
