"""A set of images with captions: plain folders, kohya folders and kohya's dataset.toml.

Folders from other people are not trusted: nothing outside the given folder is read, and everything
that is left out is listed in :attr:`ImageSet.problems`.
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
from siren_ext.files import is_file, is_folder, real_path, sha256_file
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
        The file.
    caption : str | None
        Its caption; None if it has none.
    relative : PurePosixPath
        Its path inside the set's folder.
    repeats : int
        How often it is used in each training epoch (kohya).
    class_words : str | None
        What the images show, according to the kohya folder or subset.
    caption_files : tuple[Path, ...]
        The caption files beside it.
    """

    path: Path
    caption: str | None
    relative: PurePosixPath
    repeats: int = 1
    class_words: str | None = None
    caption_files: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The relative path on one line, safe for messages and JSON."""
        return printable(self.relative)


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images in natural order, with captions.

    Attributes
    ----------
    items : tuple[Item, ...]
        The images.
    root : Path
        The folder that contains them.
    name : str
        Name of the set.
    problems : tuple[tuple[str, str], ...]
        Name and reason of everything that was left out.
    decoded : bool
        Whether every image is known to be readable; see :meth:`checked`.
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
        """SHA-256 of the sorted SHA-256 of the image files; names and order do not matter."""
        hashes = sorted(sha256_file(item.path) for item in self.items)
        return hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def captions(self, default: str = "") -> list[str]:
        """One caption per image: its own, or else its class words, or else ``default``."""
        return [item.caption or item.class_words or default for item in self.items]

    def tensors(self, size: int) -> Iterator[Tensor]:
        """Each image as training programs see it: resized by its short side and cropped.

        Parameters
        ----------
        size : int
            Side in pixels.

        Yields
        ------
        Tensor
            1 x 3 x size x size in [0,1], in the order of the set.

        Raises
        ------
        ImageError
            If an image cannot be read; :meth:`checked` gives a set without such images.
        """
        for item in self.items:
            yield crop_view(to_tensor(read_picture(item.path).rgb), size)

    def checked(self, *, workers: int = 2, progress: Progress = NULL) -> ImageSet:
        """The set without images that cannot be decoded, which are added to ``problems``.

        A set that was checked once is returned unchanged.

        Parameters
        ----------
        workers : int
            Number of threads.
        progress : Progress
            One unit per image.

        Raises
        ------
        DatasetError
            If no image can be read.
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
        """Open a folder or a dataset.toml; see :meth:`from_folder` and :meth:`from_toml`."""
        path = Path(path)
        return cls.from_toml(path) if path.suffix.lower() == ".toml" else cls.from_folder(path)

    @classmethod
    def from_folder(cls, path: Path | str) -> ImageSet:
        """All images in a folder and its subfolders.

        The images in a subfolder ``N_words`` have N repeats and these class words, as in kohya's
        layout. Captions are files of the same name ending in ``.txt`` or ``.caption``, or rows
        (file, caption) in a ``captions.tsv`` in the folder.

        Parameters
        ----------
        path : Path | str
            The folder.

        Raises
        ------
        DatasetError
            If there is no such folder, or it contains no usable image.
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
        return _finished(items, root, real_path(root).name, problems)

    @classmethod
    def from_toml(cls, path: Path | str, *, root: Path | None = None) -> ImageSet:
        """The images of kohya's ``dataset.toml``, without regularisation subsets.

        If an image is listed twice, the first listing is used.

        Parameters
        ----------
        path : Path | str
            The file; folders in it are relative to it.
        root : Path | None
            Folder that the images must be in; None takes that of the file. Subsets elsewhere are
            not read but reported in ``problems``, so a downloaded file cannot read other folders.

        Raises
        ------
        DatasetError
            If the file is not a dataset.toml, or there is no usable image.
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
                items.setdefault(real_path(item.path), item)
        return _finished(list(items.values()), root, real_path(path).parent.name, problems)


def _finished(items: Sequence[Item], root: Path, name: str, problems: Problems) -> ImageSet:
    """The set, if it has any image."""
    if not items:
        reasons = "".join(f" {who}: {why}" for who, why in problems[:3])
        raise DatasetError(
            f"{root} contains no usable image; expected a folder with files such as .png "
            f"or .jpg.{reasons}"
        )
    return ImageSet(tuple(items), root, printable(name), tuple(problems))


def _defect(item: Item) -> str | None:
    """Why an image cannot be read; None if it can."""
    try:
        read_picture(item.path)
    except ImageError as error:
        return str(error)
    return None


def _relative_name(path: Path, root: Path) -> str:
    """A path below ``root``, safe for messages."""
    return printable(path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name)


def _item(
    file: Path,
    root: Path,
    suffixes: Sequence[str],
    repeats: int,
    words: str | None,
    problems: Problems,
) -> Item:
    """An image with its caption; captions that cannot be read are added to the problems."""
    captions: list[Path] = []
    text: str | None = None
    for suffix in suffixes:
        beside = file.with_suffix(suffix)
        if not is_file(beside):
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
    """The text of a caption file; None if it is empty."""
    if path.is_symlink() and not inside(path, root):
        raise DatasetError("is a link that leaves the folder; copy the file in.")
    if path.stat().st_size > MAX_CAPTION_BYTES:
        raise DatasetError(f"is not a caption: it has more than {MAX_CAPTION_BYTES} bytes.")
    return path.read_text(encoding="utf-8-sig", errors="replace").strip() or None


def _caption_table(root: Path, problems: Problems) -> dict[str, str]:
    """Captions by relative path, from a two-column tab-separated table if there is one."""
    path = root / CAPTION_TABLE
    if not is_file(path):
        return {}
    if (path.is_symlink() and not inside(path, root)) or path.stat().st_size > MAX_TABLE_BYTES:
        problems.append((CAPTION_TABLE, "is a link that leaves the folder, or is too large."))
        return {}
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            return {row[0]: row[1].strip() for row in rows if len(row) >= 2 and row[1].strip()}
    except (OSError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        problems.append((CAPTION_TABLE, f"can't be read: {why}."))
        return {}


def _toml_items(settings: dict[str, Any], base: Path, root: Path, problems: Problems) -> list[Item]:
    """The images of one subset, if it is safe and well formed."""
    subset = Subset.from_settings(settings)
    if subset.is_reg:
        return []
    if not inside(base / subset.folder, root):
        raise DatasetError(
            "is outside the folder of the dataset file; move the images beside it, or give the "
            "image folder itself."
        )
    if subset.metadata_file:
        problems.append((printable(subset.folder), "metadata_file is not read; use caption files."))
    folder = base / subset.folder
    if not is_folder(folder):
        raise DatasetError("is not a folder; expected a folder of images.")
    folder = root / real_path(folder).relative_to(real_path(root))
    files, refused = scan_images(folder)
    problems += [(_relative_name(p, root), why) for p, why in refused]
    suffixes = (subset.caption_suffix,) if subset.caption_suffix else CAPTION_SUFFIXES
    words = subset.class_words or None
    return [_item(file, root, suffixes, subset.repeats, words, problems) for file in files]


def safe_words(text: str) -> str:
    """A text made safe as part of a folder name on every system; 1 to 80 characters."""
    plain = "".join("_" if c in '<>:"/\\|?*' else c for c in plain_name(text))
    return plain.strip(" .")[:80].rstrip(" .") or "images"
