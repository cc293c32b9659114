"""Bearer tokens: who may use the service. A token is never printed, logged or stored."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

from siren_ext.documents import read_bytes
from siren_ext.errors import ConfigError

LEAST_LENGTH = 16
"""Fewest characters of a token."""
_MAX_BYTES = 64 << 10
_ADVICE = "'python -c \"import secrets; print(secrets.token_urlsafe())\"' makes a token."


class Tokens:
    """The tokens that open the service. Only their hashes are kept.

    Parameters
    ----------
    tokens : Iterable[str]
        At least 16 printable ASCII characters each, without spaces; none lets everybody in.

    Raises
    ------
    ConfigError
        A token is too short or has other characters.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._hashes: list[bytes] = []
        for number, token in enumerate(tokens, start=1):
            plain = token.isascii() and token.isprintable() and " " not in token
            if len(token) < LEAST_LENGTH or not plain:
                raise ConfigError(
                    f"Token {number} has {len(token)} characters; expected at least "
                    f"{LEAST_LENGTH} letters, digits and signs, without spaces. {_ADVICE}"
                )
            self._hashes.append(_hashed(token))

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self._hashes)

    def admit(self, header: str | None) -> bool:
        """Whether a request may pass. The time does not depend on how much of a token is right.

        Parameters
        ----------
        header : str | None
            The header ``Authorization`` of the request.

        Returns
        -------
        bool
            True if it is ``Bearer`` and one of the tokens, or there are no tokens.
        """
        if not self._hashes:
            return True
        scheme, _, token = (header or "").partition(" ")
        given = _hashed(token.strip())
        found = [hmac.compare_digest(given, one) for one in self._hashes]
        return scheme.lower() == "bearer" and any(found)

    @classmethod
    def read(cls, file: Path | None, variable: str | None) -> Tokens:
        """Tokens of a file or an environment variable.

        Parameters
        ----------
        file : Path | None
            One token on each line; empty lines and those that begin with ``#`` are left out.
        variable : str | None
            Environment variable with one token.

        Returns
        -------
        Tokens
            Empty if neither is given.

        Raises
        ------
        ConfigError
            Both are given, the variable is not set, or the file can't be read or has no token.
        """
        if file is not None and variable is not None:
            raise ConfigError("Give the token as a file or as an environment variable, not both.")
        if variable is not None:
            value = os.environ.get(variable)
            if not value:
                raise ConfigError(
                    f"The environment variable {variable[:80]!r} is not set; set it to the token. "
                    f"{_ADVICE}"
                )
            return cls([value.strip()])
        if file is None:
            return cls()
        text = read_bytes(file, error=ConfigError, max_bytes=_MAX_BYTES, advice=_ADVICE)
        lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines()]
        tokens = [line for line in lines if line and not line.startswith("#")]
        if not tokens:
            raise ConfigError(f"{file} has no token in it; expected one on each line. {_ADVICE}")
        return cls(tokens)


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address.

    Parameters
    ----------
    host : str
        An address or ``localhost``; other names count as reachable.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def refuse_open_address(host: str, tokens: Tokens) -> None:
    """Refuse to listen where others reach the service if it lets everybody in.

    Parameters
    ----------
    host : str
        Where the service listens.
    tokens : Tokens
        Who may use it.

    Raises
    ------
    ConfigError
        ``host`` is not of this machine alone, and there is no token.
    """
    if not tokens and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached from other machines, but no token was given; add --token-file "
            f"or --token-env, or use --host 127.0.0.1. {_ADVICE}"
        )


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
