"""A set of images with captions: plain folders, kohya folders and kohya's dataset.toml.

What comes from other people is not trusted: nothing outside the given folder is ever read, and
whatever is left out is listed in :attr:`ImageSet.problems` by name.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from siren_ext.data.image_files import inside, scan_images
from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.data.kohya import Subset, read_dataset_toml
from siren_ext.errors import DatasetError, ImageError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.schema import shown
from siren_ext.text import plain_name, printable

Problems = list[tuple[str, str]]

CAPTION_SUFFIXES = (".txt", ".caption")
CAPTION_TABLE = "captions.tsv"
MAX_CAPTION_BYTES = 1 << 16
MAX_TABLE_BYTES = 1 << 26
KOHYA_FOLDER = re.compile(r"([1-9]\d{0,3})_(.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Item:
    """One image of a set.

    Attributes
    ----------
    path : Path
        the file.
    caption : str | None
        its text, None when it has none.
    relative : PurePosixPath
        where it lies inside the set's folder.
    repeats : int
        how often a trainer shows it per epoch (kohya).
    class_words : str | None
        what a kohya folder or subset says the images show.
    caption_files : tuple[Path, ...]
        the caption files beside it.
    """

    path: Path
    caption: str | None
    relative: PurePosixPath
    repeats: int = 1
    class_words: str | None = None
    caption_files: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The relative path on one line, fit for messages and JSON."""
        return printable(self.relative)


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images in natural order, with captions.

    Attributes
    ----------
    items : tuple[Item, ...]
        the images.
    root : Path
        the folder that they lie in.
    name : str
        what to call the set.
    problems : tuple[tuple[str, str], ...]
        (name, reason) of everything that was left out.
    decoded : bool
        whether each image was found to be readable.
    """

    items: tuple[Item, ...]
    root: Path
    name: str
    problems: tuple[tuple[str, str], ...] = ()
    decoded: bool = dataclasses.field(default=False, compare=False)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.items)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the sorted SHA-256 of the image files: names and order don't matter."""
        hashes = sorted(sha256_file(item.path) for item in self.items)
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def captions(self, default: str = "") -> list[str]:
        """One caption per image: its own, else its class words, else ``default``."""
        return [item.caption or item.class_words or default for item in self.items]

    def tensors(self, size: int) -> Iterator[Tensor]:
        """Each image as trainers see it, in order: 1 x 3 x size x size float in [0,1].

        The short side is resized to ``size``, then the central square cut out.

        Raises
        ------
        ImageError
            an image can't be read; :meth:`checked` gives a set without such ones.
        """
        for item in self.items:
            yield crop_view(to_tensor(read_picture(item.path).rgb), size)

    def checked(self, *, workers: int = 2, progress: Progress = NULL) -> ImageSet:
        """The set without images that can't be decoded; those are told in ``problems``.

        What was checked once is not read again.

        Raises
        ------
        DatasetError
            not one image can be read.
        """
        if self.decoded:
            return self
        problems = list(self.problems)
        good: list[Item] = []
        progress.stage("Checking images", len(self))
        with ThreadPoolExecutor(max_workers=workers) as pool:
            for item, error in zip(self.items, pool.map(_defect, self.items), strict=True):
                if error is None:
                    good.append(item)
                else:
                    problems.append((item.name, error))
                progress.advance(1, item.name)
        found = _finished(good, self.root, self.name, problems)
        return dataclasses.replace(found, decoded=True)

    @classmethod
    def open(cls, path: Path | str) -> ImageSet:
        """A folder or a dataset.toml; see :meth:`from_folder` and :meth:`from_toml`."""
        path = Path(path)
        return cls.from_toml(path) if path.suffix.lower() == ".toml" else cls.from_folder(path)

    @classmethod
    def from_folder(cls, path: Path | str) -> ImageSet:
        """All images of a folder and its subfolders.

        A subfolder ``N_words`` gives its images N repeats and class words (kohya). Captions are
        files of the same stem ending in ``.txt`` or ``.caption``, or rows (file, caption) of a
        ``captions.tsv`` in the folder.

        Raises
        ------
        DatasetError
            no such folder, or no usable image in it.
        """
        root = Path(path)
        try:
            files, refused = scan_images(root, deep=True)
        except ImageError as error:
            raise DatasetError(str(error)) from error
        problems = [(_relative_name(p, root), why) for p, why in refused]
        table = _caption_table(root, problems)
        items = []
        for file in files:
            match = KOHYA_FOLDER.fullmatch(file.parent.name) if file.parent != root else None
            repeats, words = (int(match[1]), plain_name(match[2])) if match else (1, None)
            item = _item(file, root, CAPTION_SUFFIXES, repeats, words, problems)
            if item.caption is None:
                item = dataclasses.replace(item, caption=table.get(item.relative.as_posix()))
            items.append(item)
        return _finished(items, root, root.resolve().name, problems)

    @classmethod
    def from_toml(cls, path: Path | str, *, root: Path | None = None) -> ImageSet:
        """The images of kohya's ``dataset.toml``; regularisation subsets are passed over.

        Of an image that is listed twice the first listing counts.

        Parameters
        ----------
        path : Path | str
            the file; relative folders in it are relative to it.
        root : Path | None
            folder that images may come from, by default the file's own. A subset elsewhere
            is not read but told in ``problems``, so that a downloaded file can't reach out.

        Raises
        ------
        DatasetError
            not a readable TOML file, of another shape, or without usable images.
        """
        path = Path(path)
        root = path.parent if root is None else Path(root)
        problems: Problems = []
        items: dict[Path, Item] = {}
        for number, settings in enumerate(read_dataset_toml(path), start=1):
            label = printable(f"subset {number} ({shown(settings.get('image_dir'))})")
            try:
                found = _toml_items(settings, path.parent, root, problems)
            except (DatasetError, ImageError) as error:
                problems.append((label, str(error)))
                continue
            for item in found:
                items.setdefault(item.path.resolve(), item)
        return _finished(list(items.values()), root, path.resolve().parent.name, problems)


