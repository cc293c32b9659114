"""Addresses of web UIs: ``a1111://host:port?model=...&lora=...`` and ``comfyui://...``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from siren_ext.errors import ConfigError
from siren_ext.text import printable


@dataclass(frozen=True)
class Address:
    """The parts of such an address; ``base`` is the one of its HTTP server."""

    base: str
    options: dict[str, str]

    @classmethod
    def read(cls, text: str, scheme: str, known: tuple[str, ...], port: int) -> Address:
        """Take ``text`` apart; ``known`` are the options it may have, besides ``tls``.

        Raises :class:`ConfigError` for anything unknown, twice given, or with a password in it.
        """
        form = f"{scheme}://host[:port][?{'&'.join(f'{name}=...' for name in known)}]"
        try:
            parts = urlsplit(text)
            found_port = parts.port or port
        except ValueError as error:
            raise ConfigError(f"The address can't be understood; expected {form}.") from error
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                "The address has a name or password in it, which would end up in records; put "
                "user:password into an environment variable and give its name: ?auth=NAME."
            )
        if parts.scheme != scheme or not parts.hostname or parts.fragment:
            raise ConfigError(f"The address {str(text)[:80]} is unusual; expected {form}.")
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        options = dict(pairs)
        unknown = sorted(set(options) - {*known, "tls"})
        if unknown or len(options) < len(pairs):
            what = f"the unknown option {printable(unknown[0])[:40]}" if unknown else "one twice"
            raise ConfigError(f"The address has {what}; expected {form}.")
        tls = options.pop("tls", "no")
        if tls not in ("yes", "no"):
            raise ConfigError(f"The address has tls={str(tls)[:40]}; expected yes or no.")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        http = "https" if tls == "yes" else "http"
        return cls(f"{http}://{host}:{found_port}{parts.path.rstrip('/')}", options)

    def number(self, name: str, default: float) -> float:
        """An option as a number; raises :class:`ConfigError`."""
        try:
            return float(self.options.get(name, default))
        except ValueError as error:
            raise ConfigError(
                f"The address has {name}={str(self.options[name])[:40]}; expected a number."
            ) from error
