"""Files that name their format and version in their first two fields."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from msgspec import Meta

from siren_ext.documents import MAX_JSON_BYTES, read_json
from siren_ext.errors import SirenError
from siren_ext.schema import convert, expected, fits, shown

T = TypeVar("T")

Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z", description="64 hexadecimal digits")]


def read_format(
    path: Path | str,
    kind: type[T],
    *,
    error: type[SirenError],
    name: str | None = None,
    max_bytes: int = MAX_JSON_BYTES,
    advice: str = "",
    marked: str | None = None,
) -> T:
    """A typed structure from a JSON file that names its format and version.

    Parameters
    ----------
    path : Path | str
        the file.
    kind, error, name, advice, marked
        as in :func:`convert_format`; ``name`` is the path where it is left out.
    max_bytes : int
        largest size that is read.

    Returns
    -------
    T
        a checked structure.

    Raises
    ------
    SirenError
        of the kind ``error``: the file can't be read, see
        :func:`siren_ext.documents.read_json`, or does not fit, see :func:`convert_format`.
    """
    name = str(path) if name is None else name
    values = read_json(path, error=error, name=name, max_bytes=max_bytes, advice=advice)
    return convert_format(values, kind, name=name, error=error, advice=advice, marked=marked)


def convert_format(
    values: Any,
    kind: type[T],
    *,
    name: str,
    error: type[SirenError],
    advice: str = "",
    marked: str | None = None,
) -> T:
    """A typed structure from plain values whose format and version are checked first.

    Parameters
    ----------
    values : Any
        plain values, such as those of a JSON file.
    kind : type[T]
        a structure with the fields ``format`` and ``version``.
    name : str
        what messages call the values.
    error : type[SirenError]
        what is raised.
    advice : str
        a sentence that ends every message: what to do.
    marked : str | None
        the format that is asked for, where ``kind`` takes any.

    Returns
    -------
    T
        a checked structure.

    Raises
    ------
    SirenError
        of the kind ``error``: another format or version, or a value that does not fit, see
        :func:`siren_ext.schema.convert`.
    """
    require_format(values, kind, name=name, error=error, advice=advice, marked=marked)
    return convert(values, kind, name=name, error=error, advice=advice)


def require_format(
    values: Any,
    kind: type,
    *,
    name: str,
    error: type[SirenError],
    advice: str = "",
    marked: str | None = None,
) -> None:
    """Check format and version only.

    Parameters
    ----------
    values, kind, name, error, advice, marked
        as in :func:`convert_format`.

    Raises
    ------
    SirenError
        of the kind ``error``: another format or version.
    """
    hints = get_type_hints(kind, include_extras=True)
    if marked is not None:
        hints["format"] = Literal[marked]
    for field in ("format", "version"):
        found = values.get(field) if isinstance(values, Mapping) else None
        if not fits(found, hints[field]):
            what = f"has the {field} {shown(found)}" if found is not None else f"has no {field}"
            raise error(f"{name} {what}; expected {expected(hints[field])}. {advice}".rstrip())
