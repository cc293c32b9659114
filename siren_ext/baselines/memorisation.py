"""DIAGNOSIS: tests of the share of pictures that are classified as coated."""

from __future__ import annotations

from siren_ext.errors import ScoreError

BASE_SHARE = 0.5


def t_p_value(share: float, count: int, base: float = BASE_SHARE) -> float:
    """The one-sample test of H0: the share is at most ``base``.

    Parameters
    ----------
    share : float
        Share of pictures classified as coated, 0 to 1.
    count : int
        N, number of pictures; at least 2.
    base : float
        Share under the null hypothesis, in (0, 1).

    Returns
    -------
    float
        1 - T_{N-1}(sqrt(N - 1) (share - base) / sqrt(share - share^2)); 1 for a share of 0. For a
        share of 1 the statistic is infinite: p is 2^-N, or that of one picture fewer if this is
        smaller, so that p never rises with the share.

    Raises
    ------
    ScoreError
        If a number is out of range.

    References
    ----------
    Wang et al. (2024), "DIAGNOSIS: Detecting unauthorized data usages in text-to-image diffusion
    models", ICLR (arXiv 2307.03108); the form follows the ownership test of Li et al. (2022).
    """
    from scipy.stats import t

    _check(share, count, base)
    if share == 0:
        return 1.0
    if share == 1:
        return min(2.0**-count, t_p_value((count - 1) / count, count, base))
    value = (count - 1) ** 0.5 * (share - base) / (share - share * share) ** 0.5
    return float(t.sf(value, count - 1))


def exact_p_value(share: float, count: int, base: float = BASE_SHARE) -> float:
    """Pr[Binomial(N, base) >= N share]; arguments as of :func:`t_p_value`.

    With ``base`` the larger of 1/2 and the share of a clean model, known and not estimated, this
    holds for independent pictures.
    """
    from scipy.stats import binom

    _check(share, count, base)
    return float(binom.sf(round(share * count) - 1, count, base))


def welch_p_value(share: float, count: int, clean: float, clean_count: int) -> float:
    """Welch's one-sided test against the pictures of an independent clean model.

    Parameters
    ----------
    share, count : float, int
        Share of coated pictures of the suspicious model, and their number.
    clean, clean_count : float, int
        The same of the clean model.

    Returns
    -------
    float
        In [0, 1]; without any spread, 1 if the suspicious share is not larger, else 2^-N.

    Raises
    ------
    ScoreError
        If a number is out of range.

    References
    ----------
    SIREN (arXiv 2410.10437), Section 3.2.
    """
    from scipy.stats import ttest_ind_from_stats

    _check(share, count, BASE_SHARE)
    _check(clean, clean_count, BASE_SHARE)
    spreads = [
        (part * (1 - part) * n / (n - 1)) ** 0.5
        for part, n in ((share, count), (clean, clean_count))
    ]
    if not any(spreads):
        return 2.0**-count if share > clean else 1.0
    found = ttest_ind_from_stats(
        share, spreads[0], count, clean, spreads[1], clean_count, False, "greater"
    )
    return float(found.pvalue)


def _check(share: float, count: int, base: float) -> None:
    if not 0 <= share <= 1 or count < 2 or not 0 < base < 1:
        raise ScoreError(
            f"Found a share of {share:g} of {count} pictures against {base:g}; expected shares "
            "from 0 to 1, a base share between them, and at least 2 pictures."
        )
