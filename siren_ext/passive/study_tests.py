"""The tests of the CDI study as published, which reject too many innocent models.

They are here to repeat the study and to measure by how much they are wrong; no verdict uses them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siren_ext.errors import ScoreError
from siren_ext.passive.cross_validation import cross_scored, folds, outcome, welch
from siren_ext.passive.set_config import FEWEST, SetComparison, SetTestConfig
from siren_ext.progress import Progress

Floats = NDArray[np.float64]


def as_published(
    first: Floats, second: Floats, config: SetTestConfig, progress: Progress
) -> SetComparison:
    """The modes ``official`` and ``paper`` of :func:`compare_sets`.

    Parameters
    ----------
    first, second : array, shape (n, d)
        Features of published and unpublished images.
    config : SetTestConfig
        Settings.
    progress : Progress
        One unit per draw.

    Returns
    -------
    SetComparison
        The result.

    Raises
    ------
    ScoreError
        If a draw would have fewer than 10 images, or more than there are.
    Cancelled
        If the user stopped.

    Notes
    -----
    The folds are those of scikit-learn's KFold(shuffle=True, random_state=0), as in the study.
    """
    size = config.subset or len(first)
    if not FEWEST <= size <= len(first):
        raise ScoreError(
            f"Draws of {size} images were requested; expected {FEWEST} to {len(first)}, the size "
            "of the sets."
        )
    draws = config.draws if size < len(first) else 1
    order = np.arange(size)
    np.random.RandomState(0).shuffle(order)
    parts = folds(order, config.folds)
    truth = np.repeat([1.0, -1.0], size)[None]
    sums, counts = np.zeros((2, len(first))), np.zeros((2, len(first)))
    found = []
    progress.stage("Drawing subsets", draws)
    for draw in range(draws):
        rng = np.random.default_rng((config.seed, 3, draw))
        whole = size == len(first)
        rows = [
            np.arange(size) if whole else rng.choice(len(first), size, replace=False)
            for _ in range(2)
        ]
        table = np.concatenate([first[rows[0]], second[rows[1]]])
        given = cross_scored(table, truth, parts, config)[0].reshape(2, -1)
        for side in (0, 1):
            sums[side, rows[side]] += given[side]
            counts[side, rows[side]] += 1
        t, p = welch(given[0], given[1])
        two_sided = 2 * min(float(p), 1 - float(p))
        found.append((float(t), two_sided if config.mode == "official" else float(p)))
        progress.advance(1)
    t_mean, p_mean = np.array(found).mean(axis=0)
    with np.errstate(invalid="ignore"):
        means = sums / counts
    return outcome(
        config,
        p_value=float(p_mean),
        smallest_p=0.0,
        statistic=float(t_mean),
        scored=(means[0], means[1]),
        shape=(size, first.shape[1]),
        repeats=draws,
    )
