"""The keyed finding of reports of sentences up to version 2, by the rules of that time.

F was not rounded, and p was a rank among random messages unless none of them reached T. So p
depended on a seed, and with the images and the coater the message could be found from T.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from siren_ext.errors import EvidenceError
from siren_ext.report.stored import StoredFinding
from siren_ext.schema import convert
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import HISTOGRAM_BINS, KeyedResult, checked_message, contributions
from siren_ext.stats.keyed_bounds import hoeffding_bound, message_tail
from siren_ext.stats.ks_distribution import P_FLOOR
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.control import keyed_outcome
from siren_ext.verdict.findings import Finding
from siren_ext.verdict.outcomes import outcome_of
from siren_ext.verdict.pools import used_features

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey

_CELLS = 1 << 19  # entries of a block of random messages
_Count = Annotated[int, Meta(ge=0, le=10**12)]


class Decoys(Struct, rename={"number": "decoys", "seed": "decoy_seed"}):
    """The settings of that time that are no settings now."""

    number: Annotated[int, Meta(ge=1000, le=2_000_000)] = 100_000
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Decoys:
        """Read them.

        Parameters
        ----------
        settings : Mapping[str, Any]
            The settings in a report.

        Returns
        -------
        Decoys
            Their values.

        Raises
        ------
        EvidenceError
            A value is impossible.
        """
        return convert(dict(settings), cls, name="verdict.settings", error=EvidenceError)


class _Figures(Struct):
    """The values of a keyed result from which the others follow."""

    statistic: Annotated[float, Meta(ge=-1e30, le=1e30)]
    at_least: _Count
    images: _Count
    bits_right: _Count
    bit_accuracy: Annotated[float, Meta(ge=0, le=1)]
    histogram: Annotated[tuple[_Count, ...], Meta(min_length=1, max_length=HISTOGRAM_BINS)]


@dataclass(frozen=True)
class KeyedBefore(KeyedResult):
    """Outcome of the keyed test of that time.

    Attributes
    ----------
    method : str
        ``rank`` if a random message reached T or the rank p was smaller, else ``bound``.
    p_rank, p_bound, hoeffding : float
        (1 + at_least) / (1 + decoys), the upper bound over all messages, and Hoeffding's.
    at_least, decoys : int
        Number of random messages that reached T, and of all.
    counts : tuple of int
        Random messages in each bin of the histogram.
    """

    method: str
    p_rank: float
    p_bound: float
    hoeffding: float
    at_least: int
    decoys: int
    counts: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """The values that reports of that time have."""
        values = asdict(self)
        values["histogram"] = values.pop("counts")
        return values


def restored_before(kept: StoredFinding, settings: Mapping[str, Any], alpha: float) -> Finding:
    """Recompute a keyed finding from its statistic T, strengths |F_j| and counts.

    Parameters
    ----------
    kept : StoredFinding
        The finding in the report.
    settings : Mapping[str, Any]
        The settings in the report.
    alpha : float
        The accepted risk.

    Returns
    -------
    Finding
        The finding, with p computed anew.

    Raises
    ------
    EvidenceError
        A figure is missing or impossible, or the count of random messages that reached T does not
        fit the strengths.
    """
    decoys = Decoys.of(settings).number
    figures = convert(kept.result, _Figures, name="The keyed finding's result", error=EvidenceError)
    strengths = np.asarray(kept.strengths, dtype=np.float64)
    statistic, at_least, images = figures.statistic, figures.at_least, figures.images
    if not len(strengths):
        raise EvidenceError("The keyed finding has no strengths.")
    if (np.diff(strengths) < 0).any() or strengths[0] < 0:
        raise EvidenceError("The strengths of the keyed finding are not in ascending order.")
    # tanh limits each bit to 1 per image
    span = float(strengths.sum())
    if abs(statistic) > span * (1 + 1e-9) or strengths[-1] > images * (1 + 1e-9):
        raise EvidenceError("The statistic T of the keyed finding is larger than possible.")
    bits_right = figures.bits_right
    if at_least > decoys or sum(figures.histogram) != decoys or bits_right > len(strengths):
        raise EvidenceError("The counts of the keyed finding contradict each other.")
    _require_likely(at_least, decoys, message_tail(strengths, statistic))
    result = _result(strengths, statistic, at_least, figures.histogram, kept=figures)
    return _finding(result, strengths, kept.features_sha256, kept.committed_as, alpha)


def keyed_before(
    suspect: ScoreSet, key: CoatingKey, settings: Mapping[str, Any], alpha: float
) -> Finding:
    """The keyed finding as it was computed then, with the secret.

    Parameters
    ----------
    suspect : ScoreSet
        The suspect's scores with features.
    key : CoatingKey
        The owner's secret.
    settings : Mapping[str, Any]
        The settings in the report.
    alpha : float
        The accepted risk.

    Returns
    -------
    Finding
        The finding.

    Raises
    ------
    EvidenceError
        A setting is impossible.
    ScoreError
        The scores have no features, or features of another length than the key.
    """
    used = Decoys.of(settings)
    features = used_features(suspect)
    given = contributions(features)
    signs = checked_message(key.signs(), given.shape[1])
    summed = given.sum(axis=0)
    statistic = float((signs * summed).sum())
    rng = np.random.default_rng(used.seed)
    at_least, counts = _among_decoys(summed, statistic, used.number, rng)
    figures = _Figures(
        statistic,
        at_least,
        len(given),
        int((summed * signs > 0).sum()),
        float((given * signs > 0).mean()),
        counts,
    )
    strengths = np.sort(np.abs(summed))
    result = _result(summed, statistic, at_least, counts, kept=figures)
    digest = hashlib.sha256(np.ascontiguousarray(features, dtype="<f8").tobytes()).hexdigest()
    return _finding(result, strengths, digest, key.fingerprint(), alpha)


def as_today(findings: Sequence[Finding], config: VerifyConfig) -> list[Finding]:
    """Findings with the outcomes that they have today.

    Parameters
    ----------
    findings : Sequence[Finding]
        As computed now, with the keyed finding of an old report as it was then.
    config : VerifyConfig
        The settings.

    Returns
    -------
    list[Finding]
        The same; a keyed finding without its price gets it. The p of an old one is the bound over
        all messages, because whoever chose the seed of the random ones chose their rank, too.
    """
    return [_today(one, config) if one.test == "keyed" else one for one in findings]


def _today(finding: Finding, config: VerifyConfig) -> Finding:
    """:func:`as_today` for the keyed finding."""
    result = finding.result
    if not isinstance(result, KeyedResult):
        return finding
    if isinstance(result, KeyedBefore):
        result = replace(result, p_value=result.p_bound)
    outcome = keyed_outcome(finding.whole or result, finding.control, config.alpha, config.price)
    return replace(finding, result=result, price=config.price, outcome=outcome)


def _result(
    summed: NDArray[np.float64],
    statistic: float,
    at_least: int,
    counts: tuple[int, ...],
    *,
    kept: _Figures,
) -> KeyedBefore:
    decoys = sum(counts)
    p_rank = (1 + at_least) / (1 + decoys)
    hoeffding = hoeffding_bound(summed, statistic)
    p_bound = min(hoeffding, message_tail(summed, statistic))
    bound = at_least == 0 and p_bound < p_rank
    return KeyedBefore(
        p_value=p_bound if bound else p_rank,
        statistic=statistic,
        images=kept.images,
        bits=len(summed),
        bits_right=kept.bits_right,
        bit_accuracy=kept.bit_accuracy,
        smallest_p=max(0.5 ** len(summed), P_FLOOR),
        span=float(np.abs(summed).sum()),
        histogram=tuple(count / decoys for count in counts),
        method="bound" if bound else "rank",
        p_rank=p_rank,
        p_bound=p_bound,
        hoeffding=hoeffding,
        at_least=at_least,
        decoys=decoys,
        counts=counts,
    )


def _finding(
    result: KeyedBefore,
    strengths: NDArray[np.float64],
    features_sha256: str,
    key: str,
    alpha: float,
) -> Finding:
    return Finding(
        "keyed",
        outcome_of(result.p_value, result.smallest_p, alpha),
        result,
        result.images,
        result.decoys,
        tuple(float(value) for value in strengths),
        features_sha256,
        key,
    )


def _require_likely(at_least: int, decoys: int, tail: float) -> None:
    """Raise unless the count, which is binomial with mean ``decoys * tail``, is plausible."""
    expected = decoys * tail
    if abs(at_least - expected) > 8 * expected**0.5 + 0.1 * expected + 20:
        raise EvidenceError(
            f"The keyed finding says that {at_least:,} of {decoys:,} random messages reached T, "
            f"but its strengths give about {expected:,.0f}."
        )


def _among_decoys(
    summed: NDArray[np.float64], statistic: float, decoys: int, rng: np.random.Generator
) -> tuple[int, tuple[int, ...]]:
    """The number of random messages that reach T, and a histogram of all."""
    span = float(np.abs(summed).sum())
    # rounding may make the sums of equal messages differ slightly; count these as reached
    wall = statistic - 1e-12 * span
    reached, histogram = 0, np.zeros(HISTOGRAM_BINS, dtype=np.int64)
    rows = max(1, _CELLS // len(summed))
    for start in range(0, decoys, rows):
        count = min(rows, decoys - start)
        signs = rng.integers(0, 2, size=(count, len(summed)), dtype=np.int8) * 2 - 1
        values = signs.astype(np.float64) @ summed
        reached += int((values >= wall).sum())
        middle = np.full(count, HISTOGRAM_BINS / 2)
        where = (values / span + 1) / 2 * HISTOGRAM_BINS if span > 0 else middle
        inside = np.clip(where.astype(np.int64), 0, HISTOGRAM_BINS - 1)
        histogram += np.bincount(inside, minlength=HISTOGRAM_BINS)
    return reached, tuple(int(value) for value in histogram)
