"""The paper's study: the Kolmogorov-Smirnov test repeated on thousands of random subsets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list
from siren_ext.stats.draw import draw_subsets
from siren_ext.stats.ks_distribution import exact_p, step_weights
from siren_ext.stats.low_end import low_end_count
from siren_ext.stats.low_end_distribution import low_end_p

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CELLS = 1 << 22  # entries of a block of subsets

PAPER_ALPHAS: tuple[float, ...] = tuple(
    float(f"{digit}e-{power}")
    for power in range(1, 21)
    for digit in ((1,) if power == 1 else (5, 1))
)
"""The significance levels of the paper's curves: 1e-1, 5e-2, 1e-2 ... 5e-20, 1e-20."""


@dataclass(frozen=True)
class ResampleResult:
    """p-values of many tests on random subsets.

    Attributes
    ----------
    p_values : array, shape (repeats,)
        Exact p of each test.
    size, reference_size : int
        Number of suspect and of reference scores in each test.
    redrawn : bool
        Whether every test had its own reference subset.
    """

    p_values: Floats
    size: int
    reference_size: int
    redrawn: bool

    def tpr(self, alphas: ArrayLike = PAPER_ALPHAS) -> Floats:
        """Share of the tests with p <= alpha.

        On a guilty suspect this estimates the detection rate, on an innocent one the rate of false
        accusation. The subsets overlap, so the spread over subsets is smaller than the spread over
        newly generated images or newly trained models.

        Parameters
        ----------
        alphas : array_like
            Significance levels.

        Returns
        -------
        array
            Shares in [0, 1], in the shape of ``alphas``.
        """
        levels = np.asarray(alphas, dtype=np.float64)
        ordered = np.sort(self.p_values)
        return np.asarray(np.searchsorted(ordered, levels, side="right") / len(ordered))


def resampled_ks(
    suspect: ArrayLike,
    reference: ArrayLike,
    *,
    size: int = 30,
    repeats: int = 10_000,
    reference_size: int | None = None,
    redraw_reference: bool = True,
    two_sided: bool = False,
    share: float = 1.0,
    rng: np.random.Generator,
) -> ResampleResult:
    """Test many random subsets of the suspect scores, all at once.

    Null hypothesis and limits are those of :func:`siren_ext.stats.ks.ks_less`; the p of every test
    equals that of ``ks_less`` (or ``ks_two_sided``) on the same subset. Subsets are drawn *without*
    replacement, because repeated scores would be counted as independent evidence.

    Parameters
    ----------
    suspect : array_like
        Coating scores of the suspect's images.
    reference : array_like
        Coating scores of images of an innocent model.
    size : int
        Suspect scores per test.
    repeats : int
        Number of tests.
    reference_size : int or None
        Reference scores per test; None takes 300, or all if there are fewer.
    redraw_reference : bool
        Draw a new reference subset for every test, so that the spread includes the reference's
        own. False draws one subset and keeps it, as the published code does.
    two_sided : bool
        Use the paper's two-sided statistic.
    share : float
        In (0, 1]. Below 1, only the low end of each test's reference scores is searched for D; see
        :func:`siren_ext.stats.low_end.low_end`. For the one-sided test only.
    rng : numpy.random.Generator
        Draws the subsets.

    Raises
    ------
    ScoreError
        If a pool is smaller than its subset, scores are empty or not finite, a setting is out of
        range, or a share below 1 is combined with the two-sided test.

    References
    ----------
    SIREN (arXiv 2410.10437) tests 30 images at a time; its published code repeats the test 10,000
    times against one fixed draw of 300 reference scores.
    """
    suspects = np.sort(finite_list(suspect, "suspect scores"))
    references = np.sort(finite_list(reference, "reference scores"))
    _require_one_sided(share, two_sided)
    total = len(references)
    m = min(300, total) if reference_size is None else reference_size
    _require_enough("suspect", size, len(suspects))
    _require_enough("reference", m, total)
    if repeats < 1:
        raise ScoreError(f"repeats is {repeats}; expected at least 1.")
    if m < total and not redraw_reference:
        references = references[draw_subsets(1, total, m, rng)[0]]
    sides = 2 if two_sided else 1
    searched = low_end_count(m, share)
    gaps = np.empty(repeats, dtype=np.int64)
    rows = max(1, _CELLS // (len(suspects) + len(references)))
    for start in range(0, repeats, rows):
        count = min(rows, repeats - start)
        gaps[start : start + count] = _gaps(
            suspects, references, size, m, count, sides, searched, rng
        )
    if share == 1:
        p_values = exact_p(gaps, size, m, sides)
    else:
        p_values = _low_end_p_values(gaps, size, m, searched)
    return ResampleResult(p_values, size, m, redraw_reference and m < total)


def _require_one_sided(share: float, two_sided: bool) -> None:
    if two_sided and share != 1:
        raise ScoreError(
            f"The two-sided test was requested for a low end's share of {share}, but it searches "
            "all scores; use a share of 1."
        )


def _require_enough(name: str, want: int, have: int) -> None:
    if not 1 <= want <= have:
        raise ScoreError(
            f"Subsets of {want} {name} scores were requested, but there are only {have}; choose a "
            f"size from 1 to {have}, or generate more images."
        )


def _low_end_p_values(
    gaps: NDArray[np.int64], size: int, reference_size: int, searched: int
) -> NDArray[np.float64]:
    """Exact p of gaps among the low scores; each different gap is computed once."""
    distinct, inverse = np.unique(gaps, return_inverse=True)
    found = [low_end_p(int(gap), size, reference_size, searched) for gap in distinct]
    return np.asarray(np.array(found)[inverse], dtype=np.float64)


def _gaps(
    suspects: Floats,
    references: Floats,
    n: int,
    m: int,
    count: int,
    sides: int,
    searched: int,
    rng: np.random.Generator,
) -> Ints:
    """D of ``count`` random subsets in units of 1 / lcm(n, m); both pools are sorted."""
    a, b = step_weights(n, m)
    ranks = a * np.arange(1, n + 1, dtype=np.int64)
    picked = np.nonzero(draw_subsets(count, len(suspects), n, rng))[1].reshape(count, n)
    # Number of reference scores at or below, and strictly below, each suspect score. The scores are
    # not used in any other way.
    upper = np.searchsorted(references, suspects, side="right")[picked]
    lower = np.searchsorted(references, suspects, side="left")[picked]
    if m < len(references):
        kept = np.zeros((count, len(references) + 1), dtype=np.int64)
        np.cumsum(draw_subsets(count, len(references), m, rng), axis=1, out=kept[:, 1:])
        upper = np.take_along_axis(kept, upper, axis=1)
        lower = np.take_along_axis(kept, lower, axis=1) if sides == 2 else upper
    # In a run of tied suspects only the last one sees the full F (the first one the full F-) and
    # the others give less, so the maximum is right without special treatment of ties.
    # A suspect is below the low end's ceiling, the reference number ``searched``, if fewer than
    # that many references are at or below the suspect.
    gap = np.where(upper < searched, ranks - b * upper, 0).max(axis=1)
    if sides == 2:
        gap = np.maximum(gap, (b * lower - ranks + a).max(axis=1))
    least: NDArray[np.int64] = np.maximum(gap, 0)
    return least
