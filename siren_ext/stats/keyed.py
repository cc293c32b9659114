"""The keyed test: is the owner's secret message in the images? It needs no reference model.

Notation: the extractor gives k features (logits) per image, the message m is k signs. A bounded
contribution per image, tanh(feature / scale), is summed over the n images to F; the statistic is
T(m) = m . F.

Null hypothesis of every test here: m was drawn uniformly from all 2^k messages, and independently
of the images. It holds for *any* model that never met images coated with m, whatever its style,
subject or training, since nothing about m could have reached it. Then F may be anything: given F,
only m is random, and P(T(m) >= s) is known exactly.

The null also breaks when m reaches the images by another way than training: when images, prompts or
the extractor were chosen after looking at T(m), or when m was picked after the images were seen (a
commitment, made before release, excludes that). A small p does not say who trained the model, nor
that the owner's own files were the ones used: outputs of a guilty model carry the message too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import level
from siren_ext.stats.ks import P_FLOOR
from siren_ext.stats.multiple import MultipleResult, holm

Floats = NDArray[np.float64]

SCALE = 4.0
DECOYS = 100_000
_CELLS = 1 << 19
_GRID = 1 << 14
HISTOGRAM_BINS = 101


@dataclass(frozen=True)
class KeyedResult:
    """Outcome of one keyed test.

    Attributes
    ----------
    p_value : float
        ``p_rank`` while some decoy reached the statistic; else the smaller of ``p_rank`` and
        ``p_bound``. Valid: below 1 / (1 + decoys) it can only come from ``p_bound``, above it only
        from ``p_rank``.
    method : {"rank", "bound"}
        Which of the two ``p_value`` is.
    statistic : float
        T(m) = m . F.
    p_rank : float
        (1 + at_least) / (1 + decoys).
    p_bound : float
        The chance of a T as large over all 2^k messages, bounded from above by
        :func:`message_tail` and ``hoeffding``. Needs no random numbers.
    hoeffding : float
        exp(-T^2 / (2 |F|^2)); 1 where T <= 0.
    at_least, decoys : int
        Decoy messages with a statistic at least as large, of how many.
    images, bits : int
        n and k.
    bits_right : int
        Bits whose sum over the images has the message's sign.
    bit_accuracy : float
        Share of the n x k features with the message's sign; 0.5 is chance.
    smallest_p : float
        2^-k: not even a perfect message gives less.
    span : float
        The largest T that any message can have, the sum of |F|.
    histogram : tuple of int
        Decoy statistics in equal bins from -span to span.
    """

    p_value: float
    method: Literal["rank", "bound"]
    statistic: float
    p_rank: float
    p_bound: float
    hoeffding: float
    at_least: int
    decoys: int
    images: int
    bits: int
    bits_right: int
    bit_accuracy: float
    smallest_p: float
    span: float
    histogram: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; neither the message nor F is among them."""
        return asdict(self)


@dataclass(frozen=True)
class TraceResult:
    """Whose copy was it? One keyed test per recipient, and Holm's correction over them.

    Attributes
    ----------
    findings : tuple of KeyedResult
        One per message, in the order given.
    holm : MultipleResult
        Adjusted p and decisions, in the same order.
    ranking : tuple of int
        Indices of the messages, the strongest statistic first.
    """

    findings: tuple[KeyedResult, ...]
    holm: MultipleResult
    ranking: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def keyed_test(
    features: ArrayLike,
    message: ArrayLike,
    *,
    decoys: int = DECOYS,
    scale: float | None = SCALE,
    rng: np.random.Generator,
) -> KeyedResult:
    """Rank the secret message among random decoys.

    Null hypothesis and what a small p does not prove: see the module. The rank p is exact: under
    the null the secret is one more uniform message, so all 1 + N ranks are equally likely (ties
    count against the owner).

    Parameters
    ----------
    features : array_like, shape (n, k)
        The extractor's logits, one row per image.
    message : array_like, shape (k,)
        The secret, -1 or +1 each.
    decoys : int
        N, how many uniform messages it is ranked among. Memory does not grow with it.
    scale : float or None
        Contributions are tanh(features / scale), so that no single image decides; None takes the
        features as they are.
    rng : numpy.random.Generator
        Draws the decoys.

    Raises
    ------
    ScoreError
        Features or message are malformed.

    References
    ----------
    Phipson and Smyth (2010), SAGMB 9(1), Eq. 2 (rank); Hoeffding (1963), JASA 58, Theorem 2.
    """
    return trace_messages(features, [message], decoys=decoys, scale=scale, rng=rng).findings[0]


