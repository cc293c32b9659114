"""Can coated images be told from clean ones before training, by features of a network?

Somebody who trains on other people's images could leave out those that look unusual beside clean
ones of the same kind. The images are dealt to five parts. Those of a part, clean and coated, are
compared with the clean images of the other parts: an image's score is the sum of the two smallest
squared distances to their features. This is the last step of PANDA (Reiss et al. 2021, arXiv
2010.05903, section 5.7 of SIREN's paper) without adapting the network first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.attribution.distances import embedding
from siren_ext.attribution.source_config import DistanceName, SourceConfig
from siren_ext.cli.common import command, say, watched
from siren_ext.errors import ConfigError, MissingExtraError
from siren_ext.experiments.options import StudyCoater, StudyImages
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.study import coated_set, open_set
from siren_ext.passive.cross_validation import auc_of

Floats = NDArray[np.float64]
NETWORKS: tuple[DistanceName, ...] = ("pocket", "eff0")
PARTS = 5
_NEAREST = 2
_SIDE = 128
_RESAMPLES = 2000
_TAILS = (2.5, 97.5)
_NORMAL = 95.0  # percentile of clean images beyond which an image would be left out


def outlier_scores(known: Floats, asked: Floats, *, skip_own: bool = False) -> Floats:
    """The sum of the two smallest squared distances to known features.

    Parameters
    ----------
    known : array, shape (n, d)
        Features of clean images, at least two.
    asked : array, shape (m, d)
        Features of the images that are judged.
    skip_own : bool
        Whether ``asked`` is ``known``, so that an image is not compared with itself.

    Returns
    -------
    array, shape (m,)
        Large for unusual images.
    """
    squares = np.square(asked[:, None, :] - known[None]).sum(2)
    if skip_own:
        np.fill_diagonal(squares, np.inf)
    return np.asarray(np.sort(squares, axis=1)[:, :_NEAREST].sum(1))


def figures(clean: Floats, coated: Floats, *, seed: int = 0) -> dict[str, float]:
    """How well coated images are told from clean ones.

    Parameters
    ----------
    clean, coated : array, shape (n, d)
        Features of the same images before and after.
    seed : int
        Of the parts and the intervals.

    Returns
    -------
    dict
        ``auc`` with its 95 % interval ``low`` and ``high`` over images, 0.5 for chance;
        ``left_out``, the share of coated images beyond 95 % of the clean images of the other parts,
        and ``left_out_clean``, that of clean ones.
    """
    rng = np.random.default_rng((seed, 17))
    part = rng.permutation(len(clean)) % PARTS
    scores = np.zeros((2, len(clean)))
    beyond = np.zeros((2, len(clean)), bool)
    for one in range(PARTS):
        known, judged = clean[part != one], part == one
        limit = np.percentile(outlier_scores(known, known, skip_own=True), _NORMAL)
        for place, features in enumerate((clean, coated)):
            found = outlier_scores(known, features[judged])
            # distances depend on how many images are known, so parts are compared by the limit
            scores[place, judged] = found / limit
            beyond[place, judged] = found > limit
    drawn = rng.integers(0, len(clean), (_RESAMPLES, len(clean)))
    areas = [auc_of(scores[1, rows], scores[0, rows]) for rows in drawn]
    low, high = np.percentile(areas, _TAILS)
    return {
        "auc": auc_of(scores[1], scores[0]),
        "low": float(low),
        "high": float(high),
        "left_out": float(beyond[1].mean()),
        "left_out_clean": float(beyond[0].mean()),
    }


def features_of(images: Any, embed: Callable[[Tensor], Floats]) -> Floats:
    """Features of a set of images, n x d.

    Parameters
    ----------
    images : ImageSet
        The images.
    embed : callable
        From B x 3 x S x S in [0,1] to B x d.
    """
    return np.concatenate([np.asarray(embed(view)) for view in images.tensors(_SIDE)])


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(app, "outliers", example="python -m siren_ext.experiments.outliers --out runs/outliers")
def outliers(
    out: Annotated[Path, typer.Option("--out", help="Folder for the coated images.")],
    data: StudyImages = "samples",
    coater: StudyCoater = "keyed",
    csv: Annotated[Path | None, typer.Option("--csv", help="Table; by default in OUT.")] = None,
) -> None:
    """Coat a set and measure whether its images can be told from the clean ones."""
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater

    images, loaded = open_set(data), Coater.load(coater_path(coater))
    if len(images) < 2 * PARTS:
        raise ConfigError(f"{data} has {len(images)} images; expected {2 * PARTS} or more.")
    with watched(False) as progress:
        marked = coated_set(images, loaded, out / "coated", progress)
    rows = []
    for name in NETWORKS:
        try:
            embed = embedding(SourceConfig(distance=name))
        except MissingExtraError as error:
            say(f"{name} is left out: {error}")
            continue
        clean, coated = (features_of(one, embed) for one in (images, marked))
        rows.append({"set": images.name, "coater": coater, "network": name, "images": len(images)})
        rows[-1] |= figures(clean, coated)
        say(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    write_rows(rows, csv or out / "outliers.csv")


if __name__ == "__main__":
    app()
