"""Turns an upload or a named folder into a folder of images, within limits.

Uploads come from strangers. Files in archives lose their folders, so they can't be written outside
the target; only kohya's folders such as ``10_cat``, which say how often images are used, keep their
last name. Images and captions are therefore matched first, by their places in the archive. Sizes
are counted while reading, because the sizes stated in an archive can't be trusted.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from siren_ext.data.caption_tables import MAX_TABLE_BYTES
from siren_ext.data.caption_text import has_text
from siren_ext.data.captions import CaptionFiles, Captions
from siren_ext.data.companions import KOHYA_FOLDER
from siren_ext.data.images import picture_size
from siren_ext.data.picture_types import HEAD_BYTES, SUFFIXES, type_by_content
from siren_ext.data.survey import (
    CAPTION_SUFFIXES,
    Survey,
    examples,
    left_out_files,
    sort_files,
    survey_folder,
)
from siren_ext.errors import DatasetError, ImageError
from siren_ext.panels.archives import Member, opened_archive, single_files
from siren_ext.panels.gradio_compat import upload_paths
from siren_ext.panels.host import UploadLimits
from siren_ext.text import folded, plain_name, printable, safe_words

_MEGA = 1_000_000
_BLOCK = 1 << 20
_ADVICE = {
    "TOML file": "a dataset.toml is not read in uploads; put the images into folders such as "
    "10_red fox, whose names give the repeats and class words"
}


def collect_images(
    upload: Any,
    folder: str,
    limits: UploadLimits,
    into: Path,
    *,
    what: str = "images",
    flat: bool = False,
    notes: list[str] | None = None,
) -> Path:
    """Collect uploaded images in a folder, or check the folder that was named instead.

    Parameters
    ----------
    upload : Any
        Value of a file component: images, captions and ZIP archives.
    folder : str
        A folder typed by the user, if nothing was uploaded and the host allows it.
    limits : UploadLimits
        The host's limits.
    into : Path
        An empty or absent folder for the uploads.
    what : str
        What messages call the images.
    flat : bool
        Put all uploads into one folder; otherwise kohya's folders keep their names.
    notes : list[str] | None
        Receives a line for each kind of uploaded files that are left out.

    Returns
    -------
    Path
        ``into``, or the named folder.

    Raises
    ------
    DatasetError
        Nothing or both was given, or the folder is missing, has no images or is not allowed; or
        the uploads can't be stored, as on a full disk.
    ImageError
        A limit is exceeded, or an archive can't be unpacked.
    """
    paths = _uploaded(upload, folder, what)
    if paths:
        _Intake(limits, into, what, flat).take(paths, [] if notes is None else notes)
    place = into if paths else _named_folder(folder, limits, what)
    check_images(place, limits, what)
    return place


def name_of_upload(upload: Any) -> str:
    """What a folder of uploads is called: as the archive, if nothing but one was given.

    Parameters
    ----------
    upload : Any
        Value of a file component.

    Returns
    -------
    str
        A name for a folder. It may become the class words of training folders.
    """
    paths = upload_paths(upload)
    alone = len(paths) == 1 and paths[0].suffix.lower() == ".zip"
    return safe_words(paths[0].stem if alone else "images")


def check_given(upload: Any, folder: str, limits: UploadLimits, *, what: str = "images") -> None:
    """Check what was given without copying it, before a job waits in a queue.

    Takes and raises what :func:`collect_images` does, which alone checks sizes in archives.
    """
    paths = _uploaded(upload, folder, what)
    if not paths:
        check_images(_named_folder(folder, limits, what), limits, what)
        return
    _Intake(limits, None, what, True).take(paths, [])
    for path in paths:
        if path.suffix.lower() != ".zip":
            _check_size(path, limits)


def _uploaded(upload: Any, folder: str, what: str) -> list[Path]:
    """The uploads; refused beside a folder, because a form may still hold earlier ones."""
    paths = upload_paths(upload)
    if paths and (folder or "").strip():
        raise DatasetError(
            f"Files and a folder were both given for the {what}; expected one of the two. Remove "
            "the files, or empty the box of the folder."
        )
    return paths


def _named_folder(folder: str, limits: UploadLimits, what: str) -> Path:
    """The folder that was typed in place of an upload."""
    folder = (folder or "").strip().strip('"')
    if not folder:
        raise DatasetError(f"No {what} were given; add files first.")
    if not limits.folders:
        raise DatasetError("Folders on this machine are not read here; upload the files instead.")
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise DatasetError(
            f"There is no folder {place}. Enter an existing folder that contains the {what}."
        )
    return place


def check_images(folder: Path, limits: UploadLimits, what: str = "images") -> None:
    """Check that a folder's images keep to the limits.

    Unreadable files pass: the step that reads them reports them by name.

    Parameters
    ----------
    folder : Path
        The folder, searched with its subfolders.
    limits : UploadLimits
        The host's limits.
    what : str
        What messages call the images.

    Raises
    ------
    DatasetError
        The folder has no images.
    ImageError
        There are too many images, or one is too large.
    """
    survey = survey_folder(folder, deep=True)
    found = [folder / picture for picture in survey.pictures]
    if not found:
        raise DatasetError(_nothing(what, _lines(survey)))
    if len(found) > limits.files:
        raise ImageError(
            f"{len(found)} {what} were given; at most {limits.files} are accepted. Give fewer."
        )
    for path in found:
        _check_size(path, limits)


def _check_size(path: Path, limits: UploadLimits) -> None:
    if path.stat().st_size > limits.file_mb * _MEGA:
        raise _too_big(path.name, limits)
    try:
        width, height = picture_size(path)
    except ImageError:
        return
    if width * height > limits.megapixels * _MEGA:
        raise ImageError(
            f"{path.name} has {width * height / _MEGA:.1f} megapixels; at most "
            f"{limits.megapixels:g} are accepted. Resize it first."
        )


def _too_big(name: str, limits: UploadLimits) -> ImageError:
    return ImageError(
        f"{str(name)[:120]} is larger than {limits.file_mb:g} MB, the limit for one file. Resize "
        "it first."
    )


def _nothing(what: str, lines: Sequence[str]) -> str:
    """The message where there is no image."""
    left = "".join(f" {line}" for line in lines[:3])
    return f"No image files were found for the {what}; expected PNG, JPEG or WebP files.{left}"


def _lines(survey: Survey) -> list[str]:
    """One line for each kind of files that are left out."""
    reasons: dict[str, list[PurePosixPath]] = {}
    for path, why in survey.unread:
        reasons.setdefault(why, []).append(path)
    entries = [
        entry
        for why, paths in reasons.items()
        for entry in left_out_files(paths, "image", why.rstrip("."))
    ]
    return [entry.line for entry in [*entries, *survey.left_out]]


class _Intake:
    """Copies uploads into a folder, or only looks at them if there is none."""

    def __init__(self, limits: UploadLimits, into: Path | None, what: str, flat: bool) -> None:
        self.limits, self.into, self.what, self.flat = limits, into, what, flat
        self.budget = limits.total_mb * _MEGA
        self.count = 0
        self.taken: set[tuple[str, str]] = set()

    def take(self, paths: Sequence[Path], notes: list[str]) -> None:
        """Copy everything that is of use; the other files get a line each in ``notes``."""
        archives = [path for path in paths if path.suffix.lower() == ".zip"]
        singles = single_files([path for path in paths if path not in archives])
        if singles:
            self._take_members(singles, "", notes)
        for path in archives:
            with opened_archive(path, self.limits) as members:
                self._take_members(members, path.stem, notes)
        if not self.count:
            raise DatasetError(_nothing(self.what, notes))

    def _take_members(self, members: Sequence[Member], name: str, notes: list[str]) -> None:
        """Match the files of one upload, called ``name``, with each other, and copy them."""
        files = {member.place: member for member in members}
        # programs that add to an archive write the new file behind the old one
        counts = Counter(member.place for member in members)
        again = [printable(place) for place, count in counts.items() if count > 1]
        if again and self.into is not None:
            notes.append(f"In the archive more than once: {examples(again)}. The last one counts.")
        heads: dict[PurePosixPath, bytes] = {}

        def head(place: PurePosixPath) -> bytes:
            with files[place].open() as stream:
                heads[place] = stream.read(HEAD_BYTES)
            return heads[place]

        survey = sort_files(files, head, advice=_ADVICE)
        self.count += len(survey.pictures)
        if self.count > self.limits.files:
            raise ImageError(f"More than {self.limits.files} {self.what} were given. Give fewer.")
        if self.into is None:
            notes += _lines(survey)
            return
        with _storing():
            self.into.mkdir(parents=True, exist_ok=True)
        owners = [*survey.pictures, *(place for place, _ in survey.unread)]
        beside = CaptionFiles(survey.captions, owners)
        captions = {picture: beside.of(picture, CAPTION_SUFFIXES) for picture in owners}
        listed = self._listed(survey, files)
        order = {place: number for number, place in enumerate(files)}
        for picture in sorted(survey.pictures, key=order.__getitem__):
            folder, stem = self._free_stem(self.into, picture, name)
            suffix = SUFFIXES.get(type_by_content(heads[picture]) or "", picture.suffix)
            if picture.suffix.lower() in _EQUAL_SUFFIXES.get(suffix, ()):
                suffix = picture.suffix
            self._copy(files[picture], folder / f"{stem}{suffix}")
            copies = [folder / f"{stem}{file.suffix.lower()}" for file in captions[picture]]
            for file, copy in zip(captions[picture], copies, strict=True):
                self._copy(files[file], copy)
            if picture in listed.texts and not any(has_text(copy.read_bytes()) for copy in copies):
                with _storing():
                    (folder / f"{stem}.txt").write_text(listed.texts[picture], encoding="utf-8")
        survey.left_out += left_out_files(
            beside.unused(), "caption file without an image", "expected an image of the same name"
        )
        notes += _lines(survey)
        notes += [f"{table}: {why}" for table, why in listed.problems] + listed.notices

    def _listed(self, survey: Survey, files: dict[PurePosixPath, Member]) -> Captions:
        """Captions from tables, and what is wrong with them."""
        found = Captions()

        def content_of(place: PurePosixPath) -> bytes | None:
            limit = int(min(self.budget, self.limits.file_mb * _MEGA, MAX_TABLE_BYTES))
            with files[place].open() as stream:
                content = stream.read(limit + 1)
            self.budget -= len(content)
            if len(content) <= limit:
                return content
            why = f"was not read: it has more than {limit} bytes. Shorten it."
            found.problems.append((printable(place), why))
            return None

        found.add_tables(survey.tables, survey, content_of)
        survey.left_out += found.left_out
        return found

    def _free_stem(self, into: Path, picture: PurePosixPath, name: str) -> tuple[Path, str]:
        """Folder and name, without suffix, that no other image has, ignoring case."""
        parent = plain_name(picture.parent.name or name)
        keep = not self.flat and KOHYA_FOLDER.fullmatch(parent) is not None
        within = parent.encode()[:_LONGEST_NAME].decode("utf-8", "ignore") if keep else ""
        folder = into / within
        with _storing():
            folder.mkdir(exist_ok=True)
        plain = _shortened(PurePosixPath(plain_name(picture.name)).stem)
        stem, number = plain, 1
        while (folded(within), folded(stem)) in self.taken:
            number += 1
            stem = f"{plain}_{number}"
        self.taken.add((folded(within), folded(stem)))
        return folder, stem

    def _copy(self, member: Member, target: Path) -> None:
        limit = min(self.budget, self.limits.file_mb * _MEGA)
        with member.open() as stream:
            self.budget -= _copy(stream, target, limit, member.place.name, self.limits)


_EQUAL_SUFFIXES = {
    ".jpg": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    ".png": (".png", ".apng"),
    ".tif": (".tif", ".tiff"),
    ".bmp": (".bmp", ".dib"),
    ".gif": (".gif",),
    ".webp": (".webp",),
    ".heic": (".heic", ".heif", ".hif"),
    ".avif": (".avif",),
    ".jxl": (".jxl",),
}
_LONGEST_NAME = 180


def _shortened(name: str) -> str:
    """The end of a name, short enough in bytes for every file system."""
    end = name.encode()[-_LONGEST_NAME:].decode("utf-8", "ignore")
    return end.lstrip(" .") or "image"


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    """Tell a failure to write from a damaged upload."""
    try:
        yield
    except OSError as error:
        raise DatasetError(
            f"The upload can't be stored: {error.strerror or error}. This program's folder for "
            "temporary files must have enough space for it; free some space there, or give fewer "
            "files."
        ) from error


def _copy(stream: IO[bytes], target: Path, limit: float, name: str, limits: UploadLimits) -> int:
    size = 0
    with _storing():
        out = target.open("wb", buffering=0)  # so that closing it writes nothing
    with out:
        while block := stream.read(_BLOCK):
            size += len(block)
            if size > limits.file_mb * _MEGA:
                raise _too_big(name, limits)
            if size > limit:
                raise ImageError(
                    f"The files are larger than {limits.total_mb:g} MB together, the limit for one "
                    "request. Give fewer."
                )
            rest = memoryview(block)
            while rest:
                with _storing():
                    rest = rest[out.write(rest) :]
    return size
