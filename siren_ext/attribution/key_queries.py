"""Asks a model for key samples, and measures how far its answers are from the key images.

The published text does not say how a reconstruction is asked for. ``img2img`` redraws the key image
with its caption, ``t2i`` gives the caption alone, and ``pool`` compares key images with pictures
whose prompts are not known. Answers are kept in folders that are named after model, prompts, seeds
and settings, so nothing is asked twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from siren_ext.attribution.distances import Distance, Floats
from siren_ext.attribution.source_config import SourceConfig
from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.errors import ConfigError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Named, Progress
from siren_ext.suspects.base import (
    Metered,
    Mimicry,
    Missed,
    PromptPlan,
    Redraw,
    Suspect,
    generate_images,
)
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.local import LocalSuspect
from siren_ext.suspects.redraw import redrawer
from siren_ext.suspects.responses import BadAnswer, Refused

Query = Literal["img2img", "t2i", "pool"]
WORDS = {
    "img2img": "redraw each key image with its caption",
    "t2i": "make pictures from the captions alone",
    "pool": "compare each key image with all pictures, whatever their prompts",
}
"""What a model was asked to do, in words."""

_BLOCK = 8  # sides of pictures that are sent must be multiples of this
_KEYS_AT_ONCE = 16


@dataclass(frozen=True)
class KeySample:
    """A caption and an image on which the source shows behaviour of its own.

    Attributes
    ----------
    path : Path
        The image.
    caption : str
        Its caption.
    name : str
        What reports call it.
    distance : float
        Of the source's answer; NaN if it was not measured.
    base_distance : float
        Of the public base model's answer; NaN if it was not measured.
    """

    path: Path
    caption: str
    name: str
    distance: float = float("nan")
    base_distance: float = float("nan")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return sha256_file(self.path)

    def view(self, size: int) -> Tensor:
        """The image as training programs see it, 1 x 3 x size x size in [0,1]."""
        return picture_view(self.path, size)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model made of N key samples.

    Attributes
    ----------
    distances : array, shape (N, r)
        Of each answer from its key image; NaN where there was none.
    files : tuple of tuple of Path
        The answers to each key sample; for ``pool`` the nearest picture.
    requests : int
        Pictures that were asked for.
    """

    distances: Floats
    files: tuple[tuple[Path, ...], ...]
    requests: int

    @property
    def nearest(self) -> Floats:
        """Distance of the nearest answer to each key sample; NaN if there was none."""
        return nearest_of(self.distances)

    @property
    def answered(self) -> bool:
        """Whether the model answered any key sample."""
        return not np.isnan(self.distances).all()

    @property
    def missed(self) -> int:
        """Answers that the model did not give."""
        return int(np.isnan(self.distances).sum())


def nearest_of(distances: Floats) -> Floats:
    """The smallest distance of each row, N x r to N; NaN for a row without any."""
    filled = np.where(np.isnan(distances), np.inf, distances).min(axis=1)
    return np.where(np.isinf(filled), np.nan, filled)


def picture_view(path: Path, size: int) -> Tensor:
    """A picture file as training programs see it, 1 x 3 x size x size in [0,1].

    Raises
    ------
    ImageError
        If it can't be read.
    """
    return crop_view(to_tensor(read_picture(path).rgb), size)


def _release(model: Suspect | Redrawing) -> None:
    """Free a model of this machine: only one of many has to be in memory."""
    if isinstance(model, LocalSuspect | Redrawing):
        model.release()


def common_query(models: Mapping[str, Suspect], config: SourceConfig) -> tuple[Query, str]:
    """The way in which all models can be asked.

    Distances of different ways can't be compared, so that the least able model decides.

    Parameters
    ----------
    models : mapping of str to Suspect
        Models by what reports call them.
    config : SourceConfig
        Gives the way that is wanted.

    Returns
    -------
    query, note : str
        The way, and a sentence that says why it is not the one wanted, or "".
    """
    for name, model in models.items():
        if isinstance(model, FolderSuspect):
            note = (
                f"Of the {name} only pictures are at hand, so each key image is compared with all "
                "pictures of a model, whatever their prompts. This is weak evidence: the pictures "
                "may have been made with quite other prompts."
            )
            return "pool", note
    if config.query == "img2img":
        for name, model in models.items():
            able, why = redrawer(model)
            if able is None:
                note = (
                    f"The {name} can't redraw pictures: {why} So all models were asked by captions "
                    "alone (t2i)."
                )
                return "t2i", note
    return config.query, ""


