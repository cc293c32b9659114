"""Commands in several processes, as ``accelerate launch`` starts them: one voice, one end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from siren_ext.errors import ConfigError
from siren_ext.ranks import is_first_to_end, joined, launched

if TYPE_CHECKING:
    from siren_ext.cli.terminal import StopRequest


def hush() -> None:
    """Let only the main process print; the others show nothing but the error that ends them all."""
    place = launched()
    if place is not None and place[0]:
        _say_nothing()


def _say_nothing() -> None:
    sys.stdout = sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _speak_first() -> None:
    """Let this process say why it ends, unless another one has done so."""
    if is_first_to_end():
        sys.stdout, sys.stderr = sys.__stdout__ or sys.stdout, sys.__stderr__ or sys.stderr
    else:
        _say_nothing()


def surprise(environment: Mapping[str, str] = os.environ) -> str:
    """What to say where a launcher was asked for several processes, but has started one.

    ``accelerate launch --cpu`` starts several by MPI only.

    Parameters
    ----------
    environment : mapping
        The environment of the process.

    Returns
    -------
    str
        A sentence, or "" if all is well.
    """
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_PORT" in environment
    if not by_accelerate or "WORLD_SIZE" in environment:
        return ""
    return (
        "accelerate launch has started only one process, as it does with --cpu or without several "
        "GPUs. For several processes on CPUs, give --multi_gpu to accelerate launch and --device "
        "cpu to siren-ext."
    )


def stop_request(*, quiet: bool) -> StopRequest:
    """What stops a command: Ctrl-C, and the launcher where there is one.

    Parameters
    ----------
    quiet : bool
        Don't say that a launcher has started fewer processes than it was asked for.
    """
    from siren_ext.cli.terminal import StopRequest

    if (hint := surprise()) and not quiet:
        typer.echo(hint, file=sys.stderr)
    if launched() is None:
        return StopRequest()
    return StopRequest(signals=(signal.SIGINT, signal.SIGTERM), again=False)


def refuse_launched(what: str, *, given: bool) -> None:
    """Refuse what can't be shared by the processes of a launcher.

    Parameters
    ----------
    what : str
        What was given.
    given : bool
        Whether it was.

    Raises
    ------
    ConfigError
        It was, and there is a launcher.
    """
    if given and launched() is not None:
        raise ConfigError(
            f"A launcher has started several processes, which can't share {what}. Leave out one "
            "or the other."
        )


def _require(several: bool, name: str) -> None:
    """Refuse several processes of a command that needs one."""
    if not several:
        raise ConfigError(
            f"'{name}' was started in several processes by a launcher; expected one. Run "
            f"'siren-ext {name}' without the launcher."
        )


@contextmanager
def together(name: str, device: str, *, several: bool) -> Iterator[None]:
    """Run a command as one of the processes that a launcher has started, if there was one.

    If they fail, the first one that ends says why.

    Parameters
    ----------
    name : str
        The command.
    device : str
        Its device.
    several : bool
        Whether it can run in several processes.

    Raises
    ------
    ConfigError
        It can't, but was started so, or the device does not suit several processes.
    """
    if launched() is None:
        yield
        return
    try:
        _require(several, name)
        with joined(device):
            yield
    except typer.Exit:
        raise
    except BaseException:
        _speak_first()
        raise
