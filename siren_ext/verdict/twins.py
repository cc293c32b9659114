"""The finding of twins: does the model know which copy of every image a coin published?"""

from __future__ import annotations

from siren_ext.errors import ScoreError
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.coins import CoinsResult, coins_test
from siren_ext.verdict.findings import Finding
from siren_ext.verdict.outcomes import outcome_of


def twins_finding(suspect: ScoreSet, alpha: float, *, price: int = 1) -> Finding:
    """Test whether the model prefers the published copies to their twins.

    Parameters
    ----------
    suspect : ScoreSet
        Differences of losses and coins, see :mod:`siren_ext.preference.twins`.
    alpha : float
        The accepted risk.
    price : int
        What p is multiplied by, for earlier tests of the coins.

    Returns
    -------
    Finding
        "inconclusive" if there are too few images for ``alpha`` and the price.

    Raises
    ------
    ScoreError
        The coins are missing or malformed, or an image is listed twice.

    References
    ----------
    :mod:`siren_ext.stats.coins`.
    """
    coins = suspect.source.get("coins")
    if not isinstance(coins, list) or any(type(coin) is not int for coin in coins):
        raise ScoreError(
            "The comparison of twins has no coins; expected 0 or 1 for every image. Compare the "
            "twins again with 'siren-ext twins'."
        )
    images = set(zip(suspect.names, suspect.hashes, strict=True))
    if len(images) < len(suspect):
        raise ScoreError(
            f"The comparison of twins has {len(suspect)} rows of {len(images)} images; expected "
            "each image once. Compare the twins again with 'siren-ext twins'."
        )
    result = coins_test(suspect.scores, coins)
    p_value, smallest = (min(1.0, p * price) for p in (result.p_value, result.smallest_p))
    outcome = outcome_of(p_value, smallest, alpha)
    return Finding("twins", outcome, result, len(suspect), 0, price=price)


def require_twins_alone(suspect: ScoreSet, *others: object) -> None:
    """Refuse to test twins together with something else.

    Parameters
    ----------
    suspect : ScoreSet
        What is tested.
    *others
        Reference, key and innocent models; empty or None for those that are not given.

    Raises
    ------
    ScoreError
        Twins are given along with something else, or as the reference or an innocent model.
    """
    if suspect.twins and any(other is not None and other != () for other in others):
        raise ScoreError(
            "The suspect's file compares twins, which are tested by their coins alone. Give "
            "neither a reference nor a key nor innocent models."
        )
    pools = [pool for pool in others if isinstance(pool, ScoreSet)]
    pools += [pool for several in others if isinstance(several, tuple) for pool in several]
    if any(pool.twins for pool in pools):
        raise ScoreError(
            "A file that was given for comparison compares twins; expected the scores of pictures "
            "('siren-ext score')."
        )


def used_share(result: CoinsResult) -> str:
    """How many of the published copies the model used, in a sentence.

    Parameters
    ----------
    result : CoinsResult
        Of the coins.

    Returns
    -------
    str
        With the limit and what it assumes.
    """
    used = result.used
    return (
        f"With {50 * (1 + used.confidence):g} % confidence, at least {100 * used.low:.0f} % of the "
        f"published copies were used (estimate: {100 * used.share:.0f} % or more). This assumes "
        "nothing but fair coins."
    )