def _finished(items: Sequence[Item], root: Path, name: str, problems: Problems) -> ImageSet:
    if not items:
        told = "".join(f" {who}: {why}" for who, why in problems[:3])
        raise DatasetError(
            f"{root} holds no usable image; expected a folder with files such as .png "
            f"or .jpg.{told}"
        )
    return ImageSet(tuple(items), root, printable(name), tuple(problems))


def _defect(item: Item) -> str | None:
    try:
        read_picture(item.path)
    except ImageError as error:
        return str(error)
    return None


def _relative_name(path: Path, root: Path) -> str:
    return printable(path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name)


def _item(
    file: Path,
    root: Path,
    suffixes: Sequence[str],
    repeats: int,
    words: str | None,
    problems: Problems,
) -> Item:
    captions: list[Path] = []
    text: str | None = None
    for suffix in suffixes:
        beside = file.with_suffix(suffix)
        if not beside.is_file():
            continue
        try:
            words_beside = _read_caption(beside, root)
        except (DatasetError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            problems.append((_relative_name(beside, root), f"{why}"))
            continue
        captions.append(beside)
        text = text or words_beside
    relative = PurePosixPath(file.relative_to(root).as_posix())
    return Item(file, text, relative, repeats, words, tuple(captions))


def _read_caption(path: Path, root: Path) -> str | None:
    if path.is_symlink() and not inside(path, root):
        raise DatasetError("is a link that leaves the folder; copy the file in.")
    if path.stat().st_size > MAX_CAPTION_BYTES:
        raise DatasetError(f"is no caption: it has more than {MAX_CAPTION_BYTES} bytes.")
    return path.read_text(encoding="utf-8-sig", errors="replace").strip() or None


def _caption_table(root: Path, problems: Problems) -> dict[str, str]:
    """Captions by relative path from a two-column, tab-separated table, if there is one."""
    path = root / CAPTION_TABLE
    if not path.is_file():
        return {}
    if (path.is_symlink() and not inside(path, root)) or path.stat().st_size > MAX_TABLE_BYTES:
        problems.append((CAPTION_TABLE, "is a link that leaves the folder, or is too large."))
        return {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        return {row[0]: row[1].strip() for row in rows if len(row) >= 2 and row[1].strip()}


def _toml_items(settings: dict[str, Any], base: Path, root: Path, problems: Problems) -> list[Item]:
    """The images of one subset; raises :class:`DatasetError` when it is unsafe or malformed."""
    subset = Subset.from_settings(settings)
    if subset.is_reg:
        return []
    if not inside(base / subset.folder, root):
        raise DatasetError(
            "lies outside the folder of the dataset file; move the images beside it, or give the "
            "image folder itself."
        )
    if subset.metadata_file:
        problems.append((printable(subset.folder), "metadata_file is not read; use caption files."))
    place = base / subset.folder
    if not place.is_dir():
        raise DatasetError("is not a folder; expected a folder of images.")
    place = root / place.resolve().relative_to(root.resolve())
    files, refused = scan_images(place)
    problems += [(_relative_name(p, root), why) for p, why in refused]
    suffixes = (subset.caption_suffix,) if subset.caption_suffix else CAPTION_SUFFIXES
    words = subset.class_words or None
    return [_item(file, root, suffixes, subset.repeats, words, problems) for file in files]


def safe_words(text: str) -> str:
    """``text`` as a piece of a folder name that is valid on every system."""
    plain = "".join("_" if c in '<>:"/\\|?*' else c for c in plain_name(text))
    return plain.strip(" .")[:80].rstrip(" .") or "images"
