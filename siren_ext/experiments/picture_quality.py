"""How good the pictures of a model are: compared with a set of images by networks.

The figures are called FID-like and the like because the networks are others, and because there are
far fewer pictures than published FID takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.baselines.similarity import BACKBONES, Embed, backbone, cosines
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments.baseline_sets import named_folder
from siren_ext.pocket.measure import compare

FIGURES = ("fid", "kid", "similarity")
BUNDLED_NETWORK = "eff0"
"""The network that is there without a folder, if the extra ``pocket`` is installed."""


def quality_networks(folders: Sequence[str] = ()) -> dict[str, Embed]:
    """The networks whose features are compared.

    Parameters
    ----------
    folders : sequence of str
        ``dino=FOLDER`` and ``clip=FOLDER``, models in the format of transformers.

    Returns
    -------
    dict of str to callable
        By name; EfficientNet-Lite0 always.

    Raises
    ------
    ConfigError
        If a text has another form or names another network, or a folder does not exist.
    MissingExtraError
        If the packages of a network are not installed.
    ModelError
        If a folder holds no such model.
    """
    named = dict(named_folder(text) for text in folders)
    expected = [name for name in BACKBONES if name != BUNDLED_NETWORK]
    if unknown := sorted(set(named) - set(expected)):
        raise ConfigError(f"There is no network {unknown[0]!r}; expected {', '.join(expected)}.")
    return {BUNDLED_NETWORK: backbone(BUNDLED_NETWORK)} | {
        name: backbone(name, folder) for name, folder in named.items()
    }


class Quality:
    """Compares pictures of models with the images of a set.

    Parameters
    ----------
    images : ImageSet
        The clean images, whatever the models were trained on.
    networks : Mapping[str, Embed]
        Of :func:`quality_networks`.
    side : int
        Pixels; pictures and images are brought to this size first, as training does, so that
        sharpness beyond a model's resolution does not count.
    """

    def __init__(self, images: ImageSet, networks: Mapping[str, Embed], side: int) -> None:
        self._images, self._networks, self._side = images, networks, side

    def _features(self, images: ImageSet) -> dict[str, NDArray[np.float64]]:
        rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in self._networks}
        for picture in images.tensors(self._side):
            for name, embed in self._networks.items():
                rows[name].append(_vector(embed, picture))
        return {name: np.stack(found) for name, found in rows.items()}

    @cached_property
    def _owned(self) -> dict[str, NDArray[np.float64]]:
        return self._features(self._images)

    def figures(self, pictures: ImageSet) -> dict[str, float]:
        """Distances and similarity by every network.

        Parameters
        ----------
        pictures : ImageSet
            Of one model, at least two.

        Returns
        -------
        dict
            ``NETWORK_fid``, from 0: Frechet distance along the images' leading 64 principal
            directions at most, larger for fewer pictures, so only equal numbers can be compared.
            ``NETWORK_kid``, 0 on average if pictures and images are distributed alike, for any
            number of pictures. ``NETWORK_similarity``, in [-1, 1]: mean cosine of all pairs of a
            picture and an image, as in DINO and CLIP scores.

        Raises
        ------
        DatasetError
            If there are fewer than two pictures or images.

        References
        ----------
        Heusel et al. (2017), arXiv 1706.08500, Eq. 6; Binkowski et al. (2018), arXiv 1801.01401,
        Eq. 4; Ruiz et al. (2022), "DreamBooth" (arXiv 2208.12242), section 4.1.
        """
        found: dict[str, float] = {}
        for name, features in self._features(pictures).items():
            owned = self._owned[name]
            distances = compare(owned.astype(np.float32), {name: features.astype(np.float32)})[name]
            values = (distances["fid_pca64"], distances["kid"], cosines(features, owned).mean())
            for figure, value in zip(FIGURES, values, strict=True):
                found[f"{name}_{figure}"] = float(value)
        return found

    def similarity(self, pictures: ImageSet) -> dict[str, float]:
        """``NETWORK_similarity`` of :meth:`figures` alone, for any number of pictures.

        Parameters
        ----------
        pictures : ImageSet
            Of one model.
        """
        return {
            f"{name}_similarity": float(cosines(features, self._owned[name]).mean())
            for name, features in self._features(pictures).items()
        }


def _vector(embed: Embed, picture: Tensor) -> NDArray[np.float64]:
    return np.asarray(embed(picture)[0], np.float64)
