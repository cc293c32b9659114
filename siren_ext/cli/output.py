"""What ``--out`` may replace: an earlier result of the same command, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from siren_ext.errors import ConfigError, EvidenceError, SirenError
from siren_ext.files import is_folder, is_present

Kind = Literal["scores", "adapter", "report", "ranking", "source", "robustness"]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Let --out replace what this command would keep, such as another kind of file.",
        rich_help_panel="Running",
    ),
]
_WORDS = {
    "scores": "a file of scores",
    "adapter": "a file that siren-ext personalize wrote",
    "report": "a report",
}
_FORMATS = {
    b"siren_ext.scores": "scores",
    b"siren_ext.report": "report",
    b"siren_ext.passive_report": "report",
    b"siren_ext.attribution": "attribution",
    b"siren_ext.source_attribution": "source",
}
_START = 4096
_FORMAT = re.compile(rb'\A\s*\{\s*"format"\s*:\s*"([\w.]{1,80})"')


def check_output(out: Path, kind: Kind, *, force: bool = False) -> None:
    """Refuse to replace what the same command did not write, before anything is computed.

    A missing or empty file, and a missing or empty folder, can always be written.

    Parameters
    ----------
    out : Path
        the file, or the folder of a report, ranking or table, that will be written.
    kind : {"scores", "adapter", "report", "ranking", "source", "robustness"}
        what will be written. A finished table of robustness took hours, so it is kept as well.
    force : bool
        allow it all the same; a folder is still not replaced by a file, nor a file by a folder.

    Raises
    ------
    ConfigError
        there is something else: a file of another kind, a folder in place of a file, or a file in
        place of a folder.
    EvidenceError
        there is a signed report.
    """
    if kind == "report":
        _check_report(out, force)
        return
    if kind in _FOLDER_CHECKS:
        _refuse_file(out)
        if not force:
            _FOLDER_CHECKS[kind](out)
        return
    if is_folder(out):
        raise ConfigError(f"--out {out} is a folder; expected the name of a file to write.")
    if force or not is_present(out):
        return
    found = kind_of(out)
    if found not in (kind, ""):
        raise ConfigError(
            f"{out} exists and is not {_WORDS[kind]}, so it was not replaced. Choose another "
            "name, or add --force to replace it."
        )


def _check_report(folder: Path, force: bool) -> None:
    """Refuse a signed report, and files that have a report's names but are none."""
    from siren_ext.report.integrity import HTML, JSON, SEAL, read_seal

    _refuse_file(folder)
    if force:
        return
    try:
        seal = read_seal(folder)
    except SirenError:
        seal = None  # damaged: it can't prove anything any more, but is kept as well
        damaged = is_present(folder / SEAL)
    else:
        damaged = False
    if damaged or (seal is not None and seal.public):
        what = "a report with a damaged seal" if damaged else "a signed report"
        raise EvidenceError(
            f"{folder} contains {what}, which was not replaced. Choose another folder, or add "
            "--force to replace it."
        )
    data, page = folder / JSON, folder / HTML
    if (is_present(data) and kind_of(data) not in ("report", "")) or (
        is_present(page) and not is_present(data)
    ):
        name = JSON if is_present(data) else HTML
        raise ConfigError(
            f"{folder} contains a {name} that is not a report of siren-ext, so it was not "
            "replaced. Choose another folder, or add --force to replace it."
        )


def _check_ranking(folder: Path) -> None:
    """Refuse files that have a ranking's names but are none."""
    from siren_ext.report.attribution_report import ATTRIBUTION_HTML, ATTRIBUTION_JSON

    _check_pair(folder / ATTRIBUTION_JSON, folder / ATTRIBUTION_HTML, "attribution", "a ranking")


def _check_source(folder: Path) -> None:
    """Refuse files that have the names of a report about a source but are none."""
    from siren_ext.report.source_report import SOURCE_HTML, SOURCE_JSON

    _check_pair(folder / SOURCE_JSON, folder / SOURCE_HTML, "source", "a report about a source")


def _check_pair(data: Path, page: Path, kind: str, what: str) -> None:
    """Refuse a record of another kind, and a page without a record."""
    foreign = is_present(data) and kind_of(data) not in (kind, "")
    if foreign or (is_present(page) and not is_present(data)):
        raise ConfigError(
            f"{data.parent} contains {(data if foreign else page).name}, which is not {what} of "
            "siren-ext, so it was not replaced. Choose another folder, or add --force to replace "
            "it."
        )


def _check_empty(folder: Path) -> None:
    """Refuse a folder that has files."""
    if is_folder(folder) and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} already has files in it, and nothing was overwritten. Choose a new folder, "
            "or add --force to replace an earlier table there."
        )


_FOLDER_CHECKS: dict[str, Callable[[Path], None]] = {
    "ranking": _check_ranking,
    "source": _check_source,
    "robustness": _check_empty,
}


def _refuse_file(folder: Path) -> None:
    """Refuse a file in place of a folder."""
    if is_present(folder) and not is_folder(folder):
        raise ConfigError(f"--out {folder} is a file; expected the name of a folder.")


def kind_of(file: Path) -> str:
    """The kind of an existing file.

    Parameters
    ----------
    file : Path
        the file.

    Returns
    -------
    str
        scores, adapter, report, attribution or source; "" if it is empty, "other" if it is none
        of ours.
    """
    try:
        if not file.is_file():
            return "other"
        with file.open("rb") as stream:
            start = stream.read(_START)
    except OSError:
        return "other"
    if not start:
        return ""
    if named := _FORMAT.match(start):
        return _FORMATS.get(named[1], "other")
    return "adapter" if _is_our_adapter(file) else "other"


def _is_our_adapter(file: Path) -> bool:
    """Whether a file is a LoRA that ``siren-ext personalize`` wrote."""
    from safetensors import SafetensorError, safe_open

    from siren_ext.personalize.record import RUN_KEY

    try:
        with safe_open(str(file), framework="numpy") as stream:
            return RUN_KEY in (stream.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False
