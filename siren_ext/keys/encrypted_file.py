"""Small secrets on disk: JSON encrypted with a passphrase (scrypt, AES-256-GCM)."""

from __future__ import annotations

import base64
import binascii
import json
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from siren_ext.documents import read_json
from siren_ext.errors import EvidenceError, MissingExtraError
from siren_ext.text import printable

MAX_BYTES = 1 << 20
LEAST_LETTERS = 8
COST = 17  # log2 of scrypt's N: 128 MiB and about half a second per guess
_COSTS = (14, 18)  # what a file may ask of this machine
_BLOCK = 8
_CIPHER = "aes-256-gcm"
_DERIVATION = "scrypt"


def write_encrypted(
    path: Path, kind: str, content: Mapping[str, Any], passphrase: str, *, replace: bool = False
) -> None:
    """Write ``content`` encrypted, readable by this user alone (mode 0600 where there are modes).

    Parameters
    ----------
    path : Path
        the file; the folder must exist.
    kind : str
        what it holds; :func:`read_encrypted` asks for the same.
    content : Mapping[str, Any]
        plain JSON values.
    passphrase : str
        8 letters or more; case and spaces count.
    replace : bool
        whether a file that is there already may be replaced.

    Raises
    ------
    EvidenceError
        the file is there already, can't be written, or the passphrase is too short.
    MissingExtraError
        the package ``cryptography`` is not installed.
    """
    head = {
        "format": kind,
        "version": 1,
        "derivation": {"name": _DERIVATION, "cost": COST, "salt": os.urandom(16).hex()},
        "cipher": {"name": _CIPHER, "nonce": os.urandom(12).hex()},
    }
    if len(passphrase) < LEAST_LETTERS:
        raise EvidenceError(
            f"The passphrase has {len(passphrase)} letters; expected at least {LEAST_LETTERS}, "
            "better five words."
        )
    cipher = _cipher(passphrase, head)
    plain = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    ciphertext = cipher.encrypt(bytes.fromhex(head["cipher"]["nonce"]), plain, _bound(head))  # type: ignore[index]
    text = json.dumps({**head, "sealed": base64.b64encode(ciphertext).decode()}, indent=2) + "\n"
    write_private(path, text.encode(), replace=replace)


def read_encrypted(path: Path, kind: str, passphrase: str) -> dict[str, Any]:
    """The content that :func:`write_encrypted` wrote.

    Raises
    ------
    EvidenceError
        the passphrase is wrong, or the file is missing, damaged, of another kind or
        asks for more memory than is reasonable. No message holds any of the content.
    MissingExtraError
        the package ``cryptography`` is not installed.
    """
    head, ciphertext = require_encrypted(path, kind)
    name = Path(path).name
    try:
        body = base64.b64decode(ciphertext, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise EvidenceError(f"{name} is damaged; use a copy of the file.") from None
    plain = _opened(_cipher(passphrase, head), head, body, name)
    try:
        content = json.loads(plain)
    except ValueError:
        content = None
    if not isinstance(content, dict):  # right passphrase, but not written by this program
        raise EvidenceError(f"{name} was opened but holds no {kind}; make it again.")
    return content


def require_encrypted(path: Path, kind: str) -> tuple[dict[str, Any], Any]:
    """Head and ciphertext of a file; raises :class:`EvidenceError` unless both are sane."""
    head = read_object(path, kind, max_bytes=MAX_BYTES)
    ciphertext = head.pop("sealed", None)
    return _checked_head(head, Path(path).name), ciphertext


def read_object(path: Path, kind: str, *, max_bytes: int) -> dict[str, Any]:
    """A JSON object of the given format, version 1; raises :class:`EvidenceError`."""
    name = Path(path).name
    data = read_json(path, error=EvidenceError, max_bytes=max_bytes)
    found = data.get("format") if isinstance(data, dict) else None
    if found != kind:
        shown = f"found {printable(found)[:60]!r}" if isinstance(found, str) else "it is not one"
        raise EvidenceError(f"{name} should be a file of the format {kind!r}; {shown}.")
    if data.get("version") != 1 or isinstance(data.get("version"), bool):
        raise EvidenceError(
            f"{name} has version {str(data.get('version'))[:40]}; this program reads "
            "version 1. Update the program."
        )
    return dict(data)


def write_private(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Write a file that only this user may read, whole or not at all.

    Raises :class:`EvidenceError` when it is there already and ``replace`` is false.
    """
    path = Path(path)
    target = path.with_name(f".part-{os.urandom(6).hex()}") if replace else path
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(target, flags, 0o600)
    except FileExistsError:
        raise EvidenceError(
            f"{path} exists already and is not overwritten; choose another name."
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
    """The same bytes for the same letters, however a keyboard composes them (NFC)."""
    return unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")


def _checked_head(head: dict[str, Any], name: str) -> dict[str, Any]:
    derivation, cipher = head.get("derivation"), head.get("cipher")
    sane = (
        set(head) == {"format", "version", "derivation", "cipher"}
        and isinstance(derivation, dict)
        and isinstance(cipher, dict)
        and set(derivation) == {"name", "cost", "salt"}
        and set(cipher) == {"name", "nonce"}
        and (derivation["name"], cipher["name"]) == (_DERIVATION, _CIPHER)
        and _is_hex(derivation["salt"], 16)
        and _is_hex(cipher["nonce"], 12)
        and type(derivation["cost"]) is int
    )
    if not sane:
        raise EvidenceError(f"{name} is damaged or of another program; use a copy of the file.")
    low, high = _COSTS
    if not low <= head["derivation"]["cost"] <= high:
        raise EvidenceError(
            f"{name} asks for a scrypt cost of {str(head['derivation']['cost'])[:20]}; expected "
            f"{low} to {high}. The file was not made by this program."
        )
    return head


def _is_hex(value: Any, length: int) -> bool:
    try:
        return (
            isinstance(value, str)
            and value == bytes.fromhex(value).hex()
            and (len(value) == 2 * length)
        )
    except ValueError:
        return False


def _bound(head: Mapping[str, Any]) -> bytes:
    """What is readable in the file and must not be changed either."""
    return json.dumps(head, sort_keys=True, separators=(",", ":")).encode()


def _cipher(passphrase: str, head: Mapping[str, Any]) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise MissingExtraError("cryptography", "evidence") from error
    derivation = head["derivation"]
    salt, cost = bytes.fromhex(derivation["salt"]), 2 ** derivation["cost"]
    scrypt = Scrypt(salt=salt, length=32, n=cost, r=_BLOCK, p=1)
    return AESGCM(scrypt.derive(passphrase_bytes(passphrase)))


def _opened(cipher: Any, head: Mapping[str, Any], body: bytes, name: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        plain: bytes = cipher.decrypt(bytes.fromhex(head["cipher"]["nonce"]), body, _bound(head))
    except (InvalidTag, ValueError):
        raise EvidenceError(
            f"{name} can't be opened: the passphrase is wrong, or the file was changed. Mind "
            "capitals and the keyboard's language."
        ) from None
    return plain
