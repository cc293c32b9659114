"""Reading and writing kohya's dataset.toml: the folders of a set, their class words and repeats.

sd-scripts and musubi-tuner, both by kohya, have different forms; both are read. Files may come from
other people, so every setting is checked here, and no folder outside a root is given.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from msgspec import Meta, Struct

from siren_ext.data.image_files import inside
from siren_ext.data.survey import examples
from siren_ext.documents import read_toml
from siren_ext.errors import DatasetError
from siren_ext.files import atomic, is_folder, is_present, real_path
from siren_ext.schema import convert, shown
from siren_ext.text import printable

MAX_REPEATS = 9999
# control characters, line breaks and text-direction marks
_ODD = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
_Folder = Annotated[str, Meta(pattern=rf"^[^{_ODD}]+\Z", description="a folder name on one line")]
_FileName = Annotated[str, Meta(pattern=rf"^[^{_ODD}]*\Z", description="a file name on one line")]
_Words = Annotated[
    str,
    Meta(
        pattern=rf"^(?!(?:.*[/\\])?\.\.(?:[/\\]|\Z))[^{_ODD}]*\Z",
        description="words on one line, and no path",
    ),
]
_Suffix = Annotated[
    str, Meta(pattern=r"^(\.[\w-]{1,16})?\Z", description="a suffix such as '.txt'")
]
_NAMES = {
    "folder": "image_dir",
    "class_words": "class_tokens",
    "repeats": "num_repeats",
    "caption_suffix": "caption_extension",
    "list_file": "image_jsonl_file",
}
OUTSIDE = "metadata_file is outside the folder of the dataset file; move it beside that file."
"""Why a file with captions is not read."""
TRAINING_ONLY = "only training images are used"
"""Why regularisation subsets are left out, where a reader has no use for them."""
_IMAGES = ("image_directory", "image_jsonl_file")
_VIDEOS = ("video_directory", "video_jsonl_file")
_HEADER = (
    "# For kohya's sd-scripts. These options work from every folder:\n#   --train_data_dir <full "
    "path of this folder> --caption_extension .txt\n# Without --caption_extension the captions "
    "are ignored. With --dataset_config dataset.toml,\n# start sd-scripts in this folder: it "
    "looks for image_dir in the folder where it is started.\n# enable_bucket is off, so that "
    "images keep their pixels where possible.\n# musubi-tuner needs a different layout: coat with "
    "--layout musubi.\n\n"
)


class Subset(Struct, frozen=True, rename=_NAMES):
    """One folder of a dataset.toml; other settings are only reported.

    Attributes
    ----------
    folder : str
        The folder, relative to the file.
    class_words : str
        What the images show; may be empty.
    repeats : int
        How often each image is used per epoch, from 1 to 9999.
    caption_suffix : str
        Suffix of the caption files; empty if the file does not say.
    is_reg : bool
        Whether the images are for regularisation.
    metadata_file : str
        A file with captions; empty if there is none.
    list_file : str
        A file that lists the images with their captions (musubi-tuner); empty if all images of the
        folder are used.
    """

    folder: _Folder
    class_words: _Words = ""
    repeats: Annotated[int, Meta(ge=1, le=MAX_REPEATS)] = 1
    caption_suffix: _Suffix = ""
    is_reg: bool = False
    metadata_file: _FileName = ""
    list_file: _FileName = ""

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Subset:
        """A subset from settings with kohya's names.

        Raises
        ------
        DatasetError
            If a value is malformed.
        """
        return convert(settings, cls, name="", error=DatasetError)


class _Dataset(Struct):
    """One dataset of a dataset.toml."""

    subsets: Annotated[list[dict[str, Any]], Meta(description="tables [[datasets.subsets]]")]


class _File(Struct):
    """A whole dataset.toml."""

    datasets: Annotated[
        list[_Dataset], Meta(description="tables [[datasets]] with [[datasets.subsets]]")
    ]
    general: dict[str, Any] = {}


@dataclass
class TomlSubsets:
    """What a dataset.toml says.

    Attributes
    ----------
    subsets : list[tuple[str, Subset]]
        Label for messages, and subset, without regularisation subsets and videos.
    regular : list[tuple[str, Subset]]
        The same for regularisation subsets.
    problems : list[tuple[str, str]]
        Label and reason of malformed subsets.
    notices : list[str]
        What else is not used, one line each.
    """

    subsets: list[tuple[str, Subset]]
    regular: list[tuple[str, Subset]]
    problems: list[tuple[str, str]]
    notices: list[str]


def read_dataset_toml(path: Path) -> TomlSubsets:
    """Read a dataset.toml of sd-scripts or musubi-tuner.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    DatasetError
        If it is not a readable dataset.toml.
    """
    found = TomlSubsets([], [], [], [])
    videos = 0
    every = _settings_of_subsets(path)
    for number, settings in enumerate(every, start=1):
        place = settings.get("image_jsonl_file", settings.get("image_dir"))
        label = printable(f"subset {number} ({shown(place)})")
        if "image_dir" not in settings and any(name in settings for name in _VIDEOS):
            videos += 1
            continue
        try:
            subset = Subset.from_settings(settings)
        except DatasetError as error:
            found.problems.append((label, str(error)))
            continue
        (found.regular if subset.is_reg else found.subsets).append((label, subset))
    found.notices = _notices(videos, _dropped_settings(every))
    if again := _listed_again([subset for _, subset in found.subsets]):
        count = "1 folder is" if len(again) == 1 else f"{len(again)} folders are"
        found.notices.append(
            f"{count} listed more than once ({examples(again)}): the first entry counts."
        )
    return found


def _listed_again(subsets: Sequence[Subset]) -> list[str]:
    """Folders that several subsets take whole, each once."""
    counts = Counter(subset.folder for subset in subsets if not subset.list_file)
    return [printable(folder) for folder, count in counts.items() if count > 1]


def _settings_of_subsets(path: Path) -> list[dict[str, Any]]:
    """Settings of each subset, completed by those of its dataset and of [general].

    A dataset of musubi-tuner has no subsets and is one itself; its settings get the names of
    sd-scripts.
    """
    table = read_toml(path, error=DatasetError)
    datasets = table.get("datasets")
    if isinstance(datasets, list):  # what has subsets, or should have
        kohyas = [dataset for dataset in datasets if not _is_musubi(dataset)]
        general = convert(table | {"datasets": kohyas}, _File, name=str(path), error=DatasetError)
    else:
        general = convert(table, _File, name=str(path), error=DatasetError)
    found: list[dict[str, Any]] = []
    for dataset in table["datasets"]:
        if _is_musubi(dataset):
            found.append(_in_names_of_kohya(general.general | dataset))
            continue
        for subset in dataset["subsets"]:
            settings = general.general | dataset | subset
            settings.pop("subsets", None)
            ending = settings.get("caption_extension")
            if isinstance(ending, str) and ending and not ending.startswith("."):
                settings["caption_extension"] = f".{ending}"  # as sd-scripts does
            found.append(settings)
    return found


def _is_musubi(dataset: Any) -> bool:
    """Whether a table [[datasets]] is in musubi-tuner's form."""
    if not isinstance(dataset, dict) or "subsets" in dataset:
        return False
    return any(name in dataset for name in (*_IMAGES, *_VIDEOS))


