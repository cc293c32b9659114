"""The verdict on a suspicious model: was it trained on pictures of the source?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from siren_ext.attribution.confidence import (
    DeltaChoice,
    InnocentRate,
    binomial_tail,
    choose_delta,
    confidence,
    count_hits,
    innocent_rate,
)
from siren_ext.attribution.distances import Floats
from siren_ext.attribution.key_queries import Answers, KeySample
from siren_ext.attribution.shadow import ShadowFinding
from siren_ext.attribution.source_config import DELTA, FEWEST_INNOCENT, SourceConfig
from siren_ext.attribution.source_wording import headline, verdict_notes
from siren_ext.errors import ConfigError, ScoreError

Outcome = Literal["found", "open"]


@dataclass(frozen=True)
class Threshold:
    """The distance up to which a key sample counts as reproduced, and where it comes from.

    Attributes
    ----------
    delta : float
        The distance.
    origin : {"paper", "given", "known"}
        The paper's, given by the user, or chosen on known models.
    choice : DeltaChoice | None
        How well it tells the known models apart.
    """

    delta: float
    origin: Literal["paper", "given", "known"]
    choice: DeltaChoice | None = None


@dataclass(frozen=True, eq=False)
class SourceVerdict:
    """What is known about a suspicious model.

    Attributes
    ----------
    outcome : {"found", "open"}
        Whether it is accused. ``open`` clears nobody.
    headline : str
        A sentence or two.
    hits, total : int
        Key samples that it reproduces, of those that it answered.
    p_value : float
        Binomial tail at the upper end of the innocent rate's interval, which decides.
    p_at_rate : float
        The same at the rate itself.
    threshold : Threshold
        What counts as reproduced.
    innocent : InnocentRate
        What innocent models reproduce.
    distances : array, shape (N,)
        Of the nearest answers of the suspicious model; NaN where there is none.
    models : mapping of str to (int, int)
        Hits and answered key samples of the other models.
    shadow : ShadowFinding | None
        The statistical level, if there are enough models.
    notes : tuple of str
        What a reader has to know, in sentences.
    """

    outcome: Outcome
    headline: str
    hits: int
    total: int
    p_value: float
    p_at_rate: float
    threshold: Threshold
    innocent: InnocentRate
    distances: Floats
    models: Mapping[str, tuple[int, int]]
    shadow: ShadowFinding | None
    notes: tuple[str, ...]

    @property
    def confidence(self) -> float:
        """conf(M), the share of key samples that the suspicious model reproduces."""
        return self.hits / self.total

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without distances."""
        choice = self.threshold.choice
        return {
            "outcome": self.outcome,
            "headline": self.headline,
            "confidence": self.confidence,
            "hits": self.hits,
            "total": self.total,
            "p_value": self.p_value,
            "p_at_rate": self.p_at_rate,
            "delta": {
                "value": self.threshold.delta,
                "origin": self.threshold.origin,
                "known_below": None if choice is None else choice.known,
                "innocent_below": None if choice is None else choice.innocent,
            },
            "innocent_rate": {
                "rate": self.innocent.rate,
                "upper": self.innocent.upper,
                "hits": self.innocent.hits,
                "total": self.innocent.total,
                "models": self.innocent.models,
                "best": self.innocent.best,
                "measured": self.innocent.measured,
            },
            "models": {
                name: {"hits": hits, "total": total} for name, (hits, total) in self.models.items()
            },
            "shadow": None if self.shadow is None else self.shadow.to_dict(),
            "notes": list(self.notes),
        }


