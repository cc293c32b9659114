"""Figures of the study of source attribution, from the distances of its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.attribution.confidence import (
    binomial_tail,
    choose_delta,
    confidence,
    count_hits,
    innocent_rate,
)
from siren_ext.attribution.shadow import rates
from siren_ext.errors import ScoreError
from siren_ext.stats.shares import exact_interval

Floats = NDArray[np.float64]
Row = dict[str, Any]

POOLED = "all"
"""What rows call all sources together."""
REPEATS = 2000
BANDS = (0.0, 0.05, 0.1, 0.15, 0.2)
"""Lower edges of the bands of distances, as in the paper's Table 2."""
NUMBERS = (1, 2, 4, 8, 12, 20, 30, 50, 100)
"""N, numbers of key samples that are compared if there are so many."""
_TAILS = (2.5, 97.5)


@dataclass(frozen=True, eq=False)
class Judged:
    """A model of the study, judged with a threshold and a rate from the other models alone.

    Attributes
    ----------
    name : str
        Its name.
    share : float
        rho, the share of the source's pictures among its training images; 0 is innocent.
    distances : array, shape (N,)
        Of its nearest answers to the key samples.
    delta : float
        The threshold.
    hits, total : int
        Key samples that it reproduces, of those that it answered.
    p_value : float
        Binomial tail at the upper end of the rate's interval.
    best : int
        Most key samples that another innocent model reproduces.
    source : str
        The source whose key samples they are.
    """

    name: str
    share: float
    distances: Floats
    delta: float
    hits: int
    total: int
    p_value: float
    best: int
    source: str = ""

    @property
    def confidence(self) -> float:
        """conf(M)."""
        return self.hits / self.total

    def accused(self, alpha: float, least: float) -> bool:
        """Whether the verdict accuses it, by the rule of the command.

        Parameters
        ----------
        alpha, least : float
            Risk, and smallest share of key samples.
        """
        return self.p_value < alpha and self.confidence >= least and self.hits > self.best


def judge_all(
    distances: Mapping[str, Floats],
    shares: Mapping[str, float],
    band: float,
    source: str = "",
) -> list[Judged]:
    """Judge every model by the others.

    Parameters
    ----------
    distances : mapping of str to array of shape (N,)
        Of every model.
    shares : mapping of str to float
        rho of every model.
    band : float
        Step of the thresholds that are tried.
    source : str
        The source whose key samples they are.

    Returns
    -------
    list of Judged
        In the order given. The threshold is chosen on the other models, known and innocent, and the
        same innocent ones give the rate.

    Raises
    ------
    ScoreError
        If there are fewer than two models of a kind.
    """
    counts = [sum(bool(share) == kind for share in shares.values()) for kind in (True, False)]
    if min(counts) < 2:
        raise ScoreError(
            f"There are {counts[0]} infringing and {counts[1]} innocent models; expected two or "
            "more of each."
        )
    judged = []
    for name, own in distances.items():
        rest = [other for other in distances if other != name]
        known = [distances[other] for other in rest if shares[other]]
        innocent = [distances[other] for other in rest if not shares[other]]
        delta = choose_delta(known, innocent, band).delta
        rate = innocent_rate(innocent, delta)
        hits, total = count_hits(own, delta)
        p_value = binomial_tail(hits, total, rate.upper)
        found = Judged(name, shares[name], own, delta, hits, total, p_value, rate.best, source)
        judged.append(found)
    return judged


def mean_interval(models: Sequence[Judged], *, seed: int = 0) -> tuple[float, float, float]:
    """Mean conf of some models, with a 95 % bootstrap interval over models and key samples.

    Parameters
    ----------
    models : sequence of Judged
        At least one. Those of one source have the same key samples.
    seed : int
        Of the bootstrap.

    Returns
    -------
    value, low, high : float
        From 0 to 1. With few models the interval is too short.
    """
    groups: dict[str, list[NDArray[np.bool_]]] = {}
    for one in models:
        groups.setdefault(one.source, []).append(one.distances <= one.delta)
    tables = [np.array(rows, float) for rows in groups.values()]
    rng = np.random.default_rng((seed, 37))
    drawn = []
    for _ in range(REPEATS):
        columns = [rng.integers(table.shape[1], size=table.shape[1]) for table in tables]
        values = np.concatenate(
            [table[:, kept].mean(1) for table, kept in zip(tables, columns, strict=True)]
        )
        drawn.append(values[rng.integers(len(values), size=len(values))].mean())
    low, high = np.percentile(drawn, _TAILS)
    return float(np.mean([one.confidence for one in models])), float(low), float(high)


