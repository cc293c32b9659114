"""Where coated files go: names, captions and kohya's folders of an output folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from siren_ext.data.dataset import ImageSet, Item, safe_words
from siren_ext.data.kohya import Subset, write_dataset_toml
from siren_ext.errors import DatasetError, ImageError
from siren_ext.files import atomic
from siren_ext.text import plain_name

DATASET_TOML = "dataset.toml"
TRAINER_STEP = 64  # trainers resize to multiples of this many pixels
DEFAULT_RESOLUTION = (512, 512)


def refuse_overlap(root: Path, out: Path) -> None:
    """Raise :class:`DatasetError` when ``out`` is the data folder, lies in it or contains it."""
    data, target = root.resolve(), out.resolve()
    if data == target or data in target.parents or target in data.parents:
        raise DatasetError(
            f"The output folder {out} is, lies in or contains the data folder "
            f"{root}; expected a separate one, so that originals stay as they are."
        )


def class_words(item: Item, data: ImageSet) -> str:
    """What a trainer is told the image shows when it has no caption, fit for a folder name."""
    return safe_words(item.class_words or data.name)


def kohya_folder(item: Item, data: ImageSet) -> str:
    """The folder ``<repeats>_<class words>`` that an image belongs in."""
    return f"{item.repeats}_{class_words(item, data)}"


def output_names(data: ImageSet, layout: str) -> list[str]:
    """A distinct output name per image, relative to the output folder.

    The stem is kept; a second image of the same stem gets its type added (``a_jpg.png``), further
    ones a number. Names that differ only in case count as equal, as many file systems say so.
    Images that are PNG already choose first.
    """
    taken: set[str] = set()
    tries: dict[str, int] = {}
    names: dict[int, str] = {}
    order = sorted(range(len(data)), key=lambda i: data.items[i].path.suffix.lower() != ".png")
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
        names[index] = (folder / f"{stem}.png").as_posix()
    return [names[index] for index in range(len(data))]


def _fold(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFC", path.as_posix()).casefold()


def caption_names(item: Item, output: str, layout: str) -> dict[str, Path | str]:
    """Caption files that go with an output: name to the file to copy, or to the text."""
    base = output.removesuffix(".png")
    files: dict[str, Path | str] = {base + path.suffix.lower(): path for path in item.caption_files}
    # The kohya layout names .txt in its dataset.toml; a caption from a table has no file at all.
    if item.caption is not None and (not files or layout == "kohya"):
        files.setdefault(base + ".txt", item.caption + "\n")
    return files


def write_captions(item: Item, output: str, out: Path, layout: str) -> None:
    """Bring the captions of an output up to date; raises :class:`ImageError`."""
    for name, source in caption_names(item, output, layout).items():
        path = out / name
        try:
            content = source.read_bytes() if isinstance(source, Path) else source.encode()
            if not path.is_file() or path.read_bytes() != content:
                with atomic(path) as temporary:
                    temporary.write_bytes(content)
        except OSError as error:
            raise ImageError(
                f"The caption of {item.name} can't be copied: {error.strerror}."
            ) from error


def write_toml(data: ImageSet, sizes: Mapping[str, tuple[int, int]], out: Path) -> None:
    """Write kohya's dataset.toml for the images in ``sizes`` (by source name).

    The resolution is that of the images when all have the same and a trainer can take it.
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