def trace_messages(
    features: ArrayLike,
    messages: Sequence[ArrayLike],
    *,
    alpha: float = 1e-3,
    decoys: int = DECOYS,
    scale: float | None = SCALE,
    rng: np.random.Generator,
) -> TraceResult:
    """Test one message per recipient on the same images.

    Null hypothesis of recipient r: message r is uniform and independent of the images and of the
    other messages, as when the model never met r's copy; it may have met the others'. All
    recipients share the decoys, and Holm's correction holds under any dependence: the risk of
    naming any recipient falsely is at most ``alpha``.

    A rejection does not prove that the recipient trained the model: the copy may have been passed
    on or stolen. Parameters are those of :func:`keyed_test`.
    """
    level(alpha)
    summed, signs, accuracies, images = _prepare(features, messages, scale)
    if decoys < 1:
        raise ScoreError(f"decoys is {decoys}; expected at least 1, better {DECOYS:,}.")
    statistics = (signs * summed).sum(axis=1)  # the same digits alone and among others
    at_least, histogram = _among_decoys(summed, statistics, decoys, rng)
    findings = tuple(
        keyed_result(
            summed,
            float(statistic),
            at_least=int(count),
            decoys=decoys,
            images=images,
            bits_right=int((summed * sign > 0).sum()),
            bit_accuracy=accuracy,
            histogram=histogram,
        )
        for sign, statistic, count, accuracy in zip(
            signs, statistics, at_least, accuracies, strict=True
        )
    )
    adjusted = holm([finding.p_value for finding in findings], alpha=alpha)
    ranking = tuple(int(i) for i in np.argsort(-statistics, kind="stable"))
    return TraceResult(findings, adjusted, ranking)


def contributions(features: ArrayLike, scale: float | None = SCALE) -> Floats:
    """Bounded evidence per image and bit, shape (n, k): tanh(features / scale).

    Raises :class:`ScoreError` unless ``features`` is a finite matrix and ``scale`` positive.
    """
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ScoreError(
            f"The features have shape {values.shape}; expected one row per image, one column per "
            "bit."
        )
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values).all(axis=1)).sum())
        raise ScoreError(
            f"{bad} of {len(values)} images have features that are not finite; score them again."
        )
    if scale is None:
        return values
    if not scale > 0:
        raise ScoreError(f"scale is {scale}; expected a positive number or None.")
    return np.asarray(np.tanh(values / scale))


def checked_message(message: ArrayLike, bits: int) -> Floats:
    """``message`` as ``bits`` signs; raises :class:`ScoreError` (which never shows the message)."""
    signs = np.asarray(message, dtype=np.float64)
    if signs.shape != (bits,):
        raise ScoreError(
            f"The message has shape {signs.shape}, the features have {bits} bits; use the key that "
            "belongs to this coater."
        )
    if not (np.abs(signs) == 1).all():
        raise ScoreError("The message holds other values than -1 and +1; convert 0 to -1.")
    return signs


def hoeffding_bound(summed: ArrayLike, statistic: float) -> float:
    """Upper bound of P(m . F >= statistic) over uniform m: exp(-s^2 / (2 |F|^2)).

    Null hypothesis: see the module. Hoeffding (1963), Theorem 2, with terms in [-|F_j|, |F_j|].
    """
    F = np.abs(np.asarray(summed, dtype=np.float64))
    largest = float(F.max(initial=0.0))
    if statistic <= 0 or largest == 0:
        return 1.0
    ratio = statistic / largest / math.sqrt(float(np.sum((F / largest) ** 2)))
    return max(math.exp(-0.5 * ratio * ratio), P_FLOOR)


