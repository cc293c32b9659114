"""Tokens and passwords for servers: read from environment variables and never printed."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass

from siren_ext.errors import ConfigError
from siren_ext.suspects.responses import quoted


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
            raise ConfigError(f"The environment variable {name} is not set; put the token there.")
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

    @property
    def header_value(self) -> str:
        """Value of the header, with the token."""
        return self.form.replace("{token}", self.value)
