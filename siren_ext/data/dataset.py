"""A set of images with captions: plain folders, kohya folders and kohya's dataset.toml.

Folders from other people are not trusted: nothing outside the given folder is read, and everything
that is left out is listed in :attr:`ImageSet.problems`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path, PurePosixPath

from torch import Tensor

from siren_ext.data import kohya
from siren_ext.data.captions import CaptionReader, Captions
from siren_ext.data.companions import KOHYA_FOLDER
from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.data.survey import CAPTION_SUFFIXES, LeftOut, Survey, examples, survey_folder
from siren_ext.errors import DatasetError, ImageError, NoImagesError
from siren_ext.files import real_path, sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.text import plain_name, printable

Problems = list[tuple[str, str]]


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
    mask : Path | None
        The training mask that belongs to it.
    """

    path: Path
    caption: str | None
    relative: PurePosixPath
    repeats: int = 1
    class_words: str | None = None
    caption_files: tuple[Path, ...] = ()
    mask: Path | None = None

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
    notices : tuple[str, ...]
        What else a person should know, one line each: files that are left out by kind, captions
        that are not UTF-8, images without captions, settings of a dataset.toml that are not used.
    """

    items: tuple[Item, ...]
    root: Path
    name: str
    problems: tuple[tuple[str, str], ...] = ()
    decoded: bool = dataclasses.field(default=False, compare=False)
    notices: tuple[str, ...] = dataclasses.field(default=(), compare=False)

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
        found = _finished(good, self.root, self.name, problems, self.notices)
        return dataclasses.replace(found, decoded=True)

    @classmethod
    def open(cls, path: Path | str) -> ImageSet:
        """Open a folder or a dataset.toml; see :meth:`from_folder` and :meth:`from_toml`."""
        path = Path(path)
        return cls.from_toml(path) if path.suffix.lower() == ".toml" else cls.from_folder(path)

    @classmethod
    def from_folder(cls, path: Path | str) -> ImageSet:
        """All images in a folder and its subfolders.

        Masks of trainers, thumbnails, hidden and system files are left out; ``notices`` lists them.
        The images in a folder ``N_words`` have N repeats and these class words, as in kohya's
        layout. Captions are files of the same name ending in ``.txt`` or ``.caption``, or rows of
        a table, see :mod:`siren_ext.data.caption_tables`.

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
        gathered = _Gathered(root)
        name = real_path(root).name
        try:
            gathered.add(root, CAPTION_SUFFIXES, deep=True)
        except ImageError as error:
            raise DatasetError(str(error)) from error
        items = []
        for item in gathered.items:
            parent = item.relative.parent.name or name
            match = KOHYA_FOLDER.fullmatch(parent)
            repeats, words = (int(match[1]), plain_name(match[2]) or None) if match else (1, None)
            items.append(dataclasses.replace(item, repeats=repeats, class_words=words))
        return _finished(items, root, name, gathered.problems, gathered.notices())

    @classmethod
    def from_toml(
        cls,
        path: Path | str,
        *,
        root: Path | None = None,
        regular: bool = False,
        listed: kohya.TomlSubsets | None = None,
        unused: str = kohya.TRAINING_ONLY,
    ) -> ImageSet:
        """The images of a ``dataset.toml`` of sd-scripts or musubi-tuner.

        Regularisation subsets and videos are left out; ``notices`` lists them.

        If an image is listed twice, the first listing is used.

        Parameters
        ----------
        path : Path | str
            The file; folders in it are relative to it.
        root : Path | None
            Folder that the images must be in; None takes that of the file. Subsets elsewhere are
            not read but reported in ``problems``, so a downloaded file cannot read other folders.
        regular : bool
            Take the regularisation subsets (``is_reg = true``) instead of the others.
        listed : TomlSubsets | None
            What :func:`~siren_ext.data.kohya.read_dataset_toml` found; None reads the file.
        unused : str
            Why regularisation subsets are left out, for the notice; "" if they are used otherwise,
            and no notice is wanted.

        Raises
        ------
        DatasetError
            If the file is not a dataset.toml, or there is no usable image.
        """
        path = Path(path)
        root = path.parent if root is None else Path(root)
        gathered = _Gathered(root)
        items: dict[Path, Item] = {}
        found = listed or kohya.read_dataset_toml(path)
        gathered.problems += found.problems
        for label, subset in found.regular if regular else found.subsets:
            try:
                _add_subset(subset, path.parent, gathered)
            except (DatasetError, ImageError) as error:
                gathered.problems.append((label, str(error)))
        for item in gathered.items:
            items.setdefault(real_path(item.path), item)
        gathered.items = list(items.values())
        name = real_path(path).parent.name
        notices = gathered.notices()
        if not regular:
            notices = [*found.notices, *notices]
            if found.regular and unused:
                subsets = [subset for _, subset in found.regular]
                notices.insert(0, kohya.regular_notice(subsets, unused))
        lead = f"{path.name} lists no usable image; expected subsets with folders of images."
        return _finished(gathered.items, root, name, gathered.problems, notices, lead)


