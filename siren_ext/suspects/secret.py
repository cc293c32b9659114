"""Tokens and passwords for servers: read from environment variables and never printed."""

from __future__ import annotations

import base64
import html
import os
import re
from dataclasses import dataclass

from siren_ext.errors import ConfigError
from siren_ext.suspects.responses import quoted

_LEAST_BASE64 = 6  # fewer characters also occur by chance
_BREAK = r"(?:\s|\\{1,15}[rn]){0,4}"  # of a line, as it is or as an escape of JSON


def _written(secret: str) -> re.Pattern[str]:
    """A secret in either case, each character as it is or escaped for an address, JSON or HTML."""
    pieces = []
    for character in re.findall(r"\\+|[^\\]", secret):
        if character.startswith("\\"):  # one piece, because several would try all partitions
            count = len(character)
            pieces.append(rf"(?:\\{{{count},{15 * count}}}|(?:%(?:25)*5c){{{count}}})")
            continue
        number = ord(character)
        pieces.append(
            rf"(?:\\{{0,15}}{re.escape(character)}|%(?:25)*(?i:{number:02x})"
            rf"|\\{{1,15}}u00(?i:{number:02x})|\\{{1,15}}x(?i:{number:02x})"
            rf"|&#0*{number};|&#[xX]0*(?i:{number:x});|{re.escape(html.escape(character))})"
        )
    digits = r"[\s:-]?".join(f"{ord(character):02x}" for character in secret)
    return re.compile(f"{''.join(pieces)}|(?:0x)?{digits}", re.IGNORECASE)


def _in_base64(secret: str) -> list[re.Pattern[str]]:
    """A secret within base64, at each of the three places that a character can have."""
    patterns = []
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        # the first and last characters also depend on what is around
        core = whole[(0, 2, 3)[before] : len(whole) - ((before + len(secret)) % 3 != 0)]
        if len(core) >= _LEAST_BASE64:
            both = _BREAK.join({"+": "[+-]", "/": "[/_]"}.get(one, one) for one in core)
            written = rf"[\w+/-]{{0,3}}{both}[\w+/-]?=*"
            patterns.append(re.compile(written, re.IGNORECASE))
    return patterns


@dataclass(frozen=True)
class Secret:
    """A token that is printed as stars.

    Attributes
    ----------
    value : str
        The token.
    header : str
        Name of the HTTP header.
    form : str
        Value of the header, with ``{token}`` in place of the token.
    plain : str
        The token before encoding, which must not appear in messages either.
    """

    value: str
    header: str = "Authorization"
    form: str = "Bearer {token}"
    plain: str = ""

    def __repr__(self) -> str:
        return "Secret(***)"

    @classmethod
    def from_env(
        cls, name: str, header: str = "Authorization", form: str = "Bearer {token}"
    ) -> Secret:
        """The token in an environment variable.

        Parameters
        ----------
        name : str
            Name of the variable.
        header, form : str
            As in the class.

        Raises
        ------
        ConfigError
            If the variable is not set, or a value is malformed.
        """
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ConfigError(
                "What was given is not the name of an environment variable; expected a name such "
                "as MY_TOKEN. Put the token into that variable, never into a file or an address."
            )
        value = os.environ.get(name, "").strip()
        if not value:
            raise ConfigError(f"The environment variable {name} is not set; set it to the token.")
        if not re.fullmatch(r"[\x21-\x7e]+", value):
            raise ConfigError(
                f"The environment variable {name} contains spaces or characters that can't be part "
                "of a token; expected printable ASCII."
            )
        if not re.fullmatch(r"[A-Za-z0-9-]+", header) or form.count("{token}") != 1:
            raise ConfigError(
                f"The token's header is {quoted(header)}: {quoted(form)}; expected the name of a "
                "header and a text with {token} in it."
            )
        return cls(value, header, form)

    @classmethod
    def login_from_env(cls, name: str) -> Secret:
        """The ``user:password`` in an environment variable, for HTTP Basic authentication.

        Raises
        ------
        ConfigError
            As in :meth:`from_env`.
        """
        raw = cls.from_env(name).value
        return cls(base64.b64encode(raw.encode()).decode(), form="Basic {token}", plain=raw)

    def scrub(self, text: str) -> str:
        """The text with the token replaced by stars, however it is written.

        Other case, percent-encoding, escapes of JSON and HTML, hexadecimal digits and base64 are
        recognised, also of the token as a part of a longer text.
        """
        for hidden in filter(None, (self.value, self.plain)):
            text = _written(hidden).sub("***", text)
            for pattern in _in_base64(hidden):
                text = pattern.sub("***", text)
        return text

    @property
    def header_value(self) -> str:
        """Value of the header, with the token."""
        return self.form.replace("{token}", self.value)
