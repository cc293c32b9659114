"""The record beside generated pictures: which model and plan they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from siren_ext.documents import read_json
from siren_ext.errors import ConfigError
from siren_ext.files import write_json
from siren_ext.formats import Sha256
from siren_ext.schema import convert, to_plain
from siren_ext.scoring.score import PROVENANCE

MAX_BYTES = 512 << 20  # a million pictures


class PictureRecord(Struct, forbid_unknown_fields=True, frozen=True):
    """One picture: its prompt, its seed and the SHA-256 of its file."""

    prompt: str
    seed: int
    sha256: Sha256


class Provenance(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The content of ``provenance.json``.

    Attributes
    ----------
    kind : {"generated"}
        Marks the file.
    suspect : dict
        Plain values that describe the suspect.
    plan : dict
        Settings of the plan.
    missed : dict of str to str
        Why pictures are missing, by file name.
    requests : int or None
        Number of requests so far, if they are counted.
    images : dict of str to PictureRecord
        The pictures, by file name.
    """

    kind: Literal["generated"]
    suspect: dict[str, Any]
    plan: dict[str, Any]
    missed: dict[str, str] = {}
    requests: Annotated[int, Meta(ge=0)] | None = None
    images: dict[str, PictureRecord]

    @classmethod
    def load(cls, folder: Path) -> Provenance | None:
        """The record in a folder; None if there is none.

        Raises
        ------
        ConfigError
            If it is damaged.
        """
        path = folder / PROVENANCE
        if not path.is_file():
            return None
        advice = "Delete the folder to start again."
        values = read_json(path, error=ConfigError, max_bytes=MAX_BYTES, advice=advice)
        return convert(values, cls, name=str(path), error=ConfigError, advice=advice)

    def save(self, folder: Path) -> None:
        """Write the record to a folder, with the pictures in order of their names."""
        self.images = dict(sorted(self.images.items()))
        self.missed = dict(sorted(self.missed.items()))
        write_json(folder / PROVENANCE, to_plain(self))
