"""The statistical level: tell models that were trained on a source's pictures from innocent ones.

Shadow models of both kinds are trained by the owner. A discriminator learns from their answers to
the key samples, and the score of a suspicious model is compared with those of innocent shadow
models.

Null hypothesis of the rank: the suspicious model's score and those of the innocent shadow models
are exchangeable. It fails if the model differs from the innocent shadows in another way than by
what it was trained on, such as its base model, its recipe or its subject.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.attribution.discriminators import FITS
from siren_ext.attribution.key_queries import Answers, nearest_of, picture_view
from siren_ext.attribution.source_config import ShadowConfig
from siren_ext.errors import ScoreError
from siren_ext.passive.cross_validation import auc_of

Floats = NDArray[np.float64]
Embed = Callable[[Tensor], Floats]

FEWEST_SHADOWS = 3
"""Shadow models of each kind that are needed."""
_EMBEDDED = 8  # pictures that are embedded at once


@dataclass(frozen=True)
class ShadowFinding:
    """What the discriminator says about a model.

    Attributes
    ----------
    score : float
        Of the suspicious model.
    threshold : float
        Of the score, from innocent shadow models alone.
    known, innocent : tuple of float
        Scores of the shadow models, each by discriminators that have not seen it.
    p_value : float
        (1 + innocent shadow models that score at least as high) / (1 + innocent shadow models).
    auc : float
        Share of pairs of a known and an innocent shadow model that the score orders rightly.
    false_positives : float
        Accepted share of innocent models above the threshold.
    """

    score: float
    threshold: float
    known: tuple[float, ...]
    innocent: tuple[float, ...]
    p_value: float
    auc: float
    false_positives: float

    @property
    def above(self) -> bool:
        """Whether the score is above the threshold."""
        return self.score > self.threshold

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "score": self.score,
            "threshold": self.threshold,
            "above": self.above,
            "known": list(self.known),
            "innocent": list(self.innocent),
            "p_value": self.p_value,
            "auc": self.auc,
            "false_positives": self.false_positives,
        }


def first_embeddings(answers: Answers, embed: Embed, size: int) -> list[Floats | None]:
    """The embedding of the first answer to each key sample; None where there is none.

    Parameters
    ----------
    answers : Answers
        Of a model.
    embed : callable
        From B x 3 x S x S pictures to B x e.
    size : int
        S in pixels.
    """
    found: list[Floats | None] = [None] * len(answers.files)
    known = [row for row, files in enumerate(answers.files) if files]
    for start in range(0, len(known), _EMBEDDED):
        rows = known[start : start + _EMBEDDED]
        views = torch.cat([picture_view(answers.files[row][0], size) for row in rows])
        for row, vector in zip(rows, np.asarray(embed(views), np.float64), strict=True):
            found[row] = vector
    return found


def query_vectors(
    answers: Answers, own: Sequence[Floats | None], source: Sequence[Floats | None]
) -> Floats:
    """What a model's answers look like, a vector for each key sample.

    Parameters
    ----------
    answers : Answers
        Of the model to N key samples.
    own, source : sequence of array of shape (e,), or None
        Of :func:`first_embeddings`, for the model and for the source.

    Returns
    -------
    array, shape (N, e + 3)
        The embedding of the first answer, its cosine to that of the source's first answer, and the
        distances of the nearest and of the average answer from the key image. A key sample without
        an answer has the means of the others, so that missing answers say nothing.

    Raises
    ------
    ScoreError
        If the model answered no key sample.
    """
    rows: list[Floats | None] = []
    nearest = nearest_of(answers.distances)
    for number, (first, second) in enumerate(zip(own, source, strict=True)):
        if first is None or second is None:
            rows.append(None)
            continue
        length = float(np.linalg.norm(first) * np.linalg.norm(second))
        cosine = float(first @ second) / max(length, 1e-12)
        mean = float(np.nanmean(answers.distances[number]))
        rows.append(np.array([*first, cosine, nearest[number], mean]))
    known = [row for row in rows if row is not None]
    if not known:
        raise ScoreError("The model returned no picture for any key sample; expected at least one.")
    usual = np.mean(known, axis=0)
    return np.stack([usual if row is None else row for row in rows])


def folds_of(trained: Sequence[bool], folds: int, seed: int) -> list[list[int]]:
    """Parts of models such that every part has about the same share of each kind.

    Parameters
    ----------
    trained : sequence of bool
        The kind of each model.
    folds : int
        Most parts; there are no more than models of the rarer kind.
    seed : int
        Of the draw.

    Returns
    -------
    list of list of int
        Positions; every model is in one part.
    """
    rng = np.random.default_rng((seed, 29))
    kinds = [[i for i, flag in enumerate(trained) if flag == kind] for kind in (True, False)]
    count = max(2, min(folds, *(len(kind) for kind in kinds)))
    parts: list[list[int]] = [[] for _ in range(count)]
    for kind in kinds:
        for place, number in enumerate(rng.permutation(kind)):
            parts[place % count].append(int(number))
    return [sorted(part) for part in parts]


def find(
    suspect: Floats,
    known: Sequence[Floats],
    innocent: Sequence[Floats],
    config: ShadowConfig | None = None,
) -> ShadowFinding:
    """Score a suspicious model with discriminators of shadow models.

    Parameters
    ----------
    suspect : array, shape (N, d)
        Its vectors.
    known, innocent : sequence of array, each of shape (N, d)
        Those of shadow models that were trained on the source's pictures, and of innocent ones.
    config : ShadowConfig | None
        Settings; None for the defaults.

    Returns
    -------
    ShadowFinding
        Every shadow model is scored by the discriminator that was trained without its part of the
        models, and the suspicious model by all of them, whose scores are averaged.

    Raises
    ------
    ScoreError
        If there are fewer than three shadow models of a kind, or the vectors do not fit.
    """
    config = config or ShadowConfig()
    models = [*known, *innocent]
    if min(len(known), len(innocent)) < FEWEST_SHADOWS:
        raise ScoreError(
            f"There are {len(known)} models that were trained on the source's pictures and "
            f"{len(innocent)} innocent ones; expected {FEWEST_SHADOWS} or more of each."
        )
    if len({one.shape[1] for one in (*models, suspect)}) > 1:
        raise ScoreError(
            "The vectors of the models have different lengths; ask all models for the same "
            "key samples."
        )
    trained = [True] * len(known) + [False] * len(innocent)
    own = np.empty(len(models))
    asked = []
    for part in folds_of(trained, config.folds, config.seed):
        seen = [number for number in range(len(models)) if number not in part]
        score = FITS[config.discriminator](
            [models[number] for number in seen], [trained[number] for number in seen], config
        )
        asked.append(score(suspect))
        for number in part:
            own[number] = score(models[number])
    first, second = own[: len(known)], own[len(known) :]
    value = float(np.mean(asked))
    return ShadowFinding(
        score=value,
        threshold=threshold_at(second, config.false_positives),
        known=tuple(first.tolist()),
        innocent=tuple(second.tolist()),
        p_value=(1 + int((second >= value).sum())) / (1 + len(second)),
        auc=auc_of(first, second),
        false_positives=config.false_positives,
    )


def threshold_at(innocent: Floats, share: float) -> float:
    """The smallest of the innocent scores that at most this share of them exceeds.

    Parameters
    ----------
    innocent : array, shape (m,)
        Scores of innocent models, at least one.
    share : float
        From 0 to 1.

    Raises
    ------
    ScoreError
        If there is no score.
    """
    ordered = np.sort(np.asarray(innocent, np.float64))[::-1]
    if not len(ordered):
        raise ScoreError("There is no score of an innocent model; expected at least one.")
    return float(ordered[min(len(ordered) - 1, math.floor(share * len(ordered) + 1e-9))])


def rates(known: Floats, innocent: Floats, share: float) -> dict[str, float]:
    """How well scores tell models apart.

    Parameters
    ----------
    known, innocent : array, shape (k,) and (m,)
        Scores of models that were trained on the source's pictures, and of innocent ones.
    share : float
        Accepted share of innocent models above the threshold, which comes from them alone.

    Returns
    -------
    dict
        ``accuracy`` at that threshold with both kinds weighted alike, ``auc``, and ``tpr``, the
        share of the others above it.
    """
    limit = threshold_at(innocent, share)
    tpr, fpr = float((known > limit).mean()), float((innocent > limit).mean())
    return {"accuracy": (tpr + 1 - fpr) / 2, "auc": auc_of(known, innocent), "tpr": tpr}