def split_innocent(models: Sequence[Floats], choosing: bool) -> tuple[list[Floats], list[Floats]]:
    """Innocent models with which the threshold is chosen, and those that measure the rate.

    Parameters
    ----------
    models : sequence of array
        Distances of each.
    choosing : bool
        Whether a threshold is chosen; else all measure the rate.

    Returns
    -------
    choosing, measuring : list of array
        Different models if there are enough, which is four; else all of them twice.
    """
    if not choosing:
        return [], list(models)
    if len(models) <= FEWEST_INNOCENT:
        return list(models), list(models)
    chosen = max(1, (len(models) - FEWEST_INNOCENT + 1) // 2)
    return list(models[:chosen]), list(models[chosen:])


def threshold_for(
    known: Sequence[Floats], innocent: Sequence[Floats], config: SourceConfig
) -> Threshold:
    """The threshold of the distance: given, chosen on known models, or the paper's.

    Parameters
    ----------
    known, innocent : sequence of array, each of shape (N,)
        Distances of models that were trained on the source's pictures, and of innocent ones.
    config : SourceConfig
        Gives distance, ``delta`` and ``band``.

    Raises
    ------
    ConfigError
        If the distance is not ``l2`` and there is nothing to choose with.
    """
    if config.delta:
        return Threshold(config.delta, "given")
    if known and innocent:
        choice = choose_delta(known, innocent, config.band)
        return Threshold(choice.delta, "known", choice)
    if config.distance != "l2":
        raise ConfigError(
            f"The paper's threshold of {DELTA:g} holds for the distance l2, not for "
            f"{config.distance}. Give delta, or known and innocent models to choose it."
        )
    return Threshold(DELTA, "paper")


def judge_source(
    suspect: Answers,
    known: Mapping[str, Answers],
    innocent: Mapping[str, Answers],
    config: SourceConfig,
    *,
    shadow: ShadowFinding | None = None,
    notes: Sequence[str] = (),
) -> SourceVerdict:
    """Judge a suspicious model by its answers to key samples.

    It is accused if p is below ``alpha``, its confidence at least ``least_confidence``, p0 measured
    on at least three innocent models that did not choose the threshold, and if it reproduces more
    key samples than each of these, and a larger share of those that were answered. The last two
    conditions are no part of the paper: a rate of other models says little about this kind, and
    innocent models may differ by more than the binomial distribution allows.

    Parameters
    ----------
    suspect : Answers
        Of the suspicious model.
    known, innocent : mapping of str to Answers
        Of models that were trained on the source's pictures, and of innocent ones, by name.
    config : SourceConfig
        The settings.
    shadow : ShadowFinding | None
        The statistical level; it is told, and does not decide.
    notes : sequence of str
        Sentences to be told.

    Raises
    ------
    ConfigError
        As :func:`threshold_for`.
    ScoreError
        If the suspicious model answered no key sample.
    """
    near = suspect.nearest
    if not suspect.answered:
        raise ScoreError(
            "The suspicious model returned no picture for any key sample, so nothing can be said. "
            "Check its address, and why it refused to make pictures."
        )
    trained, clean = (  # without an answer a model can't choose or measure
        [one.nearest for one in models.values() if one.answered] for models in (known, innocent)
    )
    choosing, measuring = split_innocent(clean, bool(trained) and not config.delta)
    limit = threshold_for(trained, choosing, config)
    rate = innocent_rate(measuring, limit.delta)
    hits, total = count_hits(near, limit.delta)
    p_value, p_at_rate = (binomial_tail(hits, total, one) for one in (rate.upper, rate.rate))
    reused = bool(choosing) and len(choosing) == len(clean)
    accused = (
        p_value < config.alpha
        and hits >= config.least_confidence * total
        and rate.measured
        and hits > rate.best
        and hits / total > max(confidence(one, limit.delta) for one in measuring)
        and not reused
    )
    outcome: Outcome = "found" if accused else "open"
    others = {
        name: count_hits(one.nearest, limit.delta)
        for name, one in (*known.items(), *innocent.items())
    }
    told = (*notes, *verdict_notes(rate, limit.origin, reused, suspect.missed))
    return SourceVerdict(
        outcome=outcome,
        headline=headline(outcome, hits, total, p_value, rate),
        hits=hits,
        total=total,
        p_value=p_value,
        p_at_rate=p_at_rate,
        threshold=limit,
        innocent=rate,
        distances=near,
        models=others,
        shadow=shadow,
        notes=told,
    )


def key_rows(keys: Sequence[KeySample], distances: Floats, delta: float) -> list[dict[str, Any]]:
    """A row for each key sample, for the report.

    Parameters
    ----------
    keys : sequence of KeySample
        N key samples.
    distances : array, shape (N,)
        Of the suspicious model.
    delta : float
        The threshold.
    """

    def known(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    return [
        {
            "image": key.name,
            "caption": key.caption,
            "sha256": key.digest,
            "source": known(key.distance),
            "base": known(key.base_distance),
            "suspect": known(float(value)),
            "reproduced": bool(value <= delta),
        }
        for key, value in zip(keys, distances, strict=True)
    ]
