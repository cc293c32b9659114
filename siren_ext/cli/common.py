"""What all commands share: options, settings, error messages, exit codes and progress."""

from __future__ import annotations

import functools
import inspect
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_type_hints

import typer

from siren_ext.cli.launched import stop_request, together
from siren_ext.cli.options import Debug
from siren_ext.config import Config
from siren_ext.documents import read_toml
from siren_ext.errors import Cancelled, ConfigError, EvidenceError, SirenError, words_of
from siren_ext.progress import Progress
from siren_ext.ranks import current, launched
from siren_ext.schema import shown

SKIPPED = 3
INTERRUPTED = 130
FAILED = 2
_LISTED = 8  # files with the same reason that are named one by one

C = TypeVar("C", bound=Config)


def explain(message: str) -> None:
    """Print a message on stderr; if that can't be written, the work is done all the same.

    Parameters
    ----------
    message : str
        what the person should know; not part of the result.
    """
    with suppress(OSError):
        typer.echo(message, file=sys.stderr)


def show_any_text() -> None:
    """Let stdout and stderr show every text: what their encoding lacks is written as an escape.

    Output that is redirected into a file or pipe often has an encoding of the system, such as
    cp1252, that lacks characters of file names. A stream that is closed takes everything and shows
    nothing.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(message: str) -> None:
    """Print a line of the result on stdout.

    Parameters
    ----------
    message : str
        the line.
    """
    # named, because typer would write UTF-8 into a stream that was declared as ASCII
    typer.echo(message, file=sys.stdout)


def command(
    app: typer.Typer, name: str, *, example: str, several: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command; its errors become one message and an exit code.

    A :class:`SirenError`, or a path that can't be used, is printed without a traceback and exits
    with 2; Ctrl-C and :class:`Cancelled` say how to resume and exit with 130; ``--debug`` raises.

    Parameters
    ----------
    app : typer.Typer
        the program or group that gets the command.
    name : str
        what users type.
    example : str
        a complete command line, shown below the help.
    several : bool
        whether ``accelerate launch`` may run it in several processes.

    Returns
    -------
    Callable
        a decorator that returns the function unchanged.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*args: Any, debug: bool = False, **kwargs: Any) -> None:
            try:
                with together(name, kwargs.get("device", "auto"), several=several):
                    function(*args, **kwargs)
            except (Cancelled, KeyboardInterrupt) as error:
                if debug:
                    raise
                explain("Stopped. Finished work is kept; run the same command again to resume.")
                raise typer.Exit(INTERRUPTED) from error
            except BrokenPipeError:
                raise  # whoever read the output has closed it; click exits silently
            except (SirenError, OSError) as error:
                if debug:
                    raise
                explain(f"Error: {words_of(error)}")
                raise typer.Exit(FAILED) from error

        hints = get_type_hints(function, include_extras=True)
        given = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(function).parameters.values()
        ]
        extra = inspect.Parameter(
            "debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug
        )
        # Typer reads the options from the signature: show it the function's own plus --debug.
        del run.__dict__["__wrapped__"]
        run.__signature__ = inspect.Signature([*given, extra])  # type: ignore[attr-defined]
        run.__annotations__ = {**hints, "debug": Debug}
        app.command(
            name, help=_flowing(function), epilog=f"Example: {example}", no_args_is_help=True
        )(run)
        return function

    return register


def _flowing(function: Callable[..., None]) -> str:
    """The docstring's paragraphs without the source's line breaks, which typer would keep."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


@contextmanager
def watched(quiet: bool = False) -> Iterator[Progress]:
    """Show progress while a step runs; Ctrl-C stops the step cleanly.

    Parameters
    ----------
    quiet : bool
        show notices only.

    Yields
    ------
    Progress
        for the step; raises :class:`Cancelled` after Ctrl-C.
    """
    from siren_ext.cli.terminal import terminal_progress

    with stop_request(quiet=quiet) as stop:
        progress = current().watched(terminal_progress(stop.asked, quiet=quiet))
        try:
            yield progress
        finally:
            progress.close()


def report_skipped(failures: Sequence[tuple[str, str]], what: str) -> None:
    """List skipped files on stderr and exit with code 3; do nothing if there are none.

    Parameters
    ----------
    failures : Sequence[tuple[str, str]]
        (name, reason) of every skipped file.
    what : str
        what they are, in the singular: file or image.

    Raises
    ------
    typer.Exit
        with code 3, if anything was skipped and this is not one of several processes.
    """
    if not failures:
        return
    explain(f"Skipped {len(failures)} {what}{'' if len(failures) == 1 else 's'}:")
    names: dict[str, list[str]] = {}
    for name, reason in failures:
        names.setdefault(reason, []).append(name)
    for reason, skipped in names.items():
        if len(skipped) <= _LISTED:
            for name in skipped:
                explain(f"  {name}: {reason}")
        else:
            more = f"{', '.join(skipped[:_LISTED])} and {len(skipped) - _LISTED} more"
            explain(f"  {len(skipped)} {what}s ({more}): {reason}")
    if launched() is None:  # a launcher takes every other code than 0 for a crash
        raise typer.Exit(SKIPPED)