class Redrawing:
    """A suspect that redraws key images instead of making pictures from prompts alone.

    Picture i of a plan is key image i, the first one following after the last.

    Parameters
    ----------
    model : Suspect
        A model that can redraw, see :func:`siren_ext.suspects.redraw.redrawer`.
    keys : sequence of KeySample
        The key samples.
    size : int
        Side in pixels at which they are sent.
    strength : float
        0 to 1.

    Raises
    ------
    ConfigError
        If it can't redraw.
    """

    def __init__(
        self, model: Suspect, keys: Sequence[KeySample], size: int, strength: float
    ) -> None:
        self._model, self._keys, self._strength = model, keys, strength
        self._size = max(_BLOCK, size // _BLOCK * _BLOCK)
        if isinstance(model, Metered):
            self.usage = model.usage

    def release(self) -> None:
        """Free the memory of the model."""
        _release(self._model)

    def describe(self) -> dict[str, Any]:
        """The model's record, with what is redrawn."""
        return {
            **self._model.describe(),
            "redrawn": [key.digest for key in self._keys],
            "strength": self._strength,
            "size": self._size,
        }

    def generate(
        self, plan: PromptPlan, *, indices: Sequence[int] | None = None, progress: Progress = NULL
    ) -> Iterator[Mimicry | Missed]:
        """Redraw key images; see :class:`siren_ext.suspects.base.Suspect`."""
        redraw = self._redraw(progress)
        for index in sorted(range(plan.count) if indices is None else set(indices)):
            view = self._keys[index % len(self._keys)].view(self._size)[0]
            try:
                made = redraw(view, plan, index, self._strength)
            except (BadAnswer, Refused) as error:
                yield Missed(index, str(error))
            else:
                yield Mimicry(made, index, plan.prompt(index), plan.seed + index)
            progress.advance()

    def _redraw(self, progress: Progress) -> Redraw:
        found, why = redrawer(self._model, progress=progress)
        if found is None:
            raise ConfigError(f"Key images can't be redrawn: {why} Use query = 't2i'.")
        return found


@dataclass(frozen=True, eq=False)
class Asking:
    """How all models of one question are asked and measured.

    Attributes
    ----------
    config : SourceConfig
        The settings.
    query : {"img2img", "t2i", "pool"}
        The way, see :func:`common_query`.
    distance : Distance
        Measures answers.
    size : int
        Side in pixels at which pictures are compared.
    cache : Path
        Folder for answers.
    pool : int
        For ``pool``, pictures of each model that are compared; 0 for all.
    progress : Progress
        Receives every step; may cancel.
    """

    config: SourceConfig
    query: Query
    distance: Distance
    size: int
    cache: Path
    pool: int = 0
    progress: Progress = NULL

    def answers(self, name: str, model: Suspect, keys: Sequence[KeySample]) -> Answers:
        """Ask a model for key samples, and measure.

        Parameters
        ----------
        name : str
            What progress calls the model.
        model : Suspect
            The model.
        keys : sequence of KeySample
            At least one.

        Returns
        -------
        Answers
            The same for the same model, key samples and settings.

        Raises
        ------
        ConfigError, SuspectError, ModelError, ImageError
            If the model can't be used, or a picture not be read.
        Cancelled
            If the user stopped; finished pictures are kept.
        """
        captions = tuple(key.caption for key in keys)
        if self.query == "pool":
            return self._pooled(self._pool_of(name, model, captions), keys)
        repeats = self.config.repeats if self.query == "img2img" else self.config.pictures
        asked: Suspect = model
        if self.query == "img2img":
            asked = Redrawing(model, keys, self.size, self.config.strength)
        made = self.pictures(name, asked, captions, repeats)
        files = tuple(tuple(made[place :: len(keys)]) for place in range(len(keys)))
        table = np.full((len(keys), repeats), np.nan)
        for row, (key, own) in enumerate(zip(keys, files, strict=True)):
            there = {number: file for number, file in enumerate(own) if file is not None}
            if there:
                table[row, list(there)] = self._measured(key, list(there.values()))
        known = tuple(tuple(file for file in own if file is not None) for own in files)
        return Answers(table, known, len(keys) * repeats)

    def pictures(
        self, name: str, model: Suspect, captions: Sequence[str], each: int
    ) -> list[Path | None]:
        """Pictures of captions, the captions in turn; None where the model gave none.

        Parameters
        ----------
        name : str
            What progress calls the model.
        model : Suspect
            The model.
        captions : sequence of str
            At least one.
        each : int
            Pictures of each.
        """
        plan = PromptPlan(
            prompts=tuple(captions),
            count=len(captions) * each,
            seed=self.config.seed,
            steps=self.config.steps,
            guidance=self.config.guidance,
        )
        known = json.dumps([model.describe(), plan.to_dict()], sort_keys=True)
        folder = self.cache / hashlib.sha256(known.encode()).hexdigest()[:16]
        found = set(generate_images(model, plan, folder, progress=Named(self.progress, name)))
        _release(model)
        paths = [folder / f"{number:05d}.png" for number in range(plan.count)]
        return [path if path in found else None for path in paths]

    def _pool_of(self, name: str, model: Suspect, captions: Sequence[str]) -> list[Path]:
        """All pictures of a model that are compared with every key image."""
        if isinstance(model, FolderSuspect):
            found = model.paths()
        else:
            each = self.config.pictures
            if self.pool:  # more would not be compared
                each = min(each, -(-self.pool // len(captions)))
            made = self.pictures(name, model, captions, each)
            found = [path for path in made if path is not None]
        return found[: self.pool or len(found)]

    def _measured(self, key: KeySample, files: Sequence[Path]) -> Floats:
        views = torch.cat([picture_view(file, self.size) for file in files])
        return self.distance(key.view(self.size).expand(len(views), -1, -1, -1), views)

    def _pooled(self, files: Sequence[Path], keys: Sequence[KeySample]) -> Answers:
        """Distances of each key image from all pictures; only the nearest is kept."""
        best = np.full(len(keys), np.nan)
        nearest: list[tuple[Path, ...]] = [()] * len(keys)
        self.progress.stage("Comparing pictures", len(keys))
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            part = keys[start : start + _KEYS_AT_ONCE]
            views = torch.cat([key.view(self.size) for key in part])
            for file in files:
                one = picture_view(file, self.size).expand(len(part), -1, -1, -1)
                found = self.distance(views, one)
                for place, value in enumerate(found, start):
                    if not value >= best[place]:
                        best[place], nearest[place] = value, (file,)
            self.progress.advance(len(part))
        return Answers(best[:, None], tuple(nearest), len(files))
