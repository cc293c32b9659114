"""Tables of results as CSV files: a row per model or cell."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from siren_ext.errors import ConfigError
from siren_ext.files import atomic, locked

Row = dict[str, Any]
_PATIENCE = 60.0  # seconds


def given(rows: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    """The values of a column, where there are any.

    Parameters
    ----------
    rows : Iterable[Mapping[str, Any]]
        Measured, or read from a table, where what is missing is empty.
    name : str
        The column.
    """
    return [float(row[name]) for row in rows if row.get(name) not in ("", None)]


def write_rows(rows: Iterable[Row], path: Path, digits: int | None = None) -> None:
    """Write rows as a CSV file, atomically.

    Parameters
    ----------
    rows : Iterable[dict[str, Any]]
        Columns are all names in any row.
    path : Path
        The file; missing folders are created.
    digits : int | None
        Round fractions to this many significant digits; None keeps all.
    """
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {
                name: f"{value:.{digits}g}" if digits and isinstance(value, float) else value
                for name, value in row.items()
            }
            for row in rows
        )


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file that :func:`write_rows` wrote; none if there is no file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ConfigError
        If the file is no table.
    """
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{path} can't be read as a table of results; expected a CSV file. Choose another name."
        ) from error


def update_rows(path: Path, change: Callable[[list[Row]], Iterable[Row]]) -> None:
    """Read a CSV file, change its rows and write it, while no other process does the same.

    Parameters
    ----------
    path : Path
        The file.
    change : callable
        Gives the new rows for those of the file.

    Raises
    ------
    ConfigError
        If the file is no table, or another process keeps it for a minute.
    """
    with locked(path, _PATIENCE):
        write_rows(change(list(read_rows(path))), path)
