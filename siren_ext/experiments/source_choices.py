"""How should a model be asked for key samples? Ways of asking are compared on a few models.

Some infringing models (rho = 100 %) and some innocent ones are asked about a source. They are
not reported on otherwise. A way is good if the answers of the infringing models are nearer
to the key images than those of the innocent ones, for every key sample alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.attribution.confidence import choose_delta, confidence
from siren_ext.attribution.distances import Distance, distance_named
from siren_ext.attribution.key_queries import Answers, Asking, Query, nearest_of
from siren_ext.attribution.key_samples import image_candidates
from siren_ext.attribution.source_config import DistanceName, SourceConfig
from siren_ext.errors import MissingExtraError
from siren_ext.experiments.source_models import SourceModels
from siren_ext.passive.cross_validation import auc_of

Floats = NDArray[np.float64]
Row = dict[str, Any]

STRENGTHS = (0.5, 0.75, 1.0)
"""Of redrawing; 1 makes pictures from captions alone."""
DISTANCES: tuple[DistanceName, ...] = ("l2", "l2_tiled", "pocket", "eff0")
REPEATS = (1, 2)
KINDS = ("rho100", "innocent")
_DRAWS = 1000
_TAILS = (2.5, 97.5)


def choice_rows(models: SourceModels, config: SourceConfig, asking: Asking) -> list[Row]:
    """A row for each strength, distance and number of answers.

    Parameters
    ----------
    models : SourceModels
        The source, and models of the trial.
    config : SourceConfig
        Gives the number of key samples, steps and guidance.
    asking : Asking
        Gives the folder of answers and the side of pictures.

    Returns
    -------
    list of dict
        ``auc`` with its interval over key samples, and Youden's J with its threshold.
    """
    distances = _available(config)
    keys = image_candidates(models.own, len(models.own), config.seed)
    rows = []
    for strength in STRENGTHS:
        way = replace(config, strength=strength, repeats=max(REPEATS), pictures=max(REPEATS))
        query: Query = "t2i" if strength == 1 else "img2img"
        found: dict[str, dict[str, Answers]] = {}
        asked = {"source": models.source} | {name: models.model(name) for name in models.shares}
        for name, model in asked.items():
            for label, distance in distances.items():
                how = replace(asking, config=way, query=query, distance=distance)
                found.setdefault(label, {})[name] = how.answers(name, model, keys)
        for label, answers in found.items():
            tables = {name: one.distances for name, one in answers.items()}
            for repeats in REPEATS:
                row = {"strength": strength, "distance": label, "repeats": repeats}
                rows.append(row | separation(tables, repeats, config.keys, config.band))
    return rows


def separation(tables: Mapping[str, Floats], repeats: int, keys: int, band: float) -> Row:
    """How far the infringing models of a trial are from the innocent ones.

    Parameters
    ----------
    tables : mapping of str to array of shape (N, r)
        Distances of all answers of ``source`` and of models with one of ``KINDS`` in their names.
    repeats : int
        Answers that are used, at most r.
    keys : int
        Key samples that are used: those with the nearest answers of the source.
    band : float
        Step of the thresholds.

    Returns
    -------
    dict
        ``auc``, the share of pairs of an infringing and an innocent model with the same key sample
        in which the infringing one is nearer, with ``low`` and ``high`` of a 95 % bootstrap
        interval over key samples; ``youden`` and ``delta``; and ``gap``, by how much the smallest
        conf of an infringing model is above the largest of an innocent one.
    """
    near = {name: nearest_of(table[:, :repeats]) for name, table in tables.items()}
    chosen = np.argsort(near["source"], kind="stable")[:keys]
    known, innocent = (
        np.stack([row[chosen] for name, row in near.items() if kind in name]) for kind in KINDS
    )
    wins = (known[:, None] < innocent[None]) + 0.5 * (known[:, None] == innocent[None])
    by_key = wins.mean((0, 1))
    rng = np.random.default_rng(47)
    drawn = by_key[rng.integers(len(by_key), size=(_DRAWS, len(by_key)))].mean(1)
    low, high = np.percentile(drawn, _TAILS)
    choice = choose_delta(list(known), list(innocent), band)
    least = min(confidence(row, choice.delta) for row in known)
    most = max(confidence(row, choice.delta) for row in innocent)
    figures = {
        "auc": by_key.mean(),
        "low": low,
        "high": high,
        "pooled_auc": auc_of(-known.ravel(), -innocent.ravel()),
        "youden": choice.youden,
        "delta": choice.delta,
        "gap": least - most,
    }
    return {name: round(float(value), 4) for name, value in figures.items()}


def _available(config: SourceConfig) -> dict[str, Distance]:
    """The distances whose weights are installed."""
    found: dict[str, Distance] = {}
    for name in DISTANCES:
        try:
            found[name] = distance_named(replace(config, distance=name))
        except MissingExtraError:
            continue
    return found
