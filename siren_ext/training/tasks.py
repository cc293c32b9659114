"""Small image sets for training a start coater: folders of sets, or draws from the corpus."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.data.dataset import ImageSet
from siren_ext.data.image_files import list_images
from siren_ext.data.images import crop_view, to_tensor
from siren_ext.errors import DatasetError
from siren_ext.files import sha256_file
from siren_ext.pocket.captions import Caption, read_captions
from siren_ext.progress import NULL, Progress
from siren_ext.text import plain_name
from siren_ext.training.prompts import surrogate_prompt
from siren_ext.training.state import Pictures

SHARED_CAPTION = 12
"""A caption needs this many pictures to be a task of its own."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A small set, as one owner would have it.

    Attributes
    ----------
    name : str
        What it shows.
    prompt : str
        Prompt under which the surrogate sees it.
    pictures : Pictures
        Its images.
    """

    name: str
    prompt: str
    pictures: Pictures


class Tasks(Protocol):
    """A source of tasks."""

    @property
    def hash(self) -> str:
        """SHA-256 of all pictures that tasks are drawn from."""

    def draw(self, count: int, rng: np.random.Generator) -> Task:
        """A task of up to ``count`` images; it depends on ``rng`` alone."""


class SetTasks:
    """Tasks from image sets: a random set, then random images of it without replacement.

    The name of a set is its class word.
    """

    def __init__(self, sets: Sequence[ImageSet]) -> None:
        self.sets = tuple(sets)

    @classmethod
    def open(cls, folders: Sequence[Path], *, progress: Progress = NULL) -> SetTasks:
        """Open image sets; unreadable images are left out and listed in :attr:`problems`.

        Parameters
        ----------
        folders : sequence of Path
            A folder with images in it is one set, and so is a dataset.toml. In any other folder
            each subfolder is a set.
        progress : Progress
            Reports the images that are checked.

        Returns
        -------
        SetTasks
            Tasks from all of them.

        Raises
        ------
        DatasetError
            A folder holds no usable set.
        """
        places = [place for folder in folders for place in _places(Path(folder))]
        return cls([ImageSet.open(place).checked(progress=progress) for place in places])

    @property
    def problems(self) -> list[tuple[str, str]]:
        """(name, reason) of everything that was left out."""
        return [
            (f"{found.name}/{name}", why) for found in self.sets for name, why in found.problems
        ]

    @property
    def notices(self) -> list[str]:
        """What else was left out of the sets, and what to check, one line each."""
        return [f"{found.name}: {line}" for found in self.sets for line in found.notices]

    @property
    def hash(self) -> str:
        """SHA-256 over the sets' hashes."""
        return hashlib.sha256("\n".join(found.hash for found in self.sets).encode()).hexdigest()

    def draw(self, count: int, rng: np.random.Generator) -> Task:
        """A task of up to ``count`` images; it depends on ``rng`` alone."""
        found = self.sets[int(rng.integers(len(self.sets)))]
        picks = sorted(rng.permutation(len(found))[:count].tolist())
        some = dataclasses.replace(found, items=tuple(found.items[pick] for pick in picks))
        words = some.items[0].class_words or plain_name(found.name).replace("_", " ")
        return Task(found.name, surrogate_prompt(words), some)


def _places(folder: Path) -> list[Path]:
    if folder.suffix.lower() == ".toml" or (folder.is_dir() and list_images(folder)):
        return [folder]
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder; expected a folder of image sets.")
    inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not inner:
        raise DatasetError(
            f"{folder} contains neither images nor folders; expected an image set, or a folder "
            "that contains image sets."
        )
    return inner


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayPictures:
    """Some pictures of an N x H x W x 3 array of bytes."""

    array: NDArray[np.uint8]
    picks: tuple[int, ...]

    @property
    def hash(self) -> str:
        """SHA-256 over the pictures' bytes."""
        digest = hashlib.sha256()
        for pick in self.picks:
            digest.update(np.ascontiguousarray(self.array[pick]).tobytes())
        return digest.hexdigest()

    def tensors(self, size: int) -> Iterator[Tensor]:
        """Each picture in order, 1 x 3 x size x size float in [0,1]."""
        for pick in self.picks:
            yield crop_view(to_tensor(np.ascontiguousarray(self.array[pick])), size)


class CorpusTasks:
    """Tasks from the arrays that :mod:`siren_ext.pocket.corpus` writes.

    A picture is drawn at random. The task holds pictures with its caption if there are enough of
    them (photos of a class), otherwise pictures from its source (drawings of one style).

    Parameters
    ----------
    folder : Path
        Folder with ``images.npy`` and ``captions.json``.

    Raises
    ------
    DatasetError
        The folder holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.array, rows = _read_corpus(self.folder)
        self.captions = [row.caption for row in rows]
        self.sources = [row.source for row in rows]
        self.groups: dict[tuple[str, str], list[int]] = {}
        for number, (source, caption) in enumerate(zip(self.sources, self.captions, strict=True)):
            for key in ((source, caption), (source, "")):
                self.groups.setdefault(key, []).append(number)

    @property
    def hash(self) -> str:
        """SHA-256 over the two files."""
        parts = [sha256_file(self.folder / name) for name in ("images.npy", "captions.json")]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def draw(self, count: int, rng: np.random.Generator) -> Task:
        """A task of up to ``count`` images; it depends on ``rng`` alone."""
        pick = int(rng.integers(len(self.captions)))
        source, caption = self.sources[pick], self.captions[pick]
        group = self.groups[source, caption]
        name = prompt = caption
        if len(group) < SHARED_CAPTION:
            group, name, prompt = self.groups[source, ""], source, f"a photo of {source}"
        picks = sorted(rng.permutation(group)[:count].tolist())
        return Task(name, prompt, ArrayPictures(self.array, tuple(picks)))


def _read_corpus(folder: Path) -> tuple[NDArray[np.uint8], list[Caption]]:
    rows = read_captions(folder)
    try:
        array: Any = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(
            f"{folder} is not a corpus folder: {error!s}. Expected the images.npy that "
            "siren_ext.pocket.corpus writes."
        ) from error
    shape: tuple[int, ...] = getattr(array, "shape", ())
    if getattr(array, "dtype", None) != np.uint8 or len(shape) != 4 or shape[3] != 3:
        raise DatasetError(
            f"images.npy in {folder} has shape {shape}; expected N x H x W x 3 bytes."
        )
    if len(rows) != len(array) or not rows:
        raise DatasetError(
            f"captions.json in {folder} doesn't fit the images: it has {len(rows)} entries; "
            f"expected {len(array)}."
        )
    return array, rows
