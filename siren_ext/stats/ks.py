"""Two-sample Kolmogorov-Smirnov tests with exact p-values.

Notation: F is the empirical distribution function of the n suspect scores, G that of the m
reference scores. A coated image has a *small* score, so the one-sided statistic is
D+ = sup_s (F(s) - G(s)); the paper's is D = sup_s |F(s) - G(s)| (SIREN, arXiv 2410.10437, Eq. 8).

Null hypothesis of every test here: suspect and reference scores are independent draws from the same
distribution. A small p says that this is implausible. It does not say *why* the two differ: a model
of another style, subject or setting than the reference also breaks the null.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list, level
from siren_ext.stats.ks_distribution import (
    asymptotic_critical,
    asymptotic_p,
    critical_gap,
    exact_p,
    smallest_exact_p,
    step_weights,
)
from siren_ext.stats.low_end import low_end, low_end_count
from siren_ext.stats.low_end_distribution import low_end_critical_gap, low_end_p

Method = Literal["auto", "exact", "asymptotic"]

# The largest sample for which "auto" stays exact (SciPy's rule too); above it exact p take minutes.
AUTO_EXACT_LIMIT = 10_000


@dataclass(frozen=True)
class KsResult:
    """Outcome of one two-sample test.

    Attributes
    ----------
    statistic : float
        D in [0, 1].
    p_value : float
        Chance of a D at least as large under the null. With ties this is the p of the continuous
        case, as in SciPy, which is an upper bound. Values below 1e-300 are reported as 1e-300, also
        an upper bound.
    n, m : int
        Number of suspect and of reference scores.
    location : float or None
        The score at which D is reached; None if D is 0.
    ties : int
        How many of the n + m scores repeat another one.
    smallest_p : float
        p of complete separation; no level below it can be reached with these n and m.
    alternative : {"less", "two-sided"}
        "less" means that suspect scores are smaller.
    method : {"exact", "asymptotic"}
        How ``p_value`` was calculated.
    searched : int or None
        Number of references in the low end, if ``p_value`` is the exact one of a gap sought there.
        None if ``p_value`` is the chance of a gap anywhere, which is an upper bound if the gap was
        sought in the low end only.
    """

    statistic: float
    p_value: float
    n: int
    m: int
    location: float | None
    ties: int
    smallest_p: float
    alternative: Literal["less", "two-sided"]
    method: Literal["exact", "asymptotic"]
    searched: int | None = None

    def critical(self, alpha: float) -> float:
        """The smallest D with p <= ``alpha`` for these n and m.

        Parameters
        ----------
        alpha : float
            Significance level in (0, 1).

        Returns
        -------
        float
            In (0, 1], or infinity if no D reaches ``alpha``.

        Raises
        ------
        ScoreError
            If ``alpha`` is out of range.
        """
        level(alpha)
        sides = 1 if self.alternative == "less" else 2
        if self.method == "asymptotic":
            value = asymptotic_critical(alpha, self.n, self.m, sides)
            return value if value <= 1 else math.inf
        lcm = math.lcm(self.n, self.m)
        if self.searched is None:
            gap = critical_gap(alpha, self.n, self.m, sides)
        else:
            gap = low_end_critical_gap(alpha, self.n, self.m, self.searched)
        return gap / lcm if gap <= lcm else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without ``searched`` if it is None, as reports always had them."""
        values = asdict(self)
        if self.searched is None:
            del values["searched"]
        return values


