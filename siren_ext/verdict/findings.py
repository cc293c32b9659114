"""The finding of each test, and which of them decides."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from siren_ext.scoring.appearance import Contrast, contrasts, shown_alike, too_unlike
from siren_ext.scoring.copies import distinct_rows
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.coins import CoinsResult
from siren_ext.stats.keyed import KeyedResult, contributions, keyed_test, whole_sums
from siren_ext.stats.ks import KsResult, Method
from siren_ext.stats.low_end import LOW_END
from siren_ext.stats.prediction import PredictionResult
from siren_ext.stats.rank import RankResult, rank_among
from siren_ext.verdict.compared import ks_result, p_by_message
from siren_ext.verdict.control import Control, control_of, keyed_outcome
from siren_ext.verdict.outcomes import (
    LOWER,
    LOWER_RANK,
    NOT_COMPARABLE,
    Outcome,
    comparison_outcome,
)
from siren_ext.verdict.pools import distinct_scores, identical_pools, pools_contrast, used_features
from siren_ext.verdict.whole import Whole, whole_of

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

Test = Literal["twins", "keyed", "decoys", "rank", "models", "ks"]

STRICTEST_FIRST: tuple[Test, ...] = ("twins", "keyed", "decoys", "rank", "models", "ks")
"""Ordered by what is assumed of an innocent model: nothing (three times); one of a kind; one of a
kind with normal means; like the reference."""


@dataclass(frozen=True)
class Finding:
    """The result of one test.

    Attributes
    ----------
    test : Test
        ``twins``, ``keyed``, ``decoys``, ``rank`` (among innocent models), ``models`` (several
        references) or ``ks`` (pictures against those of the reference).
    outcome : Outcome
        At the verdict's alpha; "inconclusive" if no evidence could have reached it, "not
        comparable" if the images are not shown to look like those compared with, so that low
        scores would mean nothing.
    result : KsResult | KeyedResult | RankResult | CoinsResult | PredictionResult
        All figures of the test.
    suspects : int
        Number of suspect images used.
    others : int
        Number of reference images, innocent models or decoys compared with; 0 for the keyed test,
        which counts all messages.
    strengths : tuple[float, ...]
        Keyed test only: |F_j| of each bit, whole numbers in ascending order. p follows from them
        and the statistic.
    features_sha256 : str
        Keyed test only: SHA-256 of the features used.
    key : str
        Keyed test only: the key's fingerprint.
    contrast : Contrast | None
        How unlike the suspect's images those compared with look; of innocent models, the most
        similar one. None if the scores have no record of it.
    price : int
        What p is multiplied by: the number of keys and tests that could have been chosen from.
    control : Control | None
        Keyed test of pictures only: a known message in the same pictures. None if the scores hold
        none.
    whole : Whole | None
        Keyed test of a model's file only: the test that also counts whole changes, and decides.
        None if the measurement holds no learnt field; then ``result`` decides.
    by_message : float | None
        Comparison with a reference, with a key: p of the same test on the distances to the
        message's centre, rounded up to a power of ten, so that it tells little about the message.
        None without a key, or without features of both models.
    """

    test: Test
    outcome: Outcome
    result: KsResult | KeyedResult | RankResult | CoinsResult | PredictionResult
    suspects: int
    others: int
    strengths: tuple[float, ...] = ()
    features_sha256: str = ""
    key: str = ""
    contrast: Contrast | None = None
    price: int = 1
    control: Control | None = None
    by_message: float | None = None
    whole: Whole | None = None

    @property
    def unlike(self) -> bool:
        """Whether the images compared with are not shown to look like the suspect's.

        A comparison with references needs a record of looks; the rank does not, because a model
        without a record may be the most similar of all.
        """
        return too_unlike(self.contrast) or (
            self.test in ("models", "ks") and self.contrast is None
        )

    @property
    def own_p(self) -> float:
        """The chance of a result this strong under the test's null hypothesis."""
        return (self.whole or self.result).p_value

    @property
    def p_value(self) -> float:
        """The same, with the price."""
        return min(1.0, self.own_p * self.price)

    @property
    def smallest_p(self) -> float:
        """The p that perfect evidence would give."""
        return min(1.0, (self.whole or self.result).smallest_p * self.price)

    @property
    def effect(self) -> float:
        """Strength of the evidence, 0 (none) to 1; the largest gap D for ``ks``."""
        if isinstance(self.result, KsResult):
            return self.result.statistic
        if isinstance(self.result, PredictionResult):
            return max(0.0, 1 - 2 * self.result.p_value)
        if isinstance(self.result, RankResult):
            return 1 - self.result.at_least / self.result.others
        return max(0.0, self.result.statistic / self.result.span) if self.result.span else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; they reveal nothing about the message.

        Returns
        -------
        dict[str, Any]
            All figures.
        """
        values: dict[str, Any] = {
            "test": self.test,
            "outcome": self.outcome,
            "p_value": self.p_value,
            "smallest_p": self.smallest_p,
            "suspects": self.suspects,
            "others": self.others,
            "result": self.result.to_dict(),
        }
        if self.test == "keyed":
            values["strengths"] = list(self.strengths)
            values["features_sha256"] = self.features_sha256
            # not named 'key': reports remove values of that name
            values["committed_as"] = self.key
        if self.control is not None:
            values["control"] = self.control.to_dict()
        if self.whole is not None:
            values["whole"] = self.whole.to_dict()
        if self.by_message is not None:
            values["by_message"] = self.by_message
        if self.contrast is not None:
            values["contrast"] = self.contrast.to_dict()
        return values


def strictest(findings: Sequence[Finding]) -> Finding:
    """Choose the finding that decides: that of the strictest test for which data were supplied.

    The choice depends neither on p nor on alpha, so it needs no correction for multiple tests, and
    accepting a smaller risk never selects a laxer test.

    Parameters
    ----------
    findings : Sequence[Finding]
        At least one.

    Returns
    -------
    Finding
        The one that decides.
    """
    return min(findings, key=lambda finding: STRICTEST_FIRST.index(finding.test))


def ks_finding(
    suspect: ScoreSet,
    reference: ScoreSet,
    alpha: float,
    *,
    method: Method = "auto",
    two_sided: bool = False,
    share: float = LOW_END,
    bound: bool = False,
    key: CoatingKey | None = None,
) -> Finding:
    """Test whether the suspect's images score lower than the reference's.

    Parameters
    ----------
    suspect, reference : ScoreSet
        The scores.
    alpha : float
        The accepted risk.
    method, two_sided : str, bool
        See :class:`~siren_ext.verdict.config.VerifyConfig`.
    share : float
        Share of the reference's scores, from the lowest, in which the one-sided test looks for the
        largest gap.
    bound : bool
        Take the p of a gap anywhere, as reports did that were written before; see
        :func:`~siren_ext.stats.ks.ks_less`.
    key : CoatingKey | None
        The owner's secret, to compare the distances to its message's centre too.

    Returns
    -------
    Finding
        "not comparable" if the pools are identical or not shown to look alike (whatever p is), or
        if the two-sided test finds higher scores, which a coating can't cause.

    Raises
    ------
    ScoreError
        The key does not fit the features.

    References
    ----------
    :mod:`siren_ext.stats.ks`, :mod:`siren_ext.stats.low_end_distribution`.
    """
    figures = ks_result(
        suspect, reference, method=method, two_sided=two_sided, share=share, bound=bound
    )
    found = finding_of_ks(figures, suspect, reference, alpha)
    if key is None:
        return found
    by_message = p_by_message(
        suspect, reference, key.signs(), method=method, two_sided=two_sided, share=share
    )
    return replace(found, by_message=by_message)


def finding_of_ks(
    result: KsResult, suspect: ScoreSet, reference: ScoreSet, alpha: float
) -> Finding:
    """What a result of the test against a reference says about the pools that it compared.

    Parameters
    ----------
    result : KsResult
        All figures of the test.
    suspect, reference : ScoreSet
        The scores.
    alpha : float
        The accepted risk.

    Returns
    -------
    Finding
        "not comparable" if the pools are identical or not shown to look alike (whatever p is), or
        if the two-sided test finds higher scores, which a coating can't cause.
    """
    apart = pools_contrast(suspect, reference)
    # With very few images the outcome is "inconclusive", which says that more are needed.
    few = apart is not None and not apart.enough and alpha < result.smallest_p
    comparable = not identical_pools(suspect, reference) and (few or shown_alike(apart))
    outcome = comparison_outcome(result.p_value, result.smallest_p, alpha, comparable=comparable)
    if outcome == LOWER and not _lower(result, suspect, reference):
        outcome = NOT_COMPARABLE
    return Finding("ks", outcome, result, result.n, result.m, contrast=apart)


def _lower(result: KsResult, suspect: ScoreSet, reference: ScoreSet) -> bool:
    """Whether the suspect's scores are the lower ones where the two-sided test found its gap."""
    if result.alternative == "less" or result.location is None:
        return True
    below = (
        float((distinct_scores(pool) <= result.location).mean()) for pool in (suspect, reference)
    )
    return next(below) >= next(below)


