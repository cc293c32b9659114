"""Tables of results as CSV files: a row per model or cell."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from siren_ext.files import atomic

Row = dict[str, Any]


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
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
