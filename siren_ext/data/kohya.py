"""Kohya's dataset.toml, in and out: which folders a set has, what they show and how often.

A file that is read comes from other people, so every setting is checked; where its folders may lie
is the reader's business (:mod:`siren_ext.data.dataset`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from siren_ext.documents import read_toml
from siren_ext.errors import DatasetError
from siren_ext.files import atomic
from siren_ext.schema import convert

MAX_REPEATS = 9999
# What messages could not show on one line: control characters, line ends, reversed text.
_ODD = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
_Folder = Annotated[str, Meta(pattern=rf"^[^{_ODD}]+\Z", description="a folder name on one line")]
_Words = Annotated[str, Meta(pattern=rf"^[^{_ODD}/\\]*\Z", description="words without / or \\")]
_Suffix = Annotated[
    str, Meta(pattern=r"^(\.[\w-]{1,16})?\Z", description="a suffix such as '.txt'")
]
_NAMES = {
    "folder": "image_dir",
    "class_words": "class_tokens",
    "repeats": "num_repeats",
    "caption_suffix": "caption_extension",
}
_HEADER = (
    "# For sd-scripts: run it from this folder with --dataset_config dataset.toml, or use\n"
    "# --train_data_dir. enable_bucket is off, so that images keep their pixels where they can.\n\n"
)


class Subset(Struct, frozen=True, rename=_NAMES):
    """One folder of a dataset.toml; kohya's other settings are left out.

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
    is_reg : bool
        whether the images are for regularisation.
    metadata_file : str
        a file with captions; empty where there is none.
    """

    folder: _Folder
    class_words: _Words = ""
    repeats: Annotated[int, Meta(ge=1, le=MAX_REPEATS)] = 1
    caption_suffix: _Suffix = ""
    is_reg: bool = False
    metadata_file: str = ""

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Subset:
        """A subset by kohya's names; raises :class:`DatasetError` for a value that is none."""
        return convert(settings, cls, name="", error=DatasetError)


class _Dataset(Struct):
    subsets: Annotated[list[dict[str, Any]], Meta(description="tables [[datasets.subsets]]")]


class _File(Struct):
    datasets: Annotated[
        list[_Dataset], Meta(description="tables [[datasets]] with [[datasets.subsets]]")
    ]
    general: dict[str, Any] = {}


def read_dataset_toml(path: Path) -> list[dict[str, Any]]:
    """Settings of each subset, with those of its dataset and of [general] under them.

    Raises
    ------
    DatasetError
        not a readable TOML file, or of another shape.
    """
    table = read_toml(path, error=DatasetError)
    general = convert(table, _File, name=str(path), error=DatasetError).general
    return [
        {name: value for name, value in (general | dataset | subset).items() if name != "subsets"}
        for dataset in table["datasets"]
        for subset in dataset["subsets"]
    ]


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
