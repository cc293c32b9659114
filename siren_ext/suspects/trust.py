"""What the description of an API may do: the hosts it may use and the variables it may read.

Descriptions are passed from person to person. Whoever wrote one chooses where prompts are sent, and
which environment variable is sent along as the token; so neither is taken from the file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from siren_ext.errors import ConfigError
from siren_ext.text import printable

PREFIX = "SIREN_"
"""Variables that begin like this may be read without being named by the user."""
_NEVER = "PASSPHRASE"


@dataclass(frozen=True)
class Trust:
    """What the user allows.

    Attributes
    ----------
    hosts : tuple[str, ...]
        Host names without ports; capital letters do not matter.
    variables : tuple[str, ...]
        Environment variables that may be sent as a token, besides those with the prefix SIREN_.
    ask : Callable[[str, Sequence[str]], bool] | None
        Asks whether hosts may be used; it gets a text that says what for, and the hosts that are
        not in ``hosts``. None to refuse them.
    """

    hosts: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    ask: Callable[[str, Sequence[str]], bool] | None = None

    def check_variable(self, name: str) -> None:
        """Refuse an environment variable that a description may not name by itself.

        Parameters
        ----------
        name : str
            Name of the variable; may be empty for none.

        Raises
        ------
        ConfigError
            If the user did not name it, and it has not the prefix or is one for passphrases.
        """
        free = name.startswith(PREFIX) and _NEVER not in name.upper()
        if not name or free or name in self.variables:
            return
        shown = printable(name[:80])
        raise ConfigError(
            f"The description of the API asks for the environment variable {shown}; it may only "
            f"use variables that begin with {PREFIX} and don't contain a passphrase. If this "
            f"variable is meant for this API, add --token-env {shown}."
        )

    def check_hosts(self, server: str, host: str, downloads: Sequence[str], variable: str) -> None:
        """Make sure that the user knows the hosts of a description.

        Parameters
        ----------
        server : str
            Address to which requests are sent, for the question.
        host : str
            Its host name.
        downloads : Sequence[str]
            Further hosts from which pictures may be fetched.
        variable : str
            The environment variable that is sent as the token; empty for none.

        Raises
        ------
        ConfigError
            If the user does not trust one of them, or can't be asked.
        """
        known = {_plain_host(name) for name in self.hosts}
        others = [_plain_host(name) for name in downloads]
        unknown = [
            name for name in dict.fromkeys([_plain_host(host), *others]) if name not in known
        ]
        if not unknown:
            return
        token = f", and the token in {printable(variable)}" if variable else ""
        place = server.replace(host, _plain_host(host), 1)
        what = f"Prompts are sent to {printable(place)}{token}."
        if others:
            what += f" Images may be fetched from {', '.join(others)[:1000]}."
        if self.ask is not None:
            if self.ask(what, unknown):
                return
            raise ConfigError(f"{unknown[0]} is not trusted, so nothing was sent.")
        options = " ".join(f"--trust-host {name}" for name in unknown)
        raise ConfigError(
            f"The description of the API uses a host that is not trusted yet. {what} If you know "
            f"{'it' if len(unknown) == 1 else 'them'}, add {options}, or run the command at a "
            "terminal, where you will be asked once."
        )


def _plain_host(name: str) -> str:
    """A host name in ASCII, so that letters of other scripts can't look like another host's."""
    name = name.strip().lower()
    try:
        return printable(name.encode("idna").decode())
    except UnicodeError:  # too long for a host name, or no host name at all
        return name[:260].encode("ascii", "backslashreplace").decode()
