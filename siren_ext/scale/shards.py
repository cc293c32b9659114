"""Shards: files that hold many images each. What their kinds have in common, and where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from siren_ext.data.companions import set_apart
from siren_ext.data.image_files import readable_suffixes
from siren_ext.data.picture_types import can_read, type_by_content
from siren_ext.scale.places import Found, Place, url_of
from siren_ext.text import natural_key

SUFFIXES = (".tar", ".parquet")
MAX_IMAGE_BYTES = 1 << 30
"""Most bytes of an image's file in a shard."""


@dataclass(frozen=True)
class ShardImage:
    """One image in a shard.

    Attributes
    ----------
    name : str
        Its name there, with the suffix of its format if that is known.
    belongs : bool
        False for a mask or another picture about the image, which is copied as it is.
    """

    name: str
    belongs: bool = True


class Sample(Protocol):
    """What belongs to one key: images, captions and others."""

    @property
    def key(self) -> str:
        """Its name, for messages."""

    @property
    def images(self) -> Sequence[ShardImage]:
        """Its images, in order."""

    @property
    def refused(self) -> Sequence[tuple[str, str]]:
        """Names of what is not read for safety, and why."""

    @property
    def names(self) -> Sequence[str]:
        """Names of all that is in it, images included."""

    def save(self, image: ShardImage, path: Path) -> None:
        """Write the file of an image.

        Raises
        ------
        ImageError
            It has none, or is too large.
        """


class Writer(Protocol):
    """Writes a shard."""

    def add(self, sample: Sample, changed: Mapping[str, tuple[str, Path]]) -> None:
        """Write a sample of the reader that this was made for.

        Parameters
        ----------
        sample : Sample
            The sample; all but the changed images is copied.
        changed : Mapping[str, tuple[str, Path]]
            New name and file of each changed image, by its name.
        """

    def close(self) -> None:
        """Write what is left."""


class Shard(Protocol):
    """One shard that is read."""

    def samples(self, count: int) -> Iterator[Sample]:
        """All samples, in order.

        Parameters
        ----------
        count : int
            Most samples that are in memory at once.

        Raises
        ------
        DatasetError
            The shard is damaged.
        """

    def writer(self, path: Path) -> Writer:
        """What writes a shard like this one."""


@dataclass(frozen=True)
class Shards:
    """The shards of a place.

    Attributes
    ----------
    place : str
        URL or absolute path of their folder.
    name : str
        Name of what was given.
    found : dict[str, Found]
        The shards by their names below the place, in natural order.
    single : bool
        Whether one file was given.
    """

    place: str
    name: str
    found: dict[str, Found]
    single: bool = False


def shards_at(given: Path | str) -> Shards | None:
    """The shards that a path or URL names.

    Parameters
    ----------
    given : Path | str
        A shard, or a folder or place of them.

    Returns
    -------
    Shards | None
        None if there are none, or images beside them.

    Raises
    ------
    DatasetError
        The place can't be listed.
    """
    url = url_of(given) or str(Path(given).absolute())
    if is_shard(url) and not Path(given).is_dir():
        url, _, name = url.replace("\\", "/").rpartition("/")
        return Shards(url, name, {name: Place(url).look_up(name)}, single=True)
    if url_of(given) is None and not _has_shards(Path(given)):
        return None  # the usual case, for which nothing else is loaded
    there = {n: found for n, found in Place(url).files().items() if not _is_hidden(n)}
    images = any(PurePosixPath(name).suffix.lower() in readable_suffixes() for name in there)
    names = sorted(filter(is_shard, there), key=natural_key)
    if images or not names:
        return None
    return Shards(url, url.rpartition("/")[2], {name: there[name] for name in names})


def is_shard(name: str) -> bool:
    """Whether a file's name is that of a shard.

    Parameters
    ----------
    name : str
        Name, path or URL.
    """
    return name.lower().endswith(SUFFIXES)


def _is_hidden(name: str) -> bool:
    return set_apart(PurePosixPath(name)) is not None


def _has_shards(folder: Path) -> bool:
    """Whether a folder has shards, perhaps in subfolders."""
    return any(is_shard(name) for _, _, names in os.walk(folder) for name in names)


def suffix_by_content(head: bytes) -> str:
    """The usual suffix of an image file, with a dot; "" if its first bytes say nothing."""
    kind = type_by_content(head)
    usual = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
    return usual.get(kind, "") if kind is not None and can_read(kind) else ""


def open_shard(path: Path, name: str, column: str = "") -> AbstractContextManager[Shard]:
    """Open a shard.

    Parameters
    ----------
    path : Path
        Its file on this machine.
    name : str
        What messages call it; the suffix says what it is.
    column : str
        The column of images of a Parquet file; "" finds it.

    Returns
    -------
    AbstractContextManager[Shard]
        To be used with ``with``.

    Raises
    ------
    DatasetError
        It is damaged, or has no images.
    MissingExtraError
        What reads it is not installed.
    """
    if name.lower().endswith(".tar"):
        from siren_ext.scale.tar_shards import TarShard

        return TarShard(path, name)
    from siren_ext.scale.parquet_shards import ParquetShard

    return ParquetShard(path, name, column)
