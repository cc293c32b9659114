"""Tables that a command writes into a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.errors import ConfigError
from siren_ext.experiments.rows import given
from siren_ext.files import atomic


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Parameters
    ----------
    head : Sequence[str]
        Names of the columns.
    rows : Sequence[Sequence[str]]
        Cells.

    Returns
    -------
    str
        With a newline at the end.
    """
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def spread(values: Sequence[float], form: str = "{:.3g}", unit: str = "") -> str:
    """The mean of values, and the lowest and highest if there are several.

    Parameters
    ----------
    values : Sequence[float]
        Of one model each; none give an empty text.
    form : str
        How a number is written.
    unit : str
        Behind the mean.

    Returns
    -------
    str
        Such as ``4.1 % (3.9 to 4.3)``.
    """
    if not values:
        return ""
    mean = f"{form.format(float(np.mean(values)))}{unit}"
    if len(values) == 1:
        return mean
    return f"{mean} ({form.format(min(values))} to {form.format(max(values))})"


def shares(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    """:func:`spread` of a column of shares, as percentages.

    Parameters
    ----------
    rows : Sequence[Mapping[str, Any]]
        Of one model each.
    name : str
        The column; rows without a value are left out.
    """
    return spread([100 * share for share in given(rows, name)], "{:.0f}", " %")


def write_between(page: Path, name: str, text: str) -> None:
    """Replace everything between the comments ``<!-- name:start -->`` and ``<!-- name:end -->``.

    Parameters
    ----------
    page : Path
        The page.
    name : str
        Name in the comments.
    text : str
        What stands between them afterwards, with a newline at the end.

    Raises
    ------
    ConfigError
        The page has no such comments.
    """
    first, last = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    before, start, rest = Path(page).read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not start or not end:
        raise ConfigError(f"{page} has no comments {first} and {last}; name a page that has them.")
    with atomic(Path(page)) as temporary:
        temporary.write_text(f"{before}{first}\n{text}{last}{after}", encoding="utf-8")