def _guarded(outcome: Outcome, apart: Contrast | None) -> Outcome:
    """Turn lower scores into "not comparable" if the images are too unlike; other outcomes stay."""
    return NOT_COMPARABLE if too_unlike(apart) and outcome == LOWER_RANK else outcome


def rank_finding(suspect: ScoreSet, innocents: Sequence[ScoreSet], alpha: float) -> Finding:
    """Rank the suspect's mean score among those of innocent models.

    Each model is represented by its first images, as many as the smallest pool has, because means
    of different numbers of images are not comparable.

    Parameters
    ----------
    suspect : ScoreSet
        The suspect's scores.
    innocents : Sequence[ScoreSet]
        One or more innocent models' scores.
    alpha : float
        The accepted risk.

    Returns
    -------
    Finding
        Never "coating found". "inconclusive" if there are too few models, "not comparable" instead
        of lower scores if all of them generate images that are not shown to look like the
        suspect's.

    References
    ----------
    :mod:`siren_ext.stats.rank`.
    """
    pools = (suspect, *innocents)
    rows = [distinct_rows(pool) for pool in pools]
    count = min(map(len, rows))
    own, *others = (
        float(pool.scores[kept[:count]].mean()) for pool, kept in zip(pools, rows, strict=True)
    )
    result = rank_among(own, others)
    outcome = comparison_outcome(
        result.p_value, result.smallest_p, alpha, comparable=True, lower=LOWER_RANK
    )
    looks = [
        pool.looks[kept] for pool, kept in zip(pools, rows, strict=True) if pool.looks is not None
    ]
    # a model without a record of looks may be the most similar of all
    nearest = None
    if len(looks) == len(pools):
        nearest = min(contrasts(looks[0], looks[1:]), key=lambda one: one.share)
    return Finding("rank", _guarded(outcome, nearest), result, count, len(others), contrast=nearest)


