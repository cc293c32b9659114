"""The corpus as a reference: its pictures, captions and cached features."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from siren_ext.errors import DatasetError
from siren_ext.files import atomic
from siren_ext.pocket.captions import CAPTIONS, read_captions
from siren_ext.pocket.fidelity import WIDTH, Eff0, Features

log = logging.getLogger(__name__)

Rows = npt.NDArray[np.int64]


class Corpus:
    """The corpus, with cached features of its pictures.

    Parameters
    ----------
    folder : Path
        Folder that :mod:`siren_ext.pocket.corpus` wrote.
    cache : Path
        Folder for the features.

    Raises
    ------
    DatasetError
        If the folder is not a readable corpus.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        rows = read_captions(folder)
        self.captions = [row.caption for row in rows]
        self.sources = [row.source for row in rows]
        try:
            self.images = np.load(folder / "images.npy", mmap_mode="r")
            text = (folder / CAPTIONS).read_bytes()
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"{folder} is not a readable corpus: {error}. Make one with: "
                "python -m siren_ext.pocket.corpus"
            ) from error
        if len(self.images) != len(rows):
            raise DatasetError(
                f"{folder} contains {len(self.images)} pictures and {len(rows)} captions; expected "
                "equal numbers. Build the corpus again."
            )
        probe = hashlib.sha256(text + np.ascontiguousarray(self.images[::500]).tobytes())
        self.cache = cache / f"corpus_eff0_{probe.hexdigest()[:16]}.npy"

    def __len__(self) -> int:
        return len(self.captions)

    def is_photo(self, row: int) -> bool:
        """Whether a picture is a photo; otherwise it is a drawing."""
        return self.sources[row] == "photo"

    def tensors(self, rows: Rows, batch: int = 32) -> Iterator[Tensor]:
        """Pictures by row, in batches of B x 3 x H x W in [0,1]."""
        for first in range(0, len(rows), batch):
            pixels = np.stack([self.images[row] for row in rows[first : first + batch]])
            yield torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255

    def features(self, rows: Rows, backbone: Eff0) -> Features:
        """Features of pictures by row; missing ones are computed and stored.

        Parameters
        ----------
        rows : int array, shape (n,)
            The pictures.
        backbone : Eff0
            Computes the features.

        Returns
        -------
        array
            n x 1280, float32.
        """
        store = np.full((len(self), WIDTH), np.nan, np.float32)
        if self.cache.exists():
            store = np.load(self.cache)
        missing = np.unique(rows[np.isnan(store[rows, 0])])
        for first in range(0, len(missing), 1000):
            part = missing[first : first + 1000]
            store[part] = backbone.many(self.tensors(part))
            with atomic(self.cache) as temporary, temporary.open("wb") as stream:
                np.save(stream, store)
            log.info("corpus features %d of %d", first + len(part), len(missing))
        picked: Features = store[rows]
        return picked