def report_notices(notices: Iterable[str]) -> None:
    """List on stderr what was left out of a set and what to check, one line each.

    Parameters
    ----------
    notices : Iterable[str]
        :attr:`~siren_ext.data.dataset.ImageSet.notices`.
    """
    for notice in notices:
        explain(notice)


def report_notes(notes: Iterable[tuple[str, str]]) -> None:
    """List on stderr what could not be kept unchanged, each note once.

    Parameters
    ----------
    notes : Iterable[tuple[str, str]]
        (note, name) for every note on an image.
    """
    names: dict[str, list[str]] = {}
    for note, name in notes:
        names.setdefault(note, []).append(name)
    for note, noted in names.items():
        more = f" and {len(noted) - 3} more" if len(noted) > 3 else ""
        explain(f"Note: {note} ({', '.join(noted[:3])}{more})")


def refuse_existing(file: Path) -> None:
    """Check that a file can be made, before anything is asked or computed.

    Parameters
    ----------
    file : Path
        the file to write.

    Raises
    ------
    EvidenceError
        it exists.
    """
    if file.exists():
        raise EvidenceError(f"{file} already exists and was not overwritten; choose another name.")


def split_assignment(text: str, option: str = "--set") -> tuple[str, str]:
    """The two sides of ``NAME=VALUE``.

    Parameters
    ----------
    text : str
        what was typed; dashes in the name become underscores.
    option : str
        the option that it was given to, for the error message.

    Returns
    -------
    tuple[str, str]
        name and value, without spaces around them.

    Raises
    ------
    ConfigError
        there is no name or no equals sign.
    """
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not name:
        raise ConfigError(
            f"{option} was given {shown(text)}; expected NAME=VALUE, such as steps=400."
        )
    return name, value.strip()


def pixels(text: str | None) -> int | Literal["keep"] | None:
    """The value of ``--working-size``.

    Parameters
    ----------
    text : str | None
        what was typed; None if nothing was.

    Returns
    -------
    int | "keep" | None
        a number of pixels, ``keep``, or None.

    Raises
    ------
    ConfigError
        the text is neither.
    """
    if text is None:
        return None
    if text == "keep":
        return "keep"
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise ConfigError(
        f"--working-size was given {shown(text)}; expected a number of pixels, or keep."
    )


def settings(
    kind: type[C],
    file: Path | None = None,
    assignments: Sequence[str] | None = None,
    **options: Any,
) -> C:
    """Make settings from a file, ``--set`` and options.

    Parameters
    ----------
    kind : type[C]
        the settings class.
    file, assignments, options
        as for :func:`gather`.

    Returns
    -------
    C
        checked settings.

    Raises
    ------
    ConfigError
        the file can't be read, an assignment is malformed, or a value does not fit.
    """
    return kind.from_dict(gather(kind, file, assignments, **options))


def gather(
    kind: type[Config],
    file: Path | None = None,
    assignments: Sequence[str] | None = None,
    *,
    groups: Mapping[str, type[Config]] = MappingProxyType({}),
    **options: Any,
) -> dict[str, Any]:
    """Values from a TOML file, overridden by ``--set``, overridden by options.

    Parameters
    ----------
    kind : type[Config]
        the settings, whose types decide what a text stands for.
    file : Path | None
        TOML file, with a table for each group.
    assignments : Sequence[str] | None
        texts such as ``steps=400``; ``coater.bits=48`` is for the group ``coater``.
    groups : Mapping[str, type[Config]]
        further settings by the name of their table.
    options : Any
        values by name; None counts as not given.

    Returns
    -------
    dict[str, Any]
        values by name, not yet checked; each group as a dictionary, empty where nothing was given.

    Raises
    ------
    ConfigError
        the file can't be read, an assignment is malformed, or a group is not a table.
    """
    values = read_toml(file, error=ConfigError) if file is not None else {}
    for name in groups:
        if not isinstance(values.setdefault(name, {}), dict):
            raise ConfigError(f"{file}: {name} is a single value; expected a table [{name}].")
    for text in assignments or ():
        name, value = split_assignment(text)
        group, dot, inner = name.partition(".")
        if group in groups and dot:
            values[group][inner] = groups[group].value_from_text(inner, value)
        elif dot or group in groups:
            example = f"such as {next(iter(groups))}.NAME=VALUE" if groups else "NAME=VALUE"
            raise ConfigError(
                f"--set was given {shown(text)}, but {shown(group)} is "
                f"{'a group' if group in groups else 'not a group'} of settings; expected "
                f"{example}."
            )
        else:
            values[name] = kind.value_from_text(name, value)
    return values | {name: value for name, value in options.items() if value is not None}