def confidence_rows(keys: str, judged: Sequence[Judged], alpha: float, least: float) -> list[Row]:
    """Rows of mean conf and of accusations, for every rho.

    Parameters
    ----------
    keys : str
        How the key samples were chosen.
    judged : sequence of Judged
        All models.
    alpha, least : float
        As of :meth:`Judged.accused`.
    """
    rows: list[Row] = []
    for share in sorted({one.share for one in judged}, reverse=True):
        some = [one for one in judged if one.share == share]
        value, low, high = mean_interval(some)
        rows.append(table_row("conf", keys, share, value, low, high, len(some)))
        accused = sum(one.accused(alpha, least) for one in some)
        limits = exact_interval(accused, len(some))
        rows.append(table_row("accused", keys, share, accused / len(some), *limits, len(some)))
    return rows


def mean_rows(metric: str, keys: str, scores: Mapping[float, Floats]) -> list[Row]:
    """Rows of the mean of a score for each rho, with bootstrap intervals over models.

    Parameters
    ----------
    metric, keys : str
        What the rows call the score, and how key samples were chosen.
    scores : mapping of float to array
        Scores of at least one model, by rho.
    """
    rows = []
    for rho, values in scores.items():
        rng = np.random.default_rng(59)
        drawn = values[rng.integers(len(values), size=(REPEATS, len(values)))].mean(1)
        low, high = np.percentile(drawn, _TAILS)
        rows.append(table_row(metric, keys, rho, float(values.mean()), low, high, len(values)))
    return rows


def score_rows(
    name: str,
    keys: str,
    known: Floats,
    innocent: Floats,
    share: float,
    *,
    rho: float | None = None,
) -> list[Row]:
    """Rows of accuracy, AUC and TPR of scores, with bootstrap intervals over models: Table 1.

    Parameters
    ----------
    name : str
        The score: conf, shadow or bits.
    keys : str
        How the key samples were chosen.
    known, innocent : array, shape (k,) and (m,)
        Scores of infringing models and of innocent ones.
    share : float
        Accepted share of innocent models above the threshold.
    rho : float | None
        That of the infringing models; None if it differs.
    """
    rng = np.random.default_rng(41)
    drawn: dict[str, list[float]] = {}
    for _ in range(REPEATS):
        first, second = (
            part[rng.integers(len(part), size=len(part))] for part in (known, innocent)
        )
        for metric, value in rates(first, second, share).items():
            drawn.setdefault(metric, []).append(value)
    rows = []
    for metric, value in rates(known, innocent, share).items():
        low, high = np.percentile(drawn[metric], _TAILS)
        count = len(known) + len(innocent)
        rows.append(table_row(f"{name} {metric}", keys, rho, value, low, high, count))
    return rows


def band_rows(keys: str, judged: Sequence[Judged]) -> list[Row]:
    """Rows of the share of distances in each band: the paper's Table 2.

    Parameters
    ----------
    keys : str
        How the key samples were chosen.
    judged : sequence of Judged
        All models.
    """
    rows = []
    for share in sorted({one.share for one in judged}, reverse=True):
        some = [one.distances for one in judged if one.share == share]
        pool = np.concatenate(some)
        pool = pool[~np.isnan(pool)]
        for edge, end in zip(BANDS, (*BANDS[1:], np.inf), strict=True):
            count = int(((pool >= edge) & (pool < end)).sum())
            limits = exact_interval(count, len(pool))
            name = f"distance from {edge:g}"
            rows.append(table_row(name, keys, share, count / len(pool), *limits, len(some)))
    return rows


