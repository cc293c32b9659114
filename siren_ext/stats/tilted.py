"""The keyed test of a statistic that is not a weighted sum of the message's signs.

Null hypothesis: the message was drawn uniformly from all 2^k messages, independently of the data.
For a weighted sum the share of messages that do as well is counted (:mod:`siren_ext.stats.keyed`).
For any other statistic random messages are compared with the true one. Uniform ones would have to
be as many as 1/p. Here they are drawn from messages that are likely to do well, and each counts by
how much likelier than usual it was drawn. The p-value is valid for every number of messages:

    p = (w(m) + sum of w(m_i) over all i with T(m_i) >= T(m)) / n

with w = 2^-k / q, where q is the chance with which a message is drawn: the mean of the chances at S
places, from each of which n / S messages come. Why: suppose that m came from one of the places, any
with the same chance. The weight of m turns its chance from q into the uniform one. Leave out one of
the messages of that place, which makes p no larger. Then there are n / S from each place, m among
them, and m could be exchanged with those of its own. So P(p <= alpha) is at most the mean, over
which of the n is m, of the weights of those whose own sum of weights from the top is at most
alpha n. That is at most alpha.

How the messages are drawn must not depend on the true message. It depends on the statistic alone.

A small p does not show who trained a model, nor that the owner's own files were used; and the null
is also wrong if anybody chose the data, or the message, by looking at the other.

References
----------
Harrison (2012), "Conservative hypothesis tests and confidence intervals using importance sampling",
Biometrika 99(1), 57-69: the p-value with the weight of the observation, Section 2, for independent
draws, where n + 1 stands in place of n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.errors import ScoreError

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Takes n messages (n x k, of -1 and +1) and gives n values; large ones mean that they fit."""

TILTS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
"""Where the drawn messages lie, in standard deviations of the statistic's linear part."""
_PILOTS = 20  # messages per bit, by which the linear part is estimated


@dataclass(frozen=True)
class TiltedResult:
    """Outcome of the test.

    Attributes
    ----------
    p_value : float
        From :attr:`smallest_p` to 1.
    deviations : float
        T(m) in standard deviations of T over uniform messages, from their mean.
    bits : int
        k.
    drawn : int
        n, the number of messages that the true one was compared with.
    at_least : int
        How many of them do at least as well.
    smallest_p : float
        w(m) / n, what p would be if no other message did as well.
    """

    p_value: float
    deviations: float
    bits: int
    drawn: int
    at_least: int
    smallest_p: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def tilted_test(
    statistic: Statistic, message: NDArray[Any], *, seed: int, drawn: int = 4000
) -> TiltedResult:
    """Compare a message with others, drawn where the statistic is large.

    Parameters
    ----------
    statistic : Statistic
        T; it must not depend on the message.
    message : array, shape (k,)
        The secret signs, -1 and +1.
    seed : int
        Of the drawn messages; it must not be chosen by looking at p.
    drawn : int
        n, rounded up to a multiple of the eight places of :data:`TILTS`.

    Returns
    -------
    TiltedResult
        The figures.

    Raises
    ------
    ScoreError
        If the message is malformed, or a value of the statistic is not finite.
    """
    return tilted_tests(statistic, np.asarray(message)[None], seed=seed, drawn=drawn)[0]


def tilted_tests(
    statistic: Statistic, messages: NDArray[Any], *, seed: int, drawn: int = 4000
) -> list[TiltedResult]:
    """:func:`tilted_test` of several messages, each compared with the same others.

    Parameters
    ----------
    statistic, seed, drawn
        As in :func:`tilted_test`.
    messages : array, shape (m, k)
        Secret signs, -1 and +1.

    Returns
    -------
    list of TiltedResult
        One per message, not corrected for their number.

    Raises
    ------
    ScoreError
        As in :func:`tilted_test`.
    """
    signs = np.asarray(messages, dtype=np.float64)
    if signs.ndim != 2 or 0 in signs.shape or not (np.abs(signs) == 1).all():
        raise ScoreError("The message is malformed; expected a row of -1 and +1.")
    own, bits = signs.shape
    rng = np.random.default_rng(seed)
    slope, mean, spread = _linear_part(statistic, bits, rng)
    # chances of +1: a row per place; the first is uniform, so no weight is above their number
    chances = 1 / (1 + np.exp(-2 * np.array(TILTS)[:, None] * slope))
    places = np.repeat(np.arange(len(TILTS)), -(-drawn // len(TILTS)))
    others = np.where(rng.random((len(places), bits)) < chances[places], 1.0, -1.0)
    everything = np.concatenate([signs, others])
    values, weights = _values(statistic, everything), _weights(everything, chances)
    found = []
    for value, weight in zip(values[:own], weights[:own], strict=True):
        extreme = values[own:] >= value
        smallest = float(weight) / len(places)
        reached = float(weights[own:][extreme].sum()) / len(places)
        found.append(
            TiltedResult(
                p_value=min(1.0, smallest + reached),
                deviations=float((value - mean) / spread) if spread else 0.0,
                bits=bits,
                drawn=len(places),
                at_least=int(extreme.sum()),
                smallest_p=min(1.0, smallest),
            )
        )
    return found


def _linear_part(
    statistic: Statistic, bits: int, rng: np.random.Generator
) -> tuple[Floats, float, float]:
    """Direction of the statistic's linear part (k, of length 1), and its mean and spread."""
    pilots = np.where(rng.random((_PILOTS * bits, bits)) < 0.5, 1.0, -1.0)
    values = _values(statistic, pilots)
    centred = values - values.mean()
    slope = pilots.T @ centred / len(pilots)
    length = float(np.linalg.norm(slope))
    slope = slope / length if length else slope
    return slope, float(values.mean()), float(values.std())


def _weights(messages: Floats, chances: Floats) -> Floats:
    """How much likelier each message (n x k) is among uniform ones than as drawn here."""
    plus, minus = np.log(chances), np.log1p(-chances)
    up = (messages > 0).astype(np.float64)
    logs = up @ plus.T + (1 - up) @ minus.T + messages.shape[1] * np.log(2)
    top = logs.max(1)
    mixed = top + np.log(np.exp(logs - top[:, None]).mean(1))
    weights: Floats = np.exp(-mixed)
    return weights


def _values(statistic: Statistic, messages: Floats) -> Floats:
    """The statistic, checked."""
    values = np.asarray(statistic(messages), dtype=np.float64)
    if values.shape != (len(messages),) or not np.isfinite(values).all():
        raise ScoreError(
            "A value of the statistic is not a finite number; expected one number per message. The "
            "measurement is damaged: make it again."
        )
    return values
