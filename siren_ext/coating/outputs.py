"""Files of an output folder: names, captions and kohya's training folders."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from siren_ext.data.dataset import ImageSet, Item, safe_words
from siren_ext.data.kohya import Subset, write_dataset_toml
from siren_ext.errors import DatasetError, ImageError
from siren_ext.files import atomic, is_file, is_folder, is_present, real_path
from siren_ext.text import plain_name

DATASET_TOML = "dataset.toml"
TRAINER_STEP = 64  # trainers resize to multiples of this many pixels
DEFAULT_RESOLUTION = (512, 512)


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
    if is_present(target) and not is_folder(target):
        raise DatasetError(f"{out} is a file; expected a folder. Choose another name for it.")
    if data == target or data in target.parents or target in data.parents:
        raise DatasetError(
            f"The output folder {out} is, contains or is inside the data folder {root}. Choose a "
            "separate folder, so that the originals are not changed."
        )


def class_words(item: Item, data: ImageSet) -> str:
    """Words for what an image shows, used by trainers if it has no caption.

    Parameters
    ----------
    item : Item
        The image.
    data : ImageSet
        The set it belongs to.

    Returns
    -------
    str
        Words that can be part of a folder name.
    """
    return safe_words(item.class_words or data.name)


def kohya_folder(item: Item, data: ImageSet) -> str:
    """Name of the kohya training folder for an image.

    Parameters
    ----------
    item : Item
        The image.
    data : ImageSet
        The set it belongs to.

    Returns
    -------
    str
        ``<repeats>_<class words>``.
    """
    return f"{item.repeats}_{class_words(item, data)}"


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
        ``plain`` or ``kohya``.
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
        folder = PurePosixPath(*map(plain_name, item.relative.parent.parts))
        if layout == "kohya":
            folder = PurePosixPath(kohya_folder(item, data))
        first = stem = plain_name(item.relative.stem)
        typed = f"{first}_{item.relative.suffix[1:].lower()}"
        while (key := _fold(folder / stem)) in taken:
            number = tries[_fold(folder / typed)] = tries.get(_fold(folder / typed), 0) + 1
            stem = typed if number == 1 else f"{typed}_{number}"
        taken.add(key)
        names[index] = (folder / f"{stem}{suffixes[index]}").as_posix()
    return [names[index] for index in range(len(data))]


def _fold(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", path.as_posix()).casefold()


def caption_names(item: Item, output: str, layout: str) -> dict[str, Path | str]:
    """Caption files of an output.

    Parameters
    ----------
    item : Item
        The source.
    output : str
        Name of the output image.
    layout : str
        ``plain`` or ``kohya``.

    Returns
    -------
    dict[str, Path | str]
        For each name, the file to copy or the text to write.
    """
    base = output.removesuffix(PurePosixPath(output).suffix)
    files: dict[str, Path | str] = {base + path.suffix.lower(): path for path in item.caption_files}
    # kohya's dataset.toml expects .txt files; captions from a table have no file yet
    if item.caption is not None and (not files or layout == "kohya"):
        files.setdefault(base + ".txt", item.caption + "\n")
    return files


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
        ``plain`` or ``kohya``.

    Raises
    ------
    ImageError
        A caption can't be copied.
    """
    for name, source in caption_names(item, output, layout).items():
        path = out / name
        try:
            content = source.read_bytes() if isinstance(source, Path) else source.encode()
            if not is_file(path) or path.read_bytes() != content:
                with atomic(path) as temporary:
                    temporary.write_bytes(content)
        except OSError as error:
            raise ImageError(
                f"The caption of {item.name} can't be copied: {error.strerror}."
            ) from error


def write_toml(data: ImageSet, sizes: Mapping[str, tuple[int, int]], out: Path) -> None:
    """Write kohya's dataset.toml.

    The resolution is the images' size if they are all equal and trainers accept it (sides are
    multiples of 64 pixels), otherwise 512 x 512.

    Parameters
    ----------
    data : ImageSet
        The sources.
    sizes : Mapping[str, tuple[int, int]]
        Width and height of the written images, by source name.
    out : Path
        The output folder.

    Raises
    ------
    OSError
        The file can't be written.
    """
    distinct = set(sizes.values())
    resolution = distinct.pop() if len(distinct) == 1 else DEFAULT_RESOLUTION
    if any(side % TRAINER_STEP for side in resolution):
        resolution = DEFAULT_RESOLUTION
    subsets = {
        kohya_folder(item, data): class_words(item, data)
        for item in data.items
        if item.name in sizes
    }
    repeats = {kohya_folder(item, data): item.repeats for item in data.items}
    write_dataset_toml(
        out / DATASET_TOML,
        [Subset(folder, words, repeats[folder]) for folder, words in subsets.items()],
        resolution=resolution,
    )
