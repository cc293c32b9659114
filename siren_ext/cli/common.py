"""What all commands share: options, settings, error messages, exit codes and progress."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from siren_ext.config import Config
from siren_ext.documents import read_toml
from siren_ext.errors import Cancelled, ConfigError, EvidenceError, SirenError
from siren_ext.progress import Progress
from siren_ext.schema import shown
from siren_ext.text import printable

SKIPPED = 3
INTERRUPTED = 130
FAILED = 2

C = TypeVar("C", bound=Config)

Base = Annotated[
    str,
    typer.Option(
        "--base", help="Base model: pocket (bundled), a diffusers folder or a checkpoint file."
    ),
]
ClassWord = Annotated[
    str, typer.Option("--class-word", help="Noun for what the images show, such as dog.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Random seed.")]
Images = Annotated[Path, typer.Argument(help="Folder of images, kohya folder or dataset.toml.")]
NewCoater = Annotated[Path, typer.Option("--out", help="Coater file to write.")]
ReleasedCoater = Annotated[
    Path, typer.Option("--coater", help="The coater that coated the published images.")
]
SuspectScores = Annotated[
    Path, typer.Option("--suspect", help="Scores of the suspicious model's images.")
]
ReportFolder = Annotated[Path, typer.Option("--out", help="Folder for the report.")]
ResultFolder = Annotated[Path, typer.Option("--out", help="Folder for all results.")]
Prompts = Annotated[
    list[str] | None,
    typer.Option("--prompt", help="Prompt; may be repeated, prompts are used in turn."),
]
Count = Annotated[int | None, typer.Option("-n", "--count", help="Number of images to make.")]
ImageSeed = Annotated[int | None, typer.Option("--seed", help="Image i is made with seed + i.")]
SamplingSteps = Annotated[int | None, typer.Option("--steps", help="Sampling steps.")]
Guidance = Annotated[
    float | None, typer.Option("--guidance", help="Classifier-free guidance scale; 1 is none.")
]
Side = Annotated[
    int | None, typer.Option("--size", help="Image side in pixels; 0 is the model's own.")
]
AllowPartial = Annotated[
    bool,
    typer.Option(
        "--allow-partial", help="Load the parts of an adapter that fit and list the others."
    ),
]
WorkingSize = Annotated[
    str | None,
    typer.Option(
        "--working-size",
        metavar="PIXELS",
        help="Side in pixels at which the coater sees images, or keep for that of --start. By "
        "default it is changed if it does not fit the base model, and a message says so.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images processed at once.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:0 or mps.", rich_help_panel="Running")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress display.", rich_help_panel="Running")
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel="Running"),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        help="Read settings from this file; command-line options override it. "
        "'siren-ext settings NAME' prints all settings of a command.",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Give one setting; may be repeated."),
]


def explain(message: str) -> None:
    """Print a message on stderr.

    Parameters
    ----------
    message : str
        what the person should know; not part of the result.
    """
    typer.echo(message, err=True)


def say(message: str) -> None:
    """Print a line of the result on stdout.

    Parameters
    ----------
    message : str
        the line.
    """
    typer.echo(message)


def command(
    app: typer.Typer, name: str, *, example: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command; its errors become one message and an exit code.

    A :class:`SirenError`, or a path that can't be used, is printed without a traceback and exits
    with 2; Ctrl-C and :class:`Cancelled` say how to resume and exit with 130. With ``--debug``
    errors are raised.

    Parameters
    ----------
    app : typer.Typer
        the program or group that gets the command.
    name : str
        what users type.
    example : str
        a complete command line, shown below the help.

    Returns
    -------
    Callable
        a decorator that returns the function unchanged.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*args: Any, debug: bool = False, **kwargs: Any) -> None:
            try:
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
                explain(f"Error: {_reason(error)}")
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


def _reason(error: SirenError | OSError) -> str:
    """What an error says to a person."""
    if isinstance(error, SirenError):
        return str(error)
    path = Path(str(error.filename2 or error.filename or "A file"))
    if path.name.startswith(".part-"):  # a file that would have been renamed
        path = path.parent
    return printable(
        f"{path} can't be read or written ({error.strerror or error}); check the path, its "
        "permissions and the free space."
    )


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
    from siren_ext.cli.terminal import StopRequest, terminal_progress

    with StopRequest() as stop:
        progress = terminal_progress(stop.asked, quiet=quiet)
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
        with code 3, if anything was skipped.
    """
    if not failures:
        return
    explain(f"Skipped {len(failures)} {what}{'' if len(failures) == 1 else 's'}:")
    for name, reason in failures:
        explain(f"  {name}: {reason}")
    raise typer.Exit(SKIPPED)


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
        raise EvidenceError(f"{file} exists already and is not overwritten; choose another name.")


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
    """Settings of ``kind`` from :func:`gather`; raises :class:`ConfigError`."""
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
