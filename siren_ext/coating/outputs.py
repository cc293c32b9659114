"""Files of an output folder: names, captions and masks."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from PIL import Image

from siren_ext.coating.journal import CoatJournal
from siren_ext.coating.layouts import (
    LAYOUTS,
    caption_names,
    file_names,
    folder_of,
    mask_name,
    table_names,
)
from siren_ext.coating.manifest import CoatConfig, CoatManifest
from siren_ext.data.caption_text import has_text
from siren_ext.data.dataset import ImageSet, Item
from siren_ext.data.images import read_picture
from siren_ext.data.survey import examples
from siren_ext.errors import DatasetError, ImageError
from siren_ext.files import atomic, is_file, is_folder, is_present, real_path, sha256_file
from siren_ext.text import folded, plain_name, printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

COLOURED = "Its mask is in colour and was not copied, because it could show the uncoated image."
UNREAD = "Its mask can't be read and was not copied."
NO_PLACE = "Its mask was not copied, because this layout has no place for masks."
RENAMED = "Renamed, because another image has the same name."
"""Note on an image whose name was taken."""


def refuse_overlap(root: Path, out: Path) -> None:
    """Check that the output folder is separate from the data folder.

    Parameters
    ----------
    root : Path
        The data folder.
    out : Path
        The output folder; need not exist.

    Raises
    ------
    DatasetError
        One is the other, or inside it; or the output folder is a file or can't be looked up.
    """
    try:
        data, target = real_path(root), real_path(out)
    except OSError as error:
        raise DatasetError(
            f"The output folder {out} can't be used: {error.strerror}. Choose another folder."
        ) from error
    if out.is_symlink() and not is_present(target):
        raise DatasetError(f"{out} is a broken link; expected a folder. Choose another folder.")
    if is_present(target) and not is_folder(target):
        raise DatasetError(f"{out} is a file; expected a folder. Choose another name for it.")
    if data == target or data in target.parents or target in data.parents:
        raise DatasetError(
            f"The output folder {out} is, contains or is inside the data folder {root}. Choose a "
            "separate folder, so that the originals are not changed."
        )


def folder_to_coat(place: Path, data: ImageSet, coater: Coater, key: CoatingKey | None) -> Path:
    """Where coated copies are kept: sets of one name, and copies for several keys, are kept apart.

    Parameters
    ----------
    place : Path
        The usual folder.
    data : ImageSet
        The images.
    coater : Coater
        The coater.
    key : CoatingKey | None
        The key whose message is written, if the coater is keyed.

    Returns
    -------
    Path
        ``place``, or with a number behind its name if another set, coater or key was used there.
    """
    mark = "" if key is None else key.fingerprint()
    for number in count(1):
        out = place if number == 1 else place.with_name(f"{place.name}-{number}")
        journal = CoatJournal(out, coater.fingerprint, CoatConfig(), mark)
        if journal.suits(sha256_file(item.path) for item in data.items):
            break
    return out


def output_names(data: ImageSet, layout: str, suffixes: Sequence[str] | None = None) -> list[str]:
    """Choose a distinct output name for every image.

    The stem is kept. A second image of the same stem gets its type added (``a_jpg.png``), further
    ones also a number, because they would share a caption. Images whose suffix stays the same keep
    their names first. Names that differ only in case count as
    equal, because many file systems ignore case.

    Parameters
    ----------
    data : ImageSet
        The images.
    layout : str
        One of :data:`~siren_ext.coating.layouts.LAYOUTS`.
    suffixes : Sequence[str] | None
        Suffix of each image's file, with a dot; None if all are ``.png``.

    Returns
    -------
    list[str]
        Names relative to the output folder, in the order of the data.
    """
    suffixes = [".png"] * len(data) if suffixes is None else suffixes
    taken: set[str] = set()
    tries: dict[str, int] = {}
    names: dict[int, str] = {}
    order = sorted(
        range(len(data)),
        key=lambda i: data.items[i].path.suffix.lower() != suffixes[i].lower(),
    )
    for index in order:
        item = data.items[index]
        folder = folder_of(item, data, layout)
        first = stem = plain_name(item.relative.stem)
        typed = f"{first}_{item.relative.suffix[1:].lower()}"
        while (key := folded((folder / stem).as_posix())) in taken:
            asked = folded((folder / typed).as_posix())
            number = tries[asked] = tries.get(asked, 0) + 1
            stem = typed if number == 1 else f"{typed}_{number}"
        taken.add(key)
        names[index] = (folder / f"{stem}{suffixes[index]}").as_posix()
    return [names[index] for index in range(len(data))]


def write_captions(item: Item, output: str, out: Path, layout: str) -> None:
    """Write the caption files of an output, if they are missing or differ.

    Parameters
    ----------
    item : Item
        The source.
    output : str
        Name of the output image.
    out : Path
        The output folder.
    layout : str
        One of :data:`~siren_ext.coating.layouts.LAYOUTS`.

    Raises
    ------
    ImageError
        A caption can't be copied.
    """
    try:
        contents = _captions(item, caption_names(item, output, layout), layout)
        for name, content in contents.items():
            path = out / name
            if not is_file(path) or path.read_bytes() != content:
                with atomic(path) as temporary:
                    temporary.write_bytes(content)
    except OSError as error:
        raise ImageError(
            f"The caption of {item.name} can't be copied: {error.strerror}."
        ) from error


def _captions(item: Item, names: Mapping[str, Path | str], layout: str) -> dict[str, bytes]:
    """Content of each caption file of an output."""
    contents = {
        name: source.read_bytes() if isinstance(source, Path) else source.encode()
        for name, source in names.items()
    }
    if LAYOUTS[layout].captions == "copied and txt":
        for name, content in contents.items():
            if name.endswith(".txt"):
                contents[name] = _in_utf8(content, item)
    # the caption is from a table, which is not copied: it takes the place of the file without text
    if contents and item.caption is not None and not any(map(has_text, contents.values())):
        contents[next(iter(contents))] = f"{item.caption}\n".encode()
    return contents


def write_mask(item: Item, output: str, out: Path, layout: str) -> str:
    """Write the training mask of an output, if it is missing or differs.

    Parameters
    ----------
    item : Item
        The source.
    output : str
        Name of the output image.
    out : Path
        The output folder.
    layout : str
        One of :data:`~siren_ext.coating.layouts.LAYOUTS`.

    Returns
    -------
    str
        Why it was not copied; empty if it was, or there is none.

    Raises
    ------
    ImageError
        It can't be written.
    """
    name = mask_name(item, output, layout)
    if name is None or item.mask is None:
        return "" if item.mask is None else NO_PLACE
    path = out / name
    try:
        picture = read_picture(item.mask)
        if (picture.rgb != picture.rgb[..., :1]).any():
            return COLOURED
        if path.suffix == item.mask.suffix.lower():
            content = item.mask.read_bytes()
        else:
            stream = io.BytesIO()
            Image.fromarray(picture.rgb[..., 0]).save(stream, "PNG")
            content = stream.getvalue()
    except (ImageError, OSError):
        return UNREAD
    try:
        if not is_file(path) or path.read_bytes() != content:
            with atomic(path) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        raise ImageError(f"The mask of {item.name} can't be copied: {error.strerror}.") from error
    return ""


def _in_utf8(content: bytes, item: Item) -> bytes:
    """A caption as trainers read it: in UTF-8 without a mark at its start, and not blank."""
    try:
        text = content.decode("utf-8")
        plain = not text.startswith("\ufeff") and has_text(content)
    except UnicodeDecodeError:
        plain = False
    readable = item.caption is not None and "\ufffd" not in item.caption
    return content if plain or not readable else f"{item.caption}\n".encode()


def is_renamed(item: Item, output: str) -> bool:
    """Whether an image was given another name because its own was taken.

    Parameters
    ----------
    item : Item
        The source.
    output : str
        Its name from :func:`output_names`.
    """
    return PurePosixPath(output).stem != plain_name(item.relative.stem)


def files_of_run(manifest: CoatManifest, data: ImageSet) -> list[str]:
    """The files of a run that are there: its images, with their captions, masks and tables.

    Those that only earlier runs wrote into the same folder are not among them.

    Parameters
    ----------
    manifest : CoatManifest
        What the run did.
    data : ImageSet
        The sources.

    Returns
    -------
    list[str]
        Names relative to the output folder, sorted.
    """
    layout, items = manifest.config.layout, {item.name: item for item in data.items}
    now = set(table_names(data, layout))
    for entry in manifest.entries:
        item = items.get(entry.source)
        now |= {entry.output} if item is None else {*file_names(item, entry.output, layout)}
    return [name for name in manifest.files if name in now]


def left_over_words(manifest: CoatManifest, data: ImageSet, out: Path) -> str:
    """What earlier runs wrote and this one did not, in one sentence; "" if there is nothing.

    Parameters
    ----------
    manifest : CoatManifest
        What this run did.
    data : ImageSet
        The sources.
    out : Path
        The output folder.
    """
    now = set(files_of_run(manifest, data))
    left = [printable(name) for name in manifest.files if name not in now]
    if not left or not manifest.complete:
        return ""
    count = "1 file" if len(left) == 1 else f"{len(left)} files"
    return (
        f"{printable(out)} still contains {count} from earlier runs ({examples(left)}), which "
        "this run did not write: the images or captions were removed or renamed, can't be read any "
        "more, or were written in another layout. Delete what you don't want to publish."
    )