def number_rows(keys: str, judged: Sequence[Judged], numbers: Sequence[int]) -> list[Row]:
    """Rows of the difference of conf between infringing and innocent models, by N: Fig. 7.

    Parameters
    ----------
    keys : str
        How the key samples were chosen.
    judged : sequence of Judged
        All models; their key samples are ordered from the best on.
    numbers : sequence of int
        N, the number of key samples that are used.
    """
    rows = []
    for number in numbers:
        values = {
            kind: np.array(
                [
                    confidence(one.distances[:number], one.delta)
                    for one in judged
                    if bool(one.share) == kind
                ]
            )
            for kind in (True, False)
        }
        value = float(values[True].mean() - values[False].mean())
        rng = np.random.default_rng(43)
        drawn = [
            values[True][rng.integers(len(values[True]), size=len(values[True]))].mean()
            - values[False][rng.integers(len(values[False]), size=len(values[False]))].mean()
            for _ in range(REPEATS)
        ]
        low, high = np.percentile(drawn, _TAILS)
        rows.append(table_row(f"gap at N = {number}", keys, None, value, low, high, len(judged)))
    return rows


def told(row: Row) -> str:
    """A row as a line of text.

    Parameters
    ----------
    row : dict[str, Any]
        Of this module.
    """
    where = "" if row["rho"] == "" else f", rho {row['rho']:g}"
    source = f"{row['source']}: " if row.get("source") else ""
    return (
        f"{source}{row['metric']} ({row['keys']}{where}): {row['value']:.2f} "
        f"({row['low']:.2f} to {row['high']:.2f}), {row['models']} models"
    )


def table_row(
    metric: str, keys: str, share: float | None, value: float, low: float, high: float, models: int
) -> Row:
    """A row; without a source. ``share`` is rho, None if it differs or doesn't matter."""
    return {
        "metric": metric,
        "keys": keys,
        "rho": "" if share is None else share,
        "value": round(float(value), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "models": models,
    }


@dataclass(frozen=True, eq=False)
class Finding:
    """What was found with key samples of one source.

    Attributes
    ----------
    keys : str
        How the key samples were chosen.
    judged : list of Judged
        All models, with the key samples of the verdict.
    ranked : list of Judged
        The same with all ranked key samples, for :func:`number_rows`.
    shadow : mapping of str to float
        Scores of the statistical level by model.
    """

    keys: str
    judged: list[Judged]
    ranked: list[Judged]
    shadow: Mapping[str, float]


def finding_rows(
    name: str, findings: Sequence[Finding], alpha: float, least: float, false_positives: float
) -> list[Row]:
    """All rows of one source, or of several together.

    Parameters
    ----------
    name : str
        What the rows call the source.
    findings : sequence of Finding
        Of one strategy, of each source. Innocent models count once for each source.
    alpha, least : float
        As of :meth:`Judged.accused`.
    false_positives : float
        Accepted share of innocent models above the threshold of Table 1.
    """
    keys = findings[0].keys
    judged = [one for finding in findings for one in finding.judged]
    ranked = [one for finding in findings for one in finding.ranked]
    rows = confidence_rows(keys, judged, alpha, least)
    shadow = [finding.shadow[one.name] for finding in findings for one in finding.judged]
    scores = {"conf": np.array([one.confidence for one in judged]), "shadow": np.array(shadow)}
    shares = np.array([one.share for one in judged])
    for rho in (None, *sorted(set(shares) - {0.0}, reverse=True)):
        which = shares > 0 if rho is None else shares == rho
        for score, values in scores.items():
            innocent = values[shares == 0]
            rows += score_rows(score, keys, values[which], innocent, false_positives, rho=rho)
    rows += band_rows(keys, judged)
    most = min(len(one.distances) for one in ranked)
    numbers = [count for count in NUMBERS if count < most]
    rows += number_rows(keys, ranked, [*numbers, most])
    return [{"source": name, **row} for row in rows]
