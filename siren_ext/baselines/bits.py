"""From the bits that are read out of pictures to a p-value, for both watermarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siren_ext.baselines.base import Floats, evidence_rows, known_rule
from siren_ext.errors import ConfigError

BITS = 32
STRINGS = 1000
RULES = ("published", "calibrated")
Bits = NDArray[np.uint8]


def balanced_string(seed: int, bits: int = BITS) -> Bits:
    """A random string with as many ones as zeros.

    Parameters
    ----------
    seed : int
        At least 0.
    bits : int
        Length; even.

    Returns
    -------
    array
        Bits, uint8. A reader that gives the same bit everywhere gets just half of them right.

    Raises
    ------
    ConfigError
        If the length is odd or below 2.
    """
    return balanced_strings(np.random.default_rng(seed), 1, bits)[0]  # type: ignore[no-any-return]


def balanced_strings(rng: np.random.Generator, count: int, bits: int = BITS) -> Bits:
    """Independent strings as of :func:`balanced_string`, count x bits."""
    if bits < 2 or bits % 2:
        raise ConfigError(f"Found a string of {bits} bits; expected an even number from 2 on.")
    half = np.repeat(np.array([0, 1], np.uint8), bits // 2)
    return rng.permuted(np.tile(half, (count, 1)), axis=1)


def matched(bits: Floats, string: Bits) -> int:
    """How many bits of all pictures agree with the string.

    Parameters
    ----------
    bits : array
        N x k, 0 or 1.
    string : array
        k bits.
    """
    return int((np.asarray(bits) == string).sum())


def log_binomial_p(matches: int, trials: int) -> float:
    """log Pr[M >= matches] for M ~ Binomial(trials, 1/2).

    Parameters
    ----------
    matches, trials : int
        0 <= matches <= trials.

    Returns
    -------
    float
        Natural logarithm; finite also where p is too small for a float.

    Raises
    ------
    ConfigError
        If the counts do not fit.

    Notes
    -----
    Zhao et al. (2023), "A recipe for watermarking diffusion models" (arXiv 2303.10137), use this
    test of independent fair bits.
    """
    from scipy.special import gammaln, logsumexp

    if not 0 <= matches <= trials or trials < 1:
        raise ConfigError(
            f"{matches} of {trials} bits is not a possible count; expected 0 to all of them."
        )
    counts = np.arange(matches, trials + 1)
    terms = gammaln(trials + 1) - gammaln(counts + 1) - gammaln(trials - counts + 1)
    return min(0.0, float(logsumexp(terms)) - trials * float(np.log(2)))


def smallest_significant(alpha: float, trials: int) -> int | None:
    """The smallest number of matches whose p is at most alpha; None if there is none."""
    limit = float(np.log(alpha))
    for matches in range(trials // 2, trials + 1):
        if log_binomial_p(matches, trials) <= limit:
            return matches
    return None


def bits_p_value(bits: Floats, string: Bits, rule: str, seed: int = 0) -> float:
    """The p-value of bits.

    Parameters
    ----------
    bits : array
        N x k, 0 or 1, as read from N pictures.
    string : array
        The owner's k bits.
    rule : str
        ``published``: all N k bits are taken for independent and fair. ``calibrated``: the rank of
        the matches among :data:`STRINGS` other random strings, which holds whatever the bits are.
    seed : int
        Of the other strings.

    Returns
    -------
    float
        In [0, 1]; by ``calibrated`` at least 1 / (STRINGS + 1).

    Raises
    ------
    ConfigError
        If there is no such rule.
    ScoreError
        If the bits do not fit the string.
    """
    known_rule(rule, RULES)
    rows = evidence_rows(bits, len(string), bits=True)
    found = matched(rows, string)
    if rule == "published":
        return float(np.exp(log_binomial_p(found, rows.size)))
    ones = rows.sum(0)
    others = balanced_strings(np.random.default_rng((seed, 1)), STRINGS, len(string))
    counts = np.where(others == 1, ones, len(rows) - ones).sum(1)
    return float((1 + (counts >= found).sum()) / (STRINGS + 1))
