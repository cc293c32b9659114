"""How the pictures of a model look when they are tested: likeness to the images, and change.

A rate says little without it, because a change that ruins pictures hides any coating.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from siren_ext.baselines.similarity import Embed
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.documents import read_json
from siren_ext.errors import ConfigError
from siren_ext.experiments.paper_cells import digest
from siren_ext.experiments.picture_quality import Quality
from siren_ext.files import write_json
from siren_ext.metrics.quality import psnr


@dataclass(frozen=True)
class Looks:
    """Measures how pictures look.

    Attributes
    ----------
    images : ImageSet
        The clean images, whatever the models were trained on.
    networks : Mapping[str, Embed]
        Compare pictures with them; without any, similarity is left out.
    """

    images: ImageSet
    networks: Mapping[str, Embed]

    @cached_property
    def name(self) -> str:
        """Stands for images and networks."""
        return digest(self.images.hash, *sorted(self.networks))

    def keep(self, before: Path, tested: Path, file: Path) -> None:
        """Measure pictures of one model, and keep it.

        Parameters
        ----------
        before, tested : Path
            Folders of the same pictures, as they were generated and as they are tested; the same
            folder if nothing happened to them.
        file : Path
            The JSON file to write.
        """
        pictures = ImageSet.open(tested)
        found = self.judge(pictures).similarity(pictures) if self.networks else {}
        if tested != before:
            found["psnr"] = _change(ImageSet.open(before), pictures)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, found)

    def judge(self, pictures: ImageSet) -> Quality:
        """What compares pictures of this size with the clean images.

        Parameters
        ----------
        pictures : ImageSet
            Of one model, at least one.
        """
        with Image.open(pictures.items[0].path) as first:
            side = min(first.size)
        if side not in self._judges:
            self._judges[side] = Quality(self.images, self.networks, side)
        return self._judges[side]

    @cached_property
    def _judges(self) -> dict[int, Quality]:
        """By the side of the pictures; each looks at the clean images once."""
        return {}


def kept_looks(file: Path) -> dict[str, float]:
    """What :meth:`Looks.keep` kept: ``NETWORK_similarity`` in [-1, 1] and ``psnr`` in dB.

    Parameters
    ----------
    file : Path
        The JSON file.
    """
    found = read_json(file, error=ConfigError, advice="Delete it and run the study again.")
    return {name: float(value) for name, value in found.items()}


def _change(before: ImageSet, after: ImageSet) -> float:
    """Mean PSNR in dB; of equal pictures 100, because they have no finite one."""
    changed = {item.name: item for item in after.items}
    values = []
    for item in before.items:
        pair = [to_tensor(read_picture(one.path).rgb) for one in (item, changed[item.name])]
        values.append(min(100.0, float(psnr(*pair))))
    return float(np.mean(values))