class _Gathered:
    """Images and messages of one or more folders below a root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.items: list[Item] = []
        self.problems: Problems = []
        self.left_out: dict[tuple[str, str], list[str]] = {}
        self.lines: list[str] = []
        self.unlisted: list[str] = []

    def add(
        self,
        folder: Path,
        suffixes: Sequence[str],
        *,
        deep: bool = False,
        table: PurePosixPath | None = None,
        repeats: int = 1,
        words: str | None = None,
    ) -> None:
        """Add the images of a folder; the tables are those in it, or the given one."""
        survey = survey_folder(folder, deep=deep, caption_suffixes=suffixes)
        self.problems += [(_relative_name(place, self.root), why) for place, why in survey.refused]
        self.problems += [
            (_relative_name(folder / place, self.root), why) for place, why in survey.unread
        ]
        tables = survey.tables if table is None else [table]
        captions = CaptionReader(folder, self.root, survey).read(suffixes, tables)
        self.problems += captions.problems
        self.lines += captions.notices
        self._leave_out([*survey.left_out, *captions.left_out], folder)
        for picture in survey.pictures:
            self._take(picture, folder, survey, captions, repeats, words)

    def add_listed(self, table: PurePosixPath, repeats: int) -> None:
        """Add the images that a table names, wherever they are below the root."""
        survey = survey_folder(self.root, deep=True)
        captions = CaptionReader(self.root, self.root, survey).read((), [table])
        self.problems += captions.problems
        self.lines += captions.notices
        missing = LeftOut("listed image", tuple(captions.missing), "there is no such image here")
        self._leave_out([missing] if missing.names else [], self.root)
        for picture in survey.pictures:
            if picture in captions.texts:
                self._take(picture, self.root, survey, captions, repeats)
            else:
                self.unlisted.append(printable(picture))

    def _take(
        self,
        picture: PurePosixPath,
        folder: Path,
        survey: Survey,
        captions: Captions,
        repeats: int,
        words: str | None = None,
    ) -> None:
        place, mask = folder / picture, survey.masks.get(picture)
        relative = PurePosixPath(place.relative_to(self.root).as_posix())
        text, files = captions.texts.get(picture), captions.files[picture]
        beside = None if mask is None else folder / mask
        self.items.append(Item(place, text, relative, repeats, words, files, beside))

    def _leave_out(self, entries: Iterable[LeftOut], folder: Path) -> None:
        within = PurePosixPath(folder.relative_to(self.root).as_posix())
        for entry in entries:
            names = [printable(within / name) for name in entry.names]
            self.left_out.setdefault((entry.kind, entry.advice), []).extend(names)

    def notices(self) -> list[str]:
        """All lines, with the number of images without captions if others have one."""
        lines = [
            LeftOut(kind, tuple(dict.fromkeys(names)), advice).line
            for (kind, advice), names in self.left_out.items()
        ]
        there = {item.name for item in self.items}
        unlisted = [name for name in dict.fromkeys(self.unlisted) if name not in there]
        if unlisted:
            advice = "the list of images does not name them"
            lines.append(LeftOut("image", tuple(unlisted), advice).line)
        bare = [item.name for item in self.items if item.caption is None]
        if 0 < len(bare) < len(self.items) or (bare and any("caption" in line for line in lines)):
            have = "image has" if len(bare) == 1 else "images have"
            lines.append(f"{len(bare)} {have} no caption ({examples(bare)}).")
        return [*lines, *self.lines]


def _finished(
    items: Sequence[Item],
    root: Path,
    name: str,
    problems: Problems,
    notices: Sequence[str],
    lead: str = "",
) -> ImageSet:
    """The set, if it has any image."""
    if not items:
        reasons = "".join(f" {who}: {why}" for who, why in problems[:3])
        reasons += "".join(f" {line}" for line in notices[:3])
        lead = lead or (
            f"{root} contains no usable image; expected a folder with files such as .png or .jpg."
        )
        raise NoImagesError(lead + reasons, problems, notices)
    return ImageSet(tuple(items), root, printable(name), tuple(problems), notices=tuple(notices))


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


def _add_subset(subset: kohya.Subset, base: Path, gathered: _Gathered) -> None:
    """Add the images of one subset, if it is safe and well formed."""
    root = gathered.root
    folder = kohya.subset_folder(subset, base, root)
    home, name = (root, subset.list_file) if subset.list_file else (folder, subset.metadata_file)
    table = kohya.table_path(kohya.place_of(name, base), home, root) if name else None
    if name and table is None:
        gathered.problems.append((_relative_name(home, root), kohya.OUTSIDE))
    if subset.list_file:
        if table is not None:
            gathered.add_listed(table, subset.repeats)
        return
    suffixes = (subset.caption_suffix,) if subset.caption_suffix else CAPTION_SUFFIXES
    words = subset.class_words or None
    gathered.add(folder, suffixes, table=table, repeats=subset.repeats, words=words)