def ks_less(
    suspect: ArrayLike,
    reference: ArrayLike,
    *,
    method: Method = "auto",
    share: float = 1.0,
    bound: bool = False,
) -> KsResult:
    """One-sided test whether the suspect's scores are smaller, as a coating makes them.

    Null hypothesis: both samples come from one distribution. A small p does not show *why* the
    suspect scores lower, and p is not the probability that the model is innocent.

    Parameters
    ----------
    suspect : array_like, shape (n,)
        Coating scores of the suspect's images.
    reference : array_like, shape (m,)
        Coating scores of images of an innocent model.
    method : {"auto", "exact", "asymptotic"}
        "exact" counts lattice paths, "asymptotic" uses Hodges' Eq. 5.3, "auto" is exact up to
        10,000 scores per sample.
    share : float
        In (0, 1]. Below 1, only the low end of the reference is searched for D; see
        :func:`siren_ext.stats.low_end.low_end`. The exact p is then that of a gap in the low end
        (:func:`siren_ext.stats.low_end_distribution.low_end_p`), the asymptotic p that of a gap
        anywhere, which is larger.
    bound : bool
        Take the p of a gap anywhere for the exact p too. It is an upper bound, and what reports
        state that were written before the exact p was known.

    Raises
    ------
    ScoreError
        If scores are empty or not finite, or a setting is out of range.

    Notes
    -----
    Equal to ``scipy.stats.ks_2samp(suspect, reference, alternative="greater")``: SciPy's
    "greater" means that the first distribution function lies above the second.

    References
    ----------
    Hodges (1958), "The significance probability of the Smirnov two-sample test", Ark. Mat. 3.
    """
    return _test(suspect, reference, sides=1, method=method, share=share, bound=bound)


def ks_two_sided(suspect: ArrayLike, reference: ArrayLike, *, method: Method = "auto") -> KsResult:
    """The paper's two-sided test, D = sup |F - G|.

    Null hypothesis as in :func:`ks_less`. Here *larger* scores count as evidence too. A coating
    cannot cause those, so a small p alone does not point to a coating.

    Parameters
    ----------
    suspect : array_like, shape (n,)
        Coating scores of the suspect's images.
    reference : array_like, shape (m,)
        Coating scores of images of an innocent model.
    method : {"auto", "exact", "asymptotic"}
        As in :func:`ks_less`.

    Raises
    ------
    ScoreError
        If scores are empty or not finite, or ``method`` is unknown.

    Notes
    -----
    Equal to ``scipy.stats.ks_2samp`` with ``alternative="two-sided"``.

    References
    ----------
    SIREN (arXiv 2410.10437), Eq. 8.
    """
    return _test(suspect, reference, sides=2, method=method)


def _test(
    suspect: ArrayLike,
    reference: ArrayLike,
    *,
    sides: int,
    method: Method,
    share: float = 1.0,
    bound: bool = False,
) -> KsResult:
    """The test behind both public functions."""
    if method not in ("auto", "exact", "asymptotic"):
        raise ScoreError(f"method is {method!r}; expected 'auto', 'exact' or 'asymptotic'.")
    first, second = (
        np.sort(finite_list(suspect, "suspect scores")),
        np.sort(finite_list(reference, "reference scores")),
    )
    n, m = len(first), len(second)
    # counted before low_end, which makes scores equal that are not
    ties = n + m - len(np.unique(np.concatenate([first, second])))
    if share != 1:
        first, second = low_end(first, second, share)
    a, b = step_weights(n, m)
    points = np.concatenate([first, second])
    points.sort()
    gap = a * np.searchsorted(first, points, side="right").astype(np.int64)
    gap -= b * np.searchsorted(second, points, side="right").astype(np.int64)
    if sides == 2:
        gap = np.abs(gap)
    best = int(np.argmax(gap))
    h = max(int(gap[best]), 0)
    exact = method == "exact" or (method == "auto" and max(n, m) <= AUTO_EXACT_LIMIT)
    lcm = math.lcm(n, m)
    searched = low_end_count(m, share) if share != 1 and exact and not bound else None
    if searched is not None:
        p = low_end_p(h, n, m, searched)
    elif exact:
        p = float(exact_p(np.array([h]), n, m, sides)[0])
    else:
        p = asymptotic_p(h / lcm, n, m, sides)
    return KsResult(
        statistic=h / lcm,
        p_value=p,
        n=n,
        m=m,
        location=float(points[best]) if h > 0 else None,
        ties=ties,
        smallest_p=smallest_exact_p(n, m, sides) if exact else asymptotic_p(1.0, n, m, sides),
        alternative="less" if sides == 1 else "two-sided",
        method="exact" if exact else "asymptotic",
        searched=searched,
    )