def keyed_finding(
    suspect: ScoreSet,
    key: CoatingKey,
    alpha: float,
    *,
    price: int = 1,
    coater: Coater | None = None,
) -> Finding:
    """Test whether the key's message is in the images, or in what a model adds to images.

    Parameters
    ----------
    suspect : ScoreSet
        The suspect's scores with features.
    key : CoatingKey
        The owner's secret.
    alpha : float
        The accepted risk.
    price : int
        What p is multiplied by.
    coater : Coater | None
        The coater; needed for the measurement of a model's file.

    Returns
    -------
    Finding
        The result. "inconclusive" instead of "no evidence" if the positive control was not found.

    Raises
    ------
    ScoreError
        The scores have no features, or features of another length than the key; or they are a
        measurement that is tested with the coater, and none was given.
    CoaterError
        It is another coater.

    References
    ----------
    :mod:`siren_ext.stats.keyed`, :mod:`siren_ext.verdict.whole`.
    """
    features = used_features(suspect)
    result, control = keyed_test(features, key.signs()), control_of(suspect)
    whole = whole_of(suspect, key, coater)
    strengths = np.sort(np.abs(whole_sums(contributions(features))))
    return Finding(
        "keyed",
        keyed_outcome(whole or result, control, alpha, price),
        result,
        len(features),
        0,
        tuple(int(value) for value in strengths),
        hashlib.sha256(np.ascontiguousarray(features, dtype="<f8").tobytes()).hexdigest(),
        key.fingerprint(),
        price=price,
        control=control,
        whole=whole,
    )
