"""The captions of a corpus folder."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from siren_ext.documents import read_json
from siren_ext.errors import DatasetError
from siren_ext.schema import convert

CAPTIONS = "captions.json"
MAX_BYTES = 1 << 28


class Caption(Struct):
    """One picture of a corpus: its caption, and the collection that it comes from."""

    caption: str
    source: str


def read_captions(folder: Path) -> list[Caption]:
    """The captions of the pictures in a corpus folder, in their order.

    Parameters
    ----------
    folder : Path
        Folder with the ``captions.json`` that :mod:`siren_ext.pocket.corpus` wrote.

    Raises
    ------
    DatasetError
        If the file is missing or not a list of captions.
    """
    path = folder / CAPTIONS
    advice = "Make a corpus with: python -m siren_ext.pocket.corpus"
    rows = read_json(path, error=DatasetError, max_bytes=MAX_BYTES, advice=advice)
    return convert(rows, list[Caption], name=str(path), error=DatasetError, advice=advice)
