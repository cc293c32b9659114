"""Folder layouts of training programs: where images and captions go, and the files that list them.

Followed: kohya's sd-scripts of February 2026, musubi-tuner at ``01d5904``, OneTrainer at
``0069c35``, ai-toolkit at ``008a1f6``, and Hugging Face's datasets 5.2.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from siren_ext.data.dataset import ImageSet, Item
from siren_ext.data.kohya import Subset, write_dataset_toml
from siren_ext.files import atomic
from siren_ext.text import folded, plain_name, safe_words

DATASET_TOML = "dataset.toml"
METADATA = "metadata.jsonl"
SPLIT = "train"
"""Folder of the images for ``datasets``, which may ignore a metadata.jsonl beside other files."""
MASKS = "masks"
"""Folder of the masks for programs that look for them beside the folders of images."""
_MASKED = ("plain", "same", "kohya", "onetrainer", "ai-toolkit")
TRAINER_STEP = 64  # trainers resize to multiples of this many pixels
DEFAULT_RESOLUTION = (512, 512)

_MUSUBI_HEADER = (
    "# For musubi-tuner: start its scripts from this folder with --dataset_config dataset.toml,\n"
    "# because it looks for relative paths where it is started. Every image is listed in the\n"
    "# .jsonl files, with its caption or its class words.\n\n"
)


@dataclass(frozen=True)
class Layout:
    """Where a training program looks for images and captions.

    Attributes
    ----------
    words : bool
        Images are in folders ``N_words`` (repeats and class words), without deeper folders;
        otherwise they keep their folders.
    captions : str
        ``copied``: the caption files as they are; ``copied and txt``: also as .txt in UTF-8;
        ``txt``: one .txt file each; ``line``: the same on one line; ``table``: only in
        :data:`METADATA`.
    """

    words: bool
    captions: Literal["copied", "copied and txt", "txt", "line", "table"]


LAYOUTS = {
    "plain": Layout(False, "copied"),
    "same": Layout(False, "copied"),
    # its dataset.toml expects .txt files
    "kohya": Layout(True, "copied and txt"),
    # with .txt files beside them, datasets can take the folder for one of texts
    "imagefolder": Layout(False, "table"),
    # each line of a .txt file is another caption, of which one is drawn
    "onetrainer": Layout(True, "line"),
    "ai-toolkit": Layout(True, "txt"),
    "musubi": Layout(False, "txt"),
}
"""The layouts by name."""


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


def words_folder(item: Item, data: ImageSet) -> str:
    """Name of the training folder for an image: ``<repeats>_<class words>``.

    Parameters
    ----------
    item : Item
        The image.
    data : ImageSet
        The set it belongs to.
    """
    return f"{item.repeats}_{class_words(item, data)}"


def folder_of(item: Item, data: ImageSet, layout: str) -> PurePosixPath:
    """Folder of an image, relative to the output folder.

    Parameters
    ----------
    item : Item
        The image.
    data : ImageSet
        The set it belongs to.
    layout : str
        One of :data:`LAYOUTS`.
    """
    if LAYOUTS[layout].words:
        return PurePosixPath(words_folder(item, data))
    start = (SPLIT,) if layout == "imagefolder" else ()
    return PurePosixPath(*start, *map(plain_name, item.relative.parent.parts))


def caption_names(item: Item, output: str, layout: str) -> dict[str, Path | str]:
    """Caption files of an output.

    Parameters
    ----------
    item : Item
        The source.
    output : str
        Name of the output image.
    layout : str
        One of :data:`LAYOUTS`.

    Returns
    -------
    dict[str, Path | str]
        For each name, the file to copy or the text to write.
    """
    base, how = output.removesuffix(PurePosixPath(output).suffix), LAYOUTS[layout].captions
    if how == "table":
        return {}
    if how in ("txt", "line"):
        if item.caption is None:
            return {}
        return {f"{base}.txt": (_one_line(item.caption) if how == "line" else item.caption) + "\n"}
    files: dict[str, Path | str] = {base + path.suffix.lower(): path for path in item.caption_files}
    # captions from a table have no file yet
    if item.caption is not None and (not files or how == "copied and txt"):
        files.setdefault(base + ".txt", item.caption + "\n")
    return files


def mask_name(item: Item, output: str, layout: str) -> str | None:
    """Name of the training mask of an output.

    Parameters
    ----------
    item : Item
        The source.
    output : str
        Name of the output image.
    layout : str
        One of :data:`LAYOUTS`.

    Returns
    -------
    str | None
        None if the image has no mask, or the layout has no place for masks.
    """
    if item.mask is None or layout not in _MASKED:
        return None
    image, stem = PurePosixPath(output), PurePosixPath(output).stem
    if layout == "onetrainer":  # it looks for exactly this name
        return image.with_name(f"{stem}-masklabel.png").as_posix()
    suffix = item.mask.suffix.lower()
    if layout in ("kohya", "ai-toolkit"):  # they look for images of the same name elsewhere
        return (PurePosixPath(MASKS) / image.with_name(stem + suffix)).as_posix()
    root = item.path.parents[len(item.relative.parts) - 1]
    relative = PurePosixPath(item.mask.relative_to(root).as_posix())
    start = folded(relative.stem).find(folded(item.relative.stem))
    end = start + len(item.relative.stem)
    same = start >= 0 and len(folded(relative.stem)) == len(relative.stem)
    name = relative.stem[:start] + stem + relative.stem[end:] if same else f"{stem}-masklabel"
    folder = PurePosixPath(*map(plain_name, relative.parent.parts))
    return (folder / (plain_name(name) + suffix)).as_posix()


def file_names(item: Item, output: str, layout: str) -> list[str]:
    """Names of all files of an image: the output, its captions and its mask.

    Parameters
    ----------
    item : Item
        The source.
    output : str
        Name of the output image.
    layout : str
        One of :data:`LAYOUTS`.
    """
    mask = mask_name(item, output, layout)
    return [output, *caption_names(item, output, layout), *([mask] if mask else [])]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def table_names(data: ImageSet, layout: str) -> list[str]:
    """Names of the files that a layout needs beside images and captions.

    Parameters
    ----------
    data : ImageSet
        The images.
    layout : str
        One of :data:`LAYOUTS`.
    """
    if layout == "kohya":
        return [DATASET_TOML]
    if layout == "imagefolder":
        return [f"{SPLIT}/{METADATA}"]
    return [DATASET_TOML, *_lists(data).values()] if layout == "musubi" else []


def _lists(data: ImageSet) -> dict[int, str]:
    """Names of musubi's lists of images by their repeats, which hold for a whole list."""
    repeats = sorted({item.repeats for item in data.items})
    return {n: METADATA if len(repeats) == 1 else f"metadata_{n}.jsonl" for n in repeats}


