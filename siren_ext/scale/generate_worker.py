"""A worker that holds a diffusion model and generates pictures of a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.errors import ModelError
from siren_ext.files import sha256_file
from siren_ext.scale.places import Place
from siren_ext.scale.worker import Outcome, Setup
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.local import LocalSuspect, WeightedAdapter
from siren_ext.suspects.provenance import PictureRecord


@dataclass(frozen=True)
class GenerateSetup(Setup):
    """What such a worker needs.

    Attributes
    ----------
    model : str
        ``pocket``, or the absolute path of a folder or file.
    adapters : tuple[WeightedAdapter, ...]
        With absolute paths.
    allow_partial : bool
        Load the parts of an adapter that fit.
    dtype : str
        Number format, such as ``float32``.
    batch_size : int
        Pictures per batch.
    plan : PromptPlan
        The pictures.
    target : str
        URL or folder of the pictures.
    described : dict[str, Any]
        What the model and its adapters must be, as
        :meth:`~siren_ext.suspects.local.LocalSuspect.describe` says it.
    """

    model: str
    adapters: tuple[WeightedAdapter, ...]
    allow_partial: bool
    dtype: str
    batch_size: int
    plan: PromptPlan
    target: str
    described: dict[str, Any] = field(hash=False)

    def open(self) -> GenerateWorker:
        """The worker, in its process."""
        return GenerateWorker(self)


class GenerateWorker:
    """Holds a model and generates.

    Parameters
    ----------
    setup : GenerateSetup
        What it needs.

    Raises
    ------
    ModelError
        The model or an adapter is not the expected one, or can't be read.
    ConfigError, AdapterError, DatasetError
        The device, an adapter or the place can't be used.
    """

    def __init__(self, setup: GenerateSetup) -> None:
        torch.set_num_threads(setup.threads)
        self._plan, self._place = setup.plan, Place(setup.target)
        self._suspect = LocalSuspect(
            setup.model,
            setup.adapters,
            allow_partial=setup.allow_partial,
            device=setup.device,
            dtype=getattr(torch, setup.dtype),
            batch_size=setup.batch_size,
        )
        if self._suspect.describe() != setup.described:
            raise ModelError(
                f"{Path(setup.model).name} or an adapter is not the same as when the run began; "
                "expected the same files on all machines. Run the command again."
            )

    def work(self, indices: Sequence[int]) -> Iterator[tuple[int, Outcome]]:
        """Generate pictures; each is written before it is yielded.

        Parameters
        ----------
        indices : Sequence[int]
            Their numbers in the plan.

        Yields
        ------
        tuple[int, PictureRecord]
            Which of them, and what the record says about it.
        """
        numbers = {index: number for number, index in enumerate(indices)}
        for made in self._suspect.generate(self._plan, indices=indices):
            with self._place.writing(picture_name(made.index)) as path:
                write_picture(Picture(to_uint8(made.image)), path)
                digest = sha256_file(path)
            yield numbers[made.index], PictureRecord(made.prompt, made.seed, digest)


def picture_name(index: int) -> str:
    """The file name of a picture.

    Parameters
    ----------
    index : int
        Its number in the plan.
    """
    return f"{index:05d}.png"