def message_tail(summed: ArrayLike, statistic: float) -> float:
    """The share of all 2^k messages with m . F >= statistic, counted, never too small.

    |F_j| is rounded to a fine grid, on which the distribution of the sum is an exact product of k
    two-point distributions; the total of what rounding can change is taken off ``statistic``, so
    the result is an upper bound, sharp to some percent, and deterministic. Cost O(k x grid).

    Null hypothesis: see the module. Source: the exact conditional distribution of a weighted sum of
    signs (Fisher's randomisation test; Pagano and Tritchler 1983, JASA 78, for the counting).
    """
    F = np.abs(np.asarray(summed, dtype=np.float64))
    total = float(F.sum())
    if total == 0 or statistic <= -total:
        return 1.0
    step = total / _GRID
    whole = np.rint(F / step).astype(np.int64)
    slack = float(np.abs(F - whole * step).sum()) + 1e-9 * total
    size = int(whole.sum())
    # m . whole = 2 X - size, where X adds the entries whose sign is right
    need = math.ceil((math.floor((statistic - slack) / step) + size) / 2)
    if need <= 0:
        return 1.0
    mass = np.zeros(size + 1)
    mass[0] = 1.0
    filled = 0
    for shift in np.sort(whole):
        part = mass[: filled + 1] * 0.5
        mass[: filled + 1] = part
        mass[shift : shift + filled + 1] += part
        filled += int(shift)
    tail = float(np.sort(mass[min(need, size) :]).sum())
    return min(1.0, max(tail, P_FLOOR))


def keyed_result(
    summed: ArrayLike,
    statistic: float,
    *,
    at_least: int,
    decoys: int,
    images: int,
    bits_right: int,
    bit_accuracy: float,
    histogram: tuple[int, ...],
) -> KeyedResult:
    """The result that follows from F (its absolute values will do), T and the counts.

    ``summed`` (k,); the others as in :class:`KeyedResult`. Null hypothesis: see the module.
    """
    F = np.asarray(summed, dtype=np.float64)
    p_rank = (1 + at_least) / (1 + decoys)
    hoeffding = hoeffding_bound(F, statistic)
    p_bound = min(hoeffding, message_tail(F, statistic))
    bound = at_least == 0 and p_bound < p_rank
    return KeyedResult(
        p_value=p_bound if bound else p_rank,
        method="bound" if bound else "rank",
        statistic=statistic,
        p_rank=p_rank,
        p_bound=p_bound,
        hoeffding=hoeffding,
        at_least=at_least,
        decoys=decoys,
        images=images,
        bits=len(F),
        bits_right=bits_right,
        bit_accuracy=bit_accuracy,
        smallest_p=max(0.5 ** len(F), P_FLOOR),
        span=float(np.abs(F).sum()),
        histogram=histogram,
    )


def _prepare(
    features: ArrayLike, messages: Sequence[ArrayLike], scale: float | None
) -> tuple[Floats, Floats, list[float], int]:
    """F, the messages (R, k), each one's bit accuracy, and n."""
    given = contributions(features, scale)
    if not len(messages):
        raise ScoreError("There is no message to look for; expected at least one.")
    signs = np.stack([checked_message(message, given.shape[1]) for message in messages])
    accuracies = [float((given * sign > 0).mean()) for sign in signs]
    return given.sum(axis=0), signs, accuracies, len(given)


def _among_decoys(
    summed: Floats, statistics: Floats, decoys: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """For each statistic the decoys that reach it, and a histogram of all decoys."""
    span = float(np.abs(summed).sum())
    # Sums are rounded differently for equal messages; what is that close counts as reached.
    walls = np.sort(statistics - 1e-12 * span)
    place = np.argsort(np.argsort(statistics, kind="stable"), kind="stable")
    reached = np.zeros(len(walls) + 1, dtype=np.int64)
    histogram = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
    rows = max(1, _CELLS // len(summed))
    for start in range(0, decoys, rows):
        count = min(rows, decoys - start)
        signs = rng.integers(0, 2, size=(count, len(summed)), dtype=np.int8) * 2 - 1
        values = signs.astype(np.float64) @ summed
        passed = np.searchsorted(walls, values, side="right")  # walls at or below each decoy
        reached += np.bincount(passed, minlength=len(walls) + 1)
        where = (
            (values / span + 1) / 2 * HISTOGRAM_BINS
            if span > 0
            else np.full(count, HISTOGRAM_BINS / 2)
        )
        inside = np.clip(where.astype(np.int64), 0, HISTOGRAM_BINS - 1)
        histogram += np.bincount(inside, minlength=HISTOGRAM_BINS)
    at_least = np.cumsum(reached[::-1])[::-1][1:]
    return at_least[place], tuple(int(value) for value in histogram)