@dataclass(frozen=True)
class Written:
    """One finished image.

    Attributes
    ----------
    output : str
        Name relative to the output folder.
    size : tuple[int, int]
        Width and height in pixels.
    """

    output: str
    size: tuple[int, int]


def write_tables(data: ImageSet, written: Mapping[str, Written], out: Path, layout: str) -> None:
    """Write the files of :func:`table_names`.

    Parameters
    ----------
    data : ImageSet
        The sources.
    written : Mapping[str, Written]
        The finished images by source name.
    out : Path
        The output folder.
    layout : str
        One of :data:`LAYOUTS`.

    Raises
    ------
    OSError
        A file can't be written.
    """
    pairs = [(item, written[item.name]) for item in data.items if item.name in written]
    if layout == "kohya":
        _write_kohya(data, pairs, out)
    elif layout == "imagefolder":
        rows = [
            {"file_name": file.output.removeprefix(f"{SPLIT}/"), "text": _caption(item)}
            for item, file in pairs
        ]
        _write_lines(out / SPLIT / METADATA, rows)
    elif layout == "musubi":
        _write_musubi(data, pairs, out)


def _caption(item: Item) -> str:
    return item.caption or item.class_words or ""


def _write_lines(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with atomic(path) as temporary:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        temporary.write_text(lines, encoding="utf-8")


def _resolution(pairs: Sequence[tuple[Item, Written]]) -> tuple[int, int]:
    """The images' size if they are all equal and trainers accept it, otherwise 512 x 512."""
    distinct = {file.size for _, file in pairs}
    resolution = distinct.pop() if len(distinct) == 1 else DEFAULT_RESOLUTION
    return DEFAULT_RESOLUTION if any(side % TRAINER_STEP for side in resolution) else resolution


def _write_kohya(data: ImageSet, pairs: Sequence[tuple[Item, Written]], out: Path) -> None:
    folders = {words_folder(item, data): item for item, _ in pairs}
    write_dataset_toml(
        out / DATASET_TOML,
        [Subset(name, class_words(item, data), item.repeats) for name, item in folders.items()],
        resolution=_resolution(pairs),
    )


def _write_musubi(data: ImageSet, pairs: Sequence[tuple[Item, Written]], out: Path) -> None:
    import tomli_w

    datasets: list[dict[str, Any]] = []
    for repeats, name in _lists(data).items():
        rows = [
            {"image_path": file.output, "caption": _caption(item)}
            for item, file in pairs
            if item.repeats == repeats
        ]
        _write_lines(out / name, rows)
        # each needs a cache of its own
        cache = f"cache/{PurePosixPath(name).stem}"
        if rows:
            datasets.append(
                {"image_jsonl_file": name, "cache_directory": cache, "num_repeats": repeats}
            )
    table = {
        "general": {
            "resolution": list(_resolution(pairs)),
            "batch_size": 1,
            "enable_bucket": True,
            "bucket_no_upscale": True,
        },
        "datasets": datasets,
    }
    with atomic(out / DATASET_TOML) as temporary:
        temporary.write_text(_MUSUBI_HEADER + tomli_w.dumps(table), encoding="utf-8")


def training_advice(data: ImageSet, out: Path, layout: str) -> list[str]:
    """How to give a written folder to its training program.

    Parameters
    ----------
    data : ImageSet
        The sources.
    out : Path
        The output folder.
    layout : str
        One of :data:`LAYOUTS`.

    Returns
    -------
    list of str
        Lines to print; none for layouts that belong to no program.
    """
    place = shlex.quote(str(out.absolute()))
    masked = list(dict.fromkeys(words_folder(i, data) for i in data.items if i.mask is not None))
    if layout == "kohya":
        masks = [
            f"For masked training: --masked_loss, and in the dataset.toml, for {name}: "
            f"conditioning_data_dir = {json.dumps(f'{MASKS}/{name}', ensure_ascii=False)}"
            for name in masked
        ]
        return [f"For sd-scripts: --train_data_dir {place} --caption_extension .txt", *masks]
    if layout == "imagefolder":
        return [f'For datasets: load_dataset("imagefolder", data_dir={str(out.absolute())!r})']
    if layout == "musubi":
        return [f"For musubi-tuner: cd {place}, then --dataset_config {DATASET_TOML}"]
    folders = {words_folder(item, data): item.repeats for item in data.items}
    paths = {str(out.absolute() / name): repeats for name, repeats in folders.items()}
    if layout == "onetrainer":
        return [
            f"For OneTrainer: concept {path}, prompts from text files, {repeats} repeats"
            for path, repeats in paths.items()
        ]
    if layout == "ai-toolkit":
        beside = {
            str(out.absolute() / name): json.dumps(str(out.absolute() / MASKS / name))
            for name in masked
        }
        return [
            f"For ai-toolkit: folder_path: {json.dumps(path, ensure_ascii=False)}, "
            f'caption_ext: "txt", num_repeats: {repeats}'
            + (f", mask_path: {beside[path]}" if path in beside else "")
            for path, repeats in paths.items()
        ]
    return []
