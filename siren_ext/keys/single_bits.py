"""Hashes of a key's single bits: some can be shown later, and the others stay secret.

Bit j has a secret of its own, derived from the key's salt. A commitment holds one hash of all k
salted hashes. Whoever gets the k hashes, and bit and secret of some, can check these some alone.

The bits of a derived key are not known when its salt is committed. Its hashes are those of the
secrets, and bit j follows from secret j, the commitment and the beacon's round.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from siren_ext.keys.coating_key import CoatingKey

_SECRET = b"siren_ext.bit_secret.1\0"
_LEAF = b"siren_ext.bit_hash.1\0"
_ROOT = b"siren_ext.bit_hashes.1\0"
_DERIVED = b"siren_ext.derived_bit.1\0"


def bit_secrets(salt: bytes, bits: int, purpose: bytes = b"") -> list[bytes]:
    """The secrets of all bits.

    Parameters
    ----------
    salt : bytes
        of the key, 32 bytes.
    bits : int
        k.
    purpose : bytes
        what the secrets are for; other purposes give unrelated ones.

    Returns
    -------
    list[bytes]
        k times 32 bytes, HMAC-SHA256 of the bit's place under the salt.
    """
    places = (_SECRET + purpose + index.to_bytes(2, "big") for index in range(bits))
    return [hmac.new(salt, place, hashlib.sha256).digest() for place in places]


def salted_hash(index: int, secret: bytes, value: int | None = None) -> str:
    """The hash of one bit, or of another small number, under its secret.

    Parameters
    ----------
    index : int
        place of the bit, from 0.
    secret : bytes
        of the bit, 32 bytes.
    value : int | None
        -1 or +1, or a number up to 10,000; None for the secret alone.

    Returns
    -------
    str
        SHA-256 as 64 hexadecimal digits.
    """
    written = b"" if value is None else f"{value:+d}".encode()
    return hashlib.sha256(_LEAF + index.to_bytes(2, "big") + secret + written).hexdigest()


def joint_hash(hashes: Sequence[str]) -> str:
    """One hash of all hashes of a key, in the order of its bits.

    Parameters
    ----------
    hashes : Sequence[str]
        of :func:`salted_hash`.

    Returns
    -------
    str
        SHA-256 as 64 hexadecimal digits.
    """
    size = len(hashes).to_bytes(2, "big")
    return hashlib.sha256(_ROOT + size + bytes.fromhex("".join(hashes))).hexdigest()


def key_hashes(key: CoatingKey, *, derived: bool = False) -> list[str]:
    """The salted hash of every bit of a key.

    Parameters
    ----------
    key : CoatingKey
        the key.
    derived : bool
        whether it was derived, so that its secrets alone were committed.

    Returns
    -------
    list[str]
        k hashes.
    """
    secrets = bit_secrets(key._salt, key.bits)
    values = [None if derived else int(sign) for sign in key.signs()]
    return [salted_hash(i, *pair) for i, pair in enumerate(zip(secrets, values, strict=True))]


def derived_sign(secret: bytes, randomness: str, commitment: str) -> int:
    """The bit that follows from a secret and a public random number.

    Parameters
    ----------
    secret : bytes
        of the bit, 32 bytes.
    randomness, commitment : str
        of the beacon's round, and SHA-256 of the commitment; 64 hexadecimal digits each.

    Returns
    -------
    int
        -1 or +1: the first bit of HMAC-SHA256 under the secret.
    """
    public = _DERIVED + bytes.fromhex(randomness) + bytes.fromhex(commitment)
    return 1 if hmac.new(secret, public, hashlib.sha256).digest()[0] & 1 else -1