def _in_names_of_kohya(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of musubi-tuner under the names of sd-scripts."""
    folder, listed = _IMAGES
    if folder in settings:
        return {"image_dir" if n == folder else n: value for n, value in settings.items()}
    return {"image_dir": ".", **settings} if listed in settings else settings


def _dropped_settings(subsets: Sequence[dict[str, Any]]) -> list[str]:
    """Names of settings that are not used here, in their order."""
    used = {*_VIDEOS, *(_NAMES.get(field, field) for field in Subset.__struct_fields__)}
    names = dict.fromkeys(name for settings in subsets for name in settings if name not in used)
    return [printable(name) for name in names]


def subset_folder(subset: Subset, base: Path, root: Path) -> Path:
    """The folder of a subset, as a path below a root.

    Parameters
    ----------
    subset : Subset
        The subset.
    base : Path
        The folder of the dataset.toml.
    root : Path
        The folder that all images must be in.

    Raises
    ------
    DatasetError
        If it is outside the root, or not a folder.
    """
    folder = place_of(subset.folder, base)
    if not inside(folder, root):
        raise DatasetError(
            "is outside the folder of the dataset file; move the images beside that file, or give "
            "the image folder itself."
        )
    if not is_folder(folder):
        raise DatasetError("is not a folder; expected a folder of images.")
    return root / real_path(folder).relative_to(real_path(root))


def place_of(name: str, base: Path) -> Path:
    """The path that a dataset.toml names, whose backslashes may be those of Windows.

    Parameters
    ----------
    name : str
        The name in the file.
    base : Path
        The folder of the file.
    """
    place = base / name
    return base / PureWindowsPath(name).as_posix() if not is_present(place) else place


def table_path(file: Path, folder: Path, root: Path) -> PurePosixPath | None:
    """The path of a file with captions relative to a folder; None if it is outside the root.

    Parameters
    ----------
    file : Path
        The file.
    folder : Path
        The root, or a folder below it.
    root : Path
        The folder that all images must be in.
    """
    if not inside(file, root):
        return None
    real = root / real_path(file).relative_to(real_path(root))
    return PurePosixPath(Path(os.path.relpath(real, folder)).as_posix())


def regular_notice(regular: Sequence[Subset], why: str = TRAINING_ONLY) -> str:
    """The line that says that regularisation subsets are not used.

    Parameters
    ----------
    regular : Sequence[Subset]
        The subsets, at least one.
    why : str
        The reason, without a full stop.
    """
    count = f"{len(regular)} regularisation subset{'' if len(regular) == 1 else 's'}"
    names = examples([printable(subset.folder) for subset in regular])
    return f"Left out: {count} ({names}): {why}."


def _notices(videos: int, dropped: Sequence[str]) -> list[str]:
    """What is not used, one line each."""
    notices = []
    if videos:
        count = f"{videos} dataset{'' if videos == 1 else 's'} of videos"
        notices.append(f"Left out: {count}: only images are used.")
    if dropped:
        count = f"{len(dropped)} setting{'' if len(dropped) == 1 else 's'} of the dataset.toml"
        notices.append(f"Left out: {count} ({', '.join(dropped)}): set them again for training.")
    return notices


def write_dataset_toml(
    path: Path,
    subsets: Sequence[Subset],
    *,
    resolution: tuple[int, int] = (512, 512),
    batch_size: int = 1,
    caption_suffix: str = ".txt",
) -> None:
    """Write kohya's dataset.toml for folders beside it, atomically and with bucketing off.

    Parameters
    ----------
    path : Path
        The file.
    subsets : Sequence[Subset]
        The folders.
    resolution : tuple[int, int]
        Width and height in pixels for training.
    batch_size : int
        Images per training step.
    caption_suffix : str
        Suffix of the caption files.
    """
    import tomli_w

    table = {
        "general": {
            "enable_bucket": False,
            "caption_extension": caption_suffix,
            "shuffle_caption": False,
        },
        "datasets": [
            {
                "resolution": list(resolution),
                "batch_size": batch_size,
                "subsets": [
                    {
                        "image_dir": subset.folder,
                        "class_tokens": subset.class_words,
                        "num_repeats": subset.repeats,
                    }
                    for subset in subsets
                ],
            }
        ],
    }
    with atomic(Path(path)) as temporary:
        temporary.write_text(_HEADER + tomli_w.dumps(table), encoding="utf-8")
