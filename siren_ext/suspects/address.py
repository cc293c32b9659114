"""Addresses of web UIs, such as ``a1111://host:port?lora=...``, and of HTTP servers."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from siren_ext.errors import ConfigError


@dataclass(frozen=True)
class Address:
    """The parts of an address.

    Attributes
    ----------
    base : str
        Address of the HTTP server, ``http(s)://host:port/path``.
    options : dict of str to str
        The options after the question mark, without ``tls``.
    """

    base: str
    options: dict[str, str]

    @classmethod
    def read(cls, text: str, scheme: str, known: tuple[str, ...], port: int) -> Address:
        """Parse an address.

        Parameters
        ----------
        text : str
            The address.
        scheme : str
            What it must begin with.
        known : tuple of str
            The options that it may have, besides ``tls``.
        port : int
            The port if it gives none.

        Raises
        ------
        ConfigError
            If something is unknown or given twice, or it contains a password.
        """
        form = f"{scheme}://host[:port][?{'&'.join(f'{name}=...' for name in known)}]"
        try:
            parts = urlsplit(text)
            found_port = parts.port or port
        except ValueError as error:
            raise ConfigError(f"The address can't be understood; expected {form}.") from error
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                "The address contains a user name or password, which would be written to the "
                "records; put user:password into an environment variable and give its name: "
                "?auth=NAME."
            )
        if parts.scheme != scheme or not parts.hostname or parts.fragment:
            raise ConfigError(f"The address {str(text)[:80]} is malformed; expected {form}.")
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        options = dict(pairs)
        unknown = sorted(set(options) - {*known, "tls"})
        if unknown or len(options) < len(pairs):
            name = unknown[0][:40] if unknown else ""
            what = f"the unknown option {name}" if unknown else "an option given twice"
            raise ConfigError(f"The address has {what}; expected {form}.")
        tls = options.pop("tls", "no")
        if tls not in ("yes", "no"):
            raise ConfigError(f"The address has tls={str(tls)[:40]}; expected yes or no.")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        http = "https" if tls == "yes" else "http"
        return cls(f"{http}://{host}:{found_port}{parts.path.rstrip('/')}", options)

    def number(self, name: str, default: float) -> float:
        """An option as a number.

        Parameters
        ----------
        name : str
            The option.
        default : float
            The number if it is not given.

        Raises
        ------
        ConfigError
            If it is not a number.
        """
        try:
            return float(self.options.get(name, default))
        except ValueError as error:
            raise ConfigError(
                f"The address has {name}={str(self.options[name])[:40]}; expected a number."
            ) from error


def split_address(text: str, kind: type[Exception] = ConfigError) -> Any:
    """Parse an http(s) address.

    Parameters
    ----------
    text : str
        The address.
    kind : type of exception
        What to raise.

    Returns
    -------
    urllib.parse.SplitResult
        Its parts.

    Raises
    ------
    ConfigError
        Or ``kind``, if it is malformed, has another scheme, or contains a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise kind("The address can't be understood; expected http(s)://host:port.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise kind(
            f"The address begins with {str(parts.scheme)[:20]!r}; expected http(s)://host[:port]."
        )
    if parts.username is not None or parts.password is not None:
        raise kind(
            f"The address of {parts.hostname} contains a user name or password, which would be "
            "written to the records; give the name of an environment variable instead."
        )
    if port == 0 or re.search(r"[\x00-\x20\x7f]", text):
        raise kind("The address has an invalid port or character; expected http(s)://host.")
    return parts


def on_this_machine(host: str) -> bool:
    """Whether a host name is that of this machine (loopback)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
