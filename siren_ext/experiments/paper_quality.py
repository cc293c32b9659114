"""Quality of the pictures of models trained on coated images, beside those of clean training.

The figures are called FID-like and the like because the network is another one, and because there
are far fewer pictures than published FID takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from siren_ext.baselines.similarity import BACKBONES, Embed, backbone, cosines
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments.baseline_sets import named_folder
from siren_ext.experiments.pages import table
from siren_ext.experiments.paper_cells import Cell
from siren_ext.experiments.paper_study import PaperStudy, Row
from siren_ext.pocket.measure import compare

FIGURES = ("fid", "kid", "similarity")
HEAD = (
    "row", "network", "FID-like, coated", "FID-like, clean", "KID-like, coated", "KID-like, clean",
    "similarity, coated", "similarity, clean", "models",
)  # fmt: skip
_BUNDLED = "eff0"


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
    expected = [name for name in BACKBONES if name != _BUNDLED]
    if unknown := sorted(set(named) - set(expected)):
        raise ConfigError(f"There is no network {unknown[0]!r}; expected {', '.join(expected)}.")
    return {_BUNDLED: backbone(_BUNDLED)} | {
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

    def figures(self, pictures: ImageSet) -> Row:
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
        found: Row = {}
        for name, features in self._features(pictures).items():
            owned = self._owned[name]
            distances = compare(owned.astype(np.float32), {name: features.astype(np.float32)})[name]
            values = (distances["fid_pca64"], distances["kid"], cosines(features, owned).mean())
            for figure, value in zip(FIGURES, values, strict=True):
                found[f"{name}_{figure}"] = float(value)
        return found


def _vector(embed: Embed, picture: Tensor) -> NDArray[np.float64]:
    return np.asarray(embed(picture)[0], np.float64)


def quality_rows(
    study: PaperStudy, table: str, cell: Cell, networks: Mapping[str, Embed]
) -> list[Row]:
    """The figures of a row, one for each guilty and innocent model.

    Parameters
    ----------
    study : PaperStudy
        Makes models and pictures, unless they exist.
    table : str
        Name of the table.
    cell : Cell
        The row.
    networks : Mapping[str, Embed]
        Of :func:`quality_networks`.

    Returns
    -------
    list of dict
        With the figures of :meth:`Quality.figures`.

    Raises
    ------
    Cancelled
        If the user stopped; the same call resumes.
    """
    judge: Quality | None = None
    found = []
    models = [(role, n) for role in ("guilty", "innocent") for n in range(study.config.count(role))]
    for role, number in models:
        pictures = ImageSet.open(study.pictures(role, number, cell))
        if judge is None:
            with Image.open(pictures.items[0].path) as first:
                judge = Quality(study.data, networks, min(first.size))
        row = study.known(role, number, table, cell) | judge.figures(pictures)
        found.append(row | {"pictures": len(pictures)})
    return found


def quality_table(cells: Sequence[Cell], rows: Sequence[Mapping[str, Any]], missing: str) -> str:
    """The table of the page: a line per row and network.

    Parameters
    ----------
    cells : sequence of Cell
        The rows that there may be.
    rows : sequence of dict
        Of :func:`quality_rows`, or read from the CSV table.
    missing : str
        Stands in rows that are not measured.

    Returns
    -------
    str
        Markdown; the mean over models, and the lowest and highest if there are several.
    """
    lines = []
    for cell in cells:
        own = [row for row in rows if row["row"] == cell.row]
        known = [name for name in BACKBONES if own and _given(own, f"{name}_fid")]
        if not known:
            lines.append([cell.row, missing, *[""] * (len(HEAD) - 2)])
        for name in known:
            cells_of = [
                _span(_given([row for row in own if row["role"] == role], f"{name}_{figure}"))
                for figure, role in product(FIGURES, ("guilty", "innocent"))
            ]
            count = sum(row["role"] == "guilty" for row in own)
            lines.append([cell.row, name, *cells_of, str(count)])
    return table(HEAD, lines)


def _given(rows: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    """The values of a column, where there are any."""
    return [float(row[name]) for row in rows if row.get(name) not in ("", None)]


def _span(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = f"{float(np.mean(values)):.3g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3g} to {max(values):.3g})"
