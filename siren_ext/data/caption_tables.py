"""Tables of captions: Hugging Face's imagefolder, kohya's metadata, musubi's JSONL and others.

=====================  =====================================================================
File                   Content
=====================  =====================================================================
``captions.tsv``       file and caption, with a tab between them
``metadata.jsonl``     imagefolder: ``{"file_name": "a.png", "text": "..."}`` on each line
``metadata.csv``       imagefolder: the same as columns with a header
any ``.jsonl``         musubi: ``{"image_path": "/x/a.png", "caption": "..."}`` on each line
any ``.json``          kohya: ``{"/x/a.png": {"caption": "...", "tags": "..."}}``; the same with
                       ``{"a.png": "..."}``; a list of objects as above; or
                       ``{"caption": "..."}`` in ``a.json`` for one image
=====================  =====================================================================
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from siren_ext.data.caption_text import decode_text
from siren_ext.data.code_pages import CodePage
from siren_ext.data.image_files import readable_suffixes
from siren_ext.documents import parse_json
from siren_ext.errors import DatasetError

CAPTION_TABLE = "captions.tsv"
MAX_TABLE_BYTES = 1 << 26
MAX_CAPTION_CHARACTERS = 1 << 16

_FILES = (
    *("file_name", "image_path", "image", "file", "filename", "path", "image_file"),
    *("img_path", "img", "image_name"),
)
_CAPTIONS = ("text", "caption", "prompt", "description", "additional_feature")


class Row(NamedTuple):
    """One caption of a table.

    Attributes
    ----------
    name : str
        The picture, as the table names it.
    caption : str
        Its caption; not empty.
    """

    name: str
    caption: str


def read_table(
    path: PurePosixPath, content: bytes, code_page: CodePage | None = None
) -> tuple[list[Row], str]:
    """The captions in a file that may be a table.

    Parameters
    ----------
    path : PurePosixPath
        Its name.
    content : bytes
        Its content.
    code_page : CodePage | None
        That of the captions beside it.

    Returns
    -------
    rows : list[Row]
        Captions in order; empty if it is not a table of captions.
    encoding : str
        Its encoding; empty for UTF-8.

    Raises
    ------
    DatasetError
        It looks like a table but is damaged.
    """
    try:
        text, encoding = decode_text(content, code_page)
    except ValueError as error:
        raise DatasetError(f"can't be read as text: {error}; save it as UTF-8.") from error
    suffix = path.suffix.lower()
    free = path.stem.casefold() == "metadata"
    if path.name.casefold() == CAPTION_TABLE:
        lines = (line.split("\t") for line in text.splitlines())
        rows: Iterable[Row | None] = (_row(line[0], line[1]) for line in lines if len(line) >= 2)
    elif suffix == ".csv":
        rows = _csv_rows(text, free)
    elif suffix == ".jsonl":
        rows = _line_rows(text, free)
    elif suffix == ".json":
        rows = _json_rows(text, path)
    else:
        rows = ()
    return [row for row in rows if row is not None], encoding


def _row(name: Any, caption: Any) -> Row | None:
    """A row, if both values are of use."""
    if isinstance(caption, list) and caption:
        caption = caption[0]
    if not isinstance(name, str) or not isinstance(caption, str):
        return None
    caption = caption.strip()
    if not name.strip() or not caption or len(caption) > MAX_CAPTION_CHARACTERS:
        return None
    return Row(name, caption)


def _record_row(record: Any, free: bool = False) -> Row | None:
    """The row in an object, or in a line of a table with a header.

    In imagefolder's own files (``free``), people name the column as they like. Elsewhere the only
    other text may be a hash, a number or a licence.
    """
    if not isinstance(record, Mapping):
        return None
    file = next((name for name in _FILES if name in record), None)
    if file is None:
        return None
    caption = next((name for name in _CAPTIONS if record.get(name)), None)
    if caption is None and free:
        others = [name for name, value in record.items() if isinstance(value, str) and name != file]
        caption = others[0] if len(others) == 1 else None
    return None if caption is None else _row(record[file], record[caption])


def _csv_rows(text: str, free: bool) -> Iterator[Row | None]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        for record in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter):
            yield _record_row(record, free)
    except csv.Error as error:
        raise DatasetError(f"can't be read as a table: {error}.") from error


def _line_rows(text: str, free: bool) -> Iterator[Row | None]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _record_row(_json(line, f"line {number}"), free)


def _json_rows(text: str, path: PurePosixPath) -> Iterator[Row | None]:
    values = _json(text, "it")
    if isinstance(values, list):
        yield from map(_record_row, values)
    elif isinstance(values, Mapping):
        if isinstance(values.get("caption"), str):
            yield _row(path.stem, values["caption"])
        for name, record in values.items():
            if isinstance(record, Mapping):
                yield _row(name, _kohya_caption(record))
            elif PurePosixPath(name.replace("\\", "/")).suffix.lower() in readable_suffixes():
                yield _row(name, record)


def _kohya_caption(record: Mapping[str, Any]) -> str:
    """Caption and tags as sd-scripts joins them."""
    parts = [record.get("caption"), record.get("tags")]
    return ", ".join(part for part in parts if isinstance(part, str) and part)


def _json(text: str, name: str) -> Any:
    return parse_json(text, name=name, error=DatasetError, max_bytes=MAX_TABLE_BYTES)
