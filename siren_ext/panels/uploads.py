"""Turns an upload or a named folder into a folder of images, within limits.

Uploads come from strangers. Files in archives lose their folders, so they can't be written outside
the target, and sizes are counted while reading, because the sizes stated in an archive can't be
trusted.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from siren_ext.data.image_files import image_suffixes, scan_images
from siren_ext.data.images import picture_size
from siren_ext.data.survey import CAPTION_SUFFIXES
from siren_ext.errors import DatasetError, ImageError
from siren_ext.panels.gradio_compat import upload_paths
from siren_ext.panels.host import UploadLimits
from siren_ext.text import plain_name

_MEGA = 1_000_000
_BLOCK = 1 << 20
_ARCHIVE_ENTRIES = 10  # archive entries allowed per image: there are folders and captions too


def collect_images(
    upload: Any, folder: str, limits: UploadLimits, into: Path, *, what: str = "images"
) -> Path:
    """Collect uploaded images in a folder, or check the folder that was named instead.

    Parameters
    ----------
    upload : Any
        Value of a file component: images, captions and ZIP archives.
    folder : str
        A folder typed by the user, used if nothing was uploaded and the host allows it.
    limits : UploadLimits
        The host's limits.
    into : Path
        An empty or absent folder for the uploads.
    what : str
        What messages call the images.

    Returns
    -------
    Path
        ``into``, or the named folder.

    Raises
    ------
    DatasetError
        Nothing was given, or the folder is missing, has no images or is not allowed.
    ImageError
        A limit is exceeded, or an archive can't be unpacked.
    """
    paths = upload_paths(upload)
    folder = (folder or "").strip().strip('"')
    if paths:
        place = _unpack(paths, limits, into, what)
    elif folder and limits.folders:
        place = Path(folder).expanduser()
        if not place.is_dir():
            raise DatasetError(f"There is no folder {place}. Name an existing one with the {what}.")
    elif folder:
        raise DatasetError("Folders on this machine are not read here; upload the files instead.")
    else:
        raise DatasetError(f"No {what} were given; add files first.")
    check_images(place, limits, what)
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
    found, _ = scan_images(folder, deep=True)
    if not found:
        raise DatasetError(
            f"No image files were found for the {what}; expected PNG, JPEG or WebP files."
        )
    if len(found) > limits.files:
        raise ImageError(
            f"{len(found)} {what} were given; at most {limits.files} are accepted. Give fewer."
        )
    for path in found:
        if path.stat().st_size > limits.file_mb * _MEGA:
            raise _too_big(path.name, limits)
        try:
            width, height = picture_size(path)
        except ImageError:
            continue
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


def _unpack(paths: list[Path], limits: UploadLimits, into: Path, what: str) -> Path:
    into.mkdir(parents=True, exist_ok=True)
    budget = limits.total_mb * _MEGA
    taken: set[str] = set()
    count = 0
    for path in paths:
        for name, stream in _members(path, limits):
            suffix = PurePosixPath(name).suffix.lower()
            is_image = suffix in image_suffixes()
            if not is_image and suffix not in CAPTION_SUFFIXES:
                continue
            count += is_image
            if count > limits.files:
                raise ImageError(f"More than {limits.files} {what} were given. Give fewer.")
            target = into / _free_name(name, taken)
            budget -= _copy(stream, target, min(budget, limits.file_mb * _MEGA), name, limits)
    return into


def _members(path: Path, limits: UploadLimits) -> Iterator[tuple[str, IO[bytes]]]:
    """Names (without folders) and contents of the files in an upload or an archive."""
    if path.suffix.lower() != ".zip":
        with path.open("rb") as stream:
            yield path.name, stream
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > limits.files * _ARCHIVE_ENTRIES:
                raise ImageError(
                    f"{path.name} has {len(entries)} entries; at most "
                    f"{limits.files * _ARCHIVE_ENTRIES} are accepted. Split it."
                )
            for entry in entries:
                name = PurePosixPath(entry.filename.replace("\\", "/")).name
                if entry.is_dir() or not name or name.startswith("."):
                    continue
                with archive.open(entry) as stream:
                    yield name, stream
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise ImageError(
            f"{path.name} can't be unpacked: {str(error)[:200]}. Expected a plain "
            "ZIP archive without a password."
        ) from error


def _free_name(name: str, taken: set[str]) -> str:
    """A safe file name, with a number if that name (ignoring case) is taken."""
    plain = PurePosixPath(plain_name(name)[-120:])
    candidate, number = plain.name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{plain.stem}_{number}{plain.suffix}"
    taken.add(candidate.casefold())
    return candidate


def _copy(stream: IO[bytes], target: Path, limit: float, name: str, limits: UploadLimits) -> int:
    size = 0
    with target.open("wb") as out:
        while block := stream.read(_BLOCK):
            size += len(block)
            if size > limits.file_mb * _MEGA:
                raise _too_big(name, limits)
            if size > limit:
                raise ImageError(
                    f"The files are larger than {limits.total_mb:g} MB together, the limit for one "
                    "request. Give fewer."
                )
            out.write(block)
    return size
