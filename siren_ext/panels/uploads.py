"""From an upload or a named folder to a folder of images, within limits.

Uploads come from strangers: archives are unpacked by name, never by path, and counted while they
are read, since their own word on sizes can't be trusted.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from siren_ext.data.dataset import CAPTION_SUFFIXES
from siren_ext.data.image_files import image_suffixes, scan_images
from siren_ext.data.images import picture_size
from siren_ext.errors import DatasetError, ImageError
from siren_ext.panels.gradio_compat import upload_paths
from siren_ext.panels.host import UploadLimits
from siren_ext.text import plain_name

_MEGA = 1_000_000
_BLOCK = 1 << 20
_ARCHIVE_ENTRIES = 10  # entries of an archive per permitted file: folders and captions among them


def take_in(
    upload: Any, folder: str, limits: UploadLimits, into: Path, *, what: str = "images"
) -> Path:
    """A folder that holds the images of an upload (files, ZIP archives) or the named folder.

    Parameters
    ----------
    upload : Any
        value of a file component.
    folder : str
        a typed folder, used where nothing was uploaded and the host permits it.
    limits : UploadLimits
        of the host.
    into : Path
        an empty or absent folder for uploads; a named folder is read where it lies.
    what : str
        how messages call the images.

    Raises
    ------
    DatasetError
        nothing was given, the folder is not there, or it is not permitted.
    ImageError
        a limit is passed.
    """
    paths = upload_paths(upload)
    folder = (folder or "").strip().strip('"')
    if paths:
        place = _unpack(paths, limits, into, what)
    elif folder and limits.folders:
        place = Path(folder).expanduser()
        if not place.is_dir():
            raise DatasetError(f"There is no folder {place}; expected one with the {what}.")
    elif folder:
        raise DatasetError("Folders of this machine are not read here; upload the files instead.")
    else:
        raise DatasetError(f"No {what} were given; add files first.")
    check_images(place, limits, what)
    return place


def check_images(folder: Path, limits: UploadLimits, what: str = "images") -> None:
    """Raise :class:`ImageError` where a folder's images pass a limit.

    Files that are no readable images are left to the step that reads them, which names them.
    """
    found, _ = scan_images(folder, deep=True)
    if not found:
        raise DatasetError(f"There are no images among the {what}; expected PNG, JPEG or WebP.")
    if len(found) > limits.files:
        raise ImageError(
            f"{len(found)} {what} were given; at most {limits.files} are taken at once. Give fewer."
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
                f"{limits.megapixels:g} are taken here. Shrink it first."
            )


def _too_big(name: str, limits: UploadLimits) -> ImageError:
    return ImageError(
        f"{str(name)[:120]} is larger than {limits.file_mb:g} MB, the most that is taken "
        "here. Shrink it first."
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
    """Names (without folders) and contents of an upload; of an archive each of its files."""
    if path.suffix.lower() != ".zip":
        with path.open("rb") as stream:
            yield path.name, stream
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > limits.files * _ARCHIVE_ENTRIES:
                raise ImageError(
                    f"{path.name} holds {len(entries)} entries; at most "
                    f"{limits.files * _ARCHIVE_ENTRIES} are read."
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
    """``name`` made plain, with a number where it (in any case) was given before."""
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
                    f"The files are larger than {limits.total_mb:g} MB together, the most that is "
                    "taken here. Give fewer."
                )
            out.write(block)
    return size
