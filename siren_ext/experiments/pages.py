"""Tables that a command writes into a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from siren_ext.errors import ConfigError
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
