"""Kohya's dataset.toml, in and out: which folders a set has, what they show and how often.

A file that is read comes from other people, so every setting is checked; where its folders may lie
is the reader's business (:mod:`siren_ext.data.dataset`).
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from siren_ext.errors import DatasetError
from siren_ext.files import atomic
from siren_ext.text import printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_REPEATS = 9999
_HEADER = (
    "# For sd-scripts: run it from this folder with --dataset_config dataset.toml, or use\n"
    "# --train_data_dir. enable_bucket is off, so that images keep their pixels where they can.\n\n"
)


@dataclasses.dataclass(frozen=True)
class Subset:
    """One folder of a dataset.toml.

    Attributes
    ----------
    folder : str
        relative to the file.
    class_words : str
        what the images show; may be empty.
    repeats : int
        how often a trainer shows each image per epoch.
    caption_suffix : str
        of the caption files; empty where the file does not say.
    """

    folder: str
    class_words: str
    repeats: int = 1
    caption_suffix: str = ""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Subset:
        """A subset by kohya's names; raises :class:`DatasetError` for a value that is none."""
        return cls(
            _setting(settings, "image_dir", str, None, _is_one_line, "a folder name on one line"),
            _setting(settings, "class_tokens", str, "", _is_name, "words without / or \\"),
            _setting(
                settings,
                "num_repeats",
                int,
                1,
                lambda n: 1 <= n <= MAX_REPEATS,
                f"1 to {MAX_REPEATS}",
            ),
            _setting(settings, "caption_extension", str, "", _is_suffix, "a suffix such as '.txt'"),
        )


def read_dataset_toml(path: Path) -> list[dict[str, Any]]:
    """Settings of each subset, with those of its dataset and of [general] under them.

    Raises
    ------
    DatasetError
        not a readable TOML file, or of another shape.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DatasetError(f"{path} can't be read as TOML: {error}") from error
    return list(_subsets(table, path))


def _subsets(table: dict[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    general = table.get("general", {})
    datasets = table.get("datasets")
    if not isinstance(general, dict) or not isinstance(datasets, list):
        raise DatasetError(
            f"{path} is not a kohya dataset file: expected [[datasets]] with [[datasets.subsets]]."
        )
    for dataset in datasets:
        subsets = dataset.get("subsets") if isinstance(dataset, dict) else None
        if not isinstance(subsets, list) or not all(isinstance(s, dict) for s in subsets):
            raise DatasetError(
                f"{path} has a dataset without [[datasets.subsets]]; expected one or more."
            )
        shared = {key: value for key, value in dataset.items() if key != "subsets"}
        yield from ({**general, **shared, **subset} for subset in subsets)


def _setting(
    settings: Mapping[str, Any],
    name: str,
    kind: type,
    default: Any,
    valid: Callable[[Any], bool],
    expected: str,
) -> Any:
    value = settings.get(name, default)
    fits = isinstance(value, kind) and not isinstance(value, bool)
    if not fits or (value != default and not valid(value)):
        raise DatasetError(f"{name} is {repr(value)[:80]}; expected {expected}.")
    return value


def _is_one_line(text: str) -> bool:
    return bool(text) and printable(text) == text


def _is_name(text: str) -> bool:
    return _is_one_line(text) and not set(text) & set("/\\")


def _is_suffix(text: str) -> bool:
    return re.fullmatch(r"\.[\w-]{1,16}", text) is not None


def write_dataset_toml(
    path: Path,
    subsets: Sequence[Subset],
    *,
    resolution: tuple[int, int] = (512, 512),
    batch_size: int = 1,
    caption_suffix: str = ".txt",
) -> None:
    """Write kohya's dataset.toml for folders beside it, with bucketing off.

    Parameters
    ----------
    path : Path
        the file to write, atomically.
    subsets : Sequence[Subset]
        the folders.
    resolution : tuple[int, int]
        width and height in pixels that the trainer uses.
    batch_size : int
        images per training step.
    caption_suffix : str
        of the caption files.
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
