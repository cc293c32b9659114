"""Reading and writing kohya's dataset.toml: the folders of a set, their class words and repeats.

Files may come from other people, so every setting is checked here. Which folders may be read is
checked in :mod:`siren_ext.data.dataset`.
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
from siren_ext.text import printable

MAX_REPEATS = 9999
# control characters, line breaks and text-direction marks
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
    "# For kohya's sd-scripts. These options work from every folder:\n"
    "#   --train_data_dir <full path of this folder> --caption_extension .txt\n"
    "# Without --caption_extension the captions are ignored. With --dataset_config dataset.toml,\n"
    "# start sd-scripts in this folder: it looks for image_dir where it is started.\n"
    "# enable_bucket is off, so that images keep their pixels where they can.\n"
    "# musubi-tuner reads another form: coat with --layout musubi.\n\n"
)


class Subset(Struct, frozen=True, rename=_NAMES):
    """One folder of a dataset.toml; :func:`dropped_settings` lists kohya's other settings.

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
    """

    folder: _Folder
    class_words: _Words = ""
    repeats: Annotated[int, Meta(ge=1, le=MAX_REPEATS)] = 1
    caption_suffix: _Suffix = ""
    is_reg: bool = False
    metadata_file: str = ""

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


def read_dataset_toml(path: Path) -> list[dict[str, Any]]:
    """Settings of each subset, completed by those of its dataset and of [general].

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    DatasetError
        If it is not a readable dataset.toml.
    """
    table = read_toml(path, error=DatasetError)
    general = convert(table, _File, name=str(path), error=DatasetError).general
    return [
        {name: value for name, value in (general | dataset | subset).items() if name != "subsets"}
        for dataset in table["datasets"]
        for subset in dataset["subsets"]
    ]


def dropped_settings(subsets: Sequence[dict[str, Any]]) -> list[str]:
    """Names of settings that are not used here, in their order.

    Parameters
    ----------
    subsets : Sequence[dict[str, Any]]
        Settings from :func:`read_dataset_toml`.
    """
    used = {_NAMES.get(field, field) for field in Subset.__struct_fields__}
    names = dict.fromkeys(name for settings in subsets for name in settings if name not in used)
    return [printable(name) for name in names]


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
