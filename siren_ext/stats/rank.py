"""The rank test: does one model stand out among innocent ones?"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from numpy.typing import ArrayLike

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list, level

Alternative = Literal["less", "greater"]


@dataclass(frozen=True)
class RankResult:
    """Outcome of a rank test.

    Attributes
    ----------
    p_value : float
        (1 + number of others at least as extreme) / (1 + number of others).
    at_least : int
        Others at least as extreme as the value. Ties count, so p is never too small.
    others : int
        Number of others.
    ties : int
        Others equal to the value.
    smallest_p : float
        1 / (1 + others); no level below it can be reached.
    alternative : {"less", "greater"}
        Which values count as extreme.
    """

    p_value: float
    at_least: int
    others: int
    ties: int
    smallest_p: float
    alternative: Alternative

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def rank_among(value: float, others: ArrayLike, *, alternative: Alternative = "less") -> RankResult:
    """Test whether one model (or message) stands out among innocent ones.

    Null hypothesis: the value and the others are exchangeable, as if the suspicious model had been
    drawn from the same population as the innocent ones. Then p <= alpha happens with probability at
    most alpha, for any statistic and any distribution.

    A small p does not prove that a coating is the cause; it says that the suspect differs from
    *this* panel. If no model of the panel has the suspect's style, base model or settings, the null
    can be false for innocent reasons.

    Parameters
    ----------
    value : float
        The suspect's statistic, for instance the mean score of its images.
    others : array_like, shape (N,)
        The same statistic of N innocent models, each from the same number of images.
    alternative : {"less", "greater"}
        "less" if a coating makes the value small, as it does scores; "greater" if large.

    Raises
    ------
    ScoreError
        If a value is missing or not finite, or ``alternative`` is unknown.

    References
    ----------
    Phipson and Smyth (2010), "Permutation p-values should never be zero", SAGMB 9(1), Eq. 2;
    Barnard (1963), discussion of Bartlett, JRSS B 25.
    """
    if alternative not in ("less", "greater"):
        raise ScoreError(f"alternative is {alternative!r}; expected 'less' or 'greater'.")
    pool = finite_list(others, "values to compare with")
    own = float(finite_list([value], "values of the suspect")[0])
    extreme = pool <= own if alternative == "less" else pool >= own
    at_least = int(extreme.sum())
    return RankResult(
        p_value=(1 + at_least) / (1 + len(pool)),
        at_least=at_least,
        others=len(pool),
        ties=int((pool == own).sum()),
        smallest_p=1 / (1 + len(pool)),
        alternative=alternative,
    )


def others_needed(alpha: float) -> int:
    """The smallest number of others with which a rank test can reach ``alpha``.

    Parameters
    ----------
    alpha : float
        Significance level in (0, 1).

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ScoreError
        If ``alpha`` is out of range.
    """
    count = max(1, math.ceil(1 / level(alpha)) - 1)
    # 1 / alpha is rounded, so check the neighbours.
    while 1 / (1 + count) > alpha:
        count += 1
    while count > 1 and 1 / count <= alpha:
        count -= 1
    return count
