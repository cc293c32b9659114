"""One finding per test that the data permit, and which of them is the strictest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from siren_ext.errors import ScoreError
from siren_ext.scoring.appearance import Contrast, contrast, too_unlike
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import KeyedResult, contributions, keyed_test
from siren_ext.stats.ks import KsResult, ks_less, ks_two_sided
from siren_ext.stats.low_end import LOW_END
from siren_ext.stats.rank import RankResult, rank_among

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey

Outcome = Literal["coating found", "no evidence", "inconclusive"]
Test = Literal["keyed", "rank", "ks"]

STRICTEST_FIRST: tuple[Test, ...] = ("keyed", "rank", "ks")
"""By what an innocent model would have to be like: anything; one of a kind; like one reference."""


@dataclass(frozen=True)
class Finding:
    """What one test says.

    Attributes
    ----------
    test : Test
        ``keyed``, ``rank`` (among innocent models) or ``ks`` (against a reference model).
    outcome : Outcome
        at the verdict's alpha; "inconclusive" when no evidence could have reached it, or
        when the pictures are so unlike those compared with that a find would mean nothing.
    result : KsResult | KeyedResult | RankResult
        all figures of the test.
    suspects : int
        suspect images that were used.
    others : int
        reference images, innocent models or decoy messages compared with.
    strengths : tuple[float, ...]
        keyed only: |F_j| per bit, ascending. Without signs and order they hold nothing
        of the message, and p follows from them and the statistic.
    features_sha256 : str
        keyed only: of the features that were used.
    key : str
        keyed only: the key's fingerprint.
    contrast : Contrast | None
        how unlike the suspect's pictures the others' look; among innocent models, those
        of the most alike one. None where the scores do not tell.
    """

    test: Test
    outcome: Outcome
    result: KsResult | KeyedResult | RankResult
    suspects: int
    others: int
    strengths: tuple[float, ...] = ()
    features_sha256: str = ""
    key: str = ""
    contrast: Contrast | None = None

    @property
    def unlike(self) -> bool:
        """Whether the pictures compared are of another kind than the suspect's."""
        return too_unlike(self.contrast)

    @property
    def p_value(self) -> float:
        """The chance of such evidence under the test's null hypothesis."""
        return self.result.p_value

    @property
    def smallest_p(self) -> float:
        """What perfect evidence would give."""
        return self.result.smallest_p

    @property
    def effect(self) -> float:
        """How far the evidence goes, 0 for none to 1; the largest gap D for ``ks``."""
        if isinstance(self.result, KsResult):
            return self.result.statistic
        if isinstance(self.result, RankResult):
            return 1 - self.result.at_least / self.result.others
        return max(0.0, self.result.statistic / self.result.span) if self.result.span else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; nothing in them tells the message."""
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
            # not called a key: reports leave out what is
            values["committed_as"] = self.key
        if self.contrast is not None:
            values["contrast"] = self.contrast.to_dict()
        return values


def outcome_of(p_value: float, smallest_p: float, alpha: float) -> Outcome:
    """The outcome of one test at ``alpha``."""
    if alpha < smallest_p:
        return "inconclusive"
    return "coating found" if p_value <= alpha else "no evidence"


def strictest(findings: Sequence[Finding]) -> Finding:
    """The finding that decides: the strictest whose test can reach alpha with these data.

    It is chosen by what was supplied, never by p, so there is no choice among results to pay for.
    """
    order = sorted(findings, key=lambda finding: STRICTEST_FIRST.index(finding.test))
    return next((finding for finding in order if finding.outcome != "inconclusive"), order[0])


def ks_finding(
    suspect: ScoreSet,
    reference: ScoreSet,
    alpha: float,
    *,
    method: Literal["auto", "exact", "asymptotic"] = "auto",
    two_sided: bool = False,
    share: float = LOW_END,
) -> Finding:
    """Whether the suspect's images score lower than the reference's; see :mod:`stats.ks`.

    The gap is sought in the lowest ``share`` of the reference (:mod:`stats.low_end`), by the
    two-sided test everywhere.
    """
    pools = distinct_scores(suspect), distinct_scores(reference)
    if two_sided:
        result = ks_two_sided(*pools, method=method)
    else:
        result = ks_less(*pools, method=method, share=share)
    outcome = outcome_of(result.p_value, result.smallest_p, alpha)
    if identical_pools(suspect, reference):
        outcome = "inconclusive"
    apart = pools_contrast(suspect, reference)
    outcome = _guarded(outcome, apart)
    return Finding("ks", outcome, result, result.n, result.m, contrast=apart)


def pools_contrast(suspect: ScoreSet, other: ScoreSet) -> Contrast | None:
    """How unlike another pool's pictures the suspect's look; None where the scores do not tell."""
    if suspect.looks is None or other.looks is None:
        return None
    return contrast(suspect.looks[distinct_rows(suspect)], other.looks[distinct_rows(other)])


def _guarded(outcome: Outcome, apart: Contrast | None) -> Outcome:
    """A find among pictures of another kind tells nothing; finding nothing stays what it is."""
    return "inconclusive" if too_unlike(apart) and outcome == "coating found" else outcome


def rank_finding(suspect: ScoreSet, innocents: Sequence[ScoreSet], alpha: float) -> Finding:
    """The rank of the suspect's mean score among those of innocent models; :mod:`stats.rank`.

    Every model counts with as many images as the smallest pool has, the first in order, since means
    of different numbers of images are not alike.
    """
    pools = [distinct_scores(pool) for pool in (suspect, *innocents)]
    count = min(map(len, pools))
    own, *others = (float(pool[:count].mean()) for pool in pools)
    result = rank_among(own, others)
    outcome = outcome_of(result.p_value, result.smallest_p, alpha)
    known = [one for pool in innocents if (one := pools_contrast(suspect, pool)) is not None]
    # one that does not tell how its pictures look may be the most alike of all
    nearest = None
    if len(known) == len(innocents):
        nearest = min(known, key=lambda one: one.share)
    return Finding("rank", _guarded(outcome, nearest), result, count, len(others), contrast=nearest)


def keyed_finding(
    suspect: ScoreSet, key: CoatingKey, alpha: float, *, decoys: int, seed: int
) -> Finding:
    """Whether the key's message is in the images; see :mod:`stats.keyed`.

    ``seed`` fixes the decoys alone, so that the rank can be computed again.

    Raises :class:`ScoreError` when the scores hold no features or of another length.
    """
    features = used_features(suspect)
    rng = np.random.default_rng(seed)
    result = keyed_test(features, key.signs(), decoys=decoys, rng=rng)
    strengths = np.sort(np.abs(contributions(features).sum(axis=0)))
    return Finding(
        "keyed",
        outcome_of(result.p_value, result.smallest_p, alpha),
        result,
        len(features),
        decoys,
        tuple(float(value) for value in strengths),
        hashlib.sha256(np.ascontiguousarray(features, dtype="<f8").tobytes()).hexdigest(),
        key.fingerprint(),
    )


def used_features(pool: ScoreSet) -> NDArray[np.float64]:
    """The features (n, k) of a pool without exact copies; raises :class:`ScoreError` if none."""
    if pool.features is None:
        raise ScoreError(
            "These scores hold no features, so no key can be tested; score the images with the "
            "keyed coater that coated the files."
        )
    return np.asarray(pool.features[distinct_rows(pool)])


def distinct_rows(pool: ScoreSet) -> list[int]:
    """Positions of the images that are no later exact copies (same bytes, same score)."""
    seen: set[tuple[str, float]] = set()
    kept = []
    for index, (digest, score) in enumerate(zip(pool.hashes, pool.scores, strict=True)):
        entry = (digest, round(float(score), 4))
        if digest and entry in seen:
            continue
        seen.add(entry)
        kept.append(index)
    return kept


def distinct_scores(pool: ScoreSet) -> NDArray[np.float64]:
    """The scores without those of later exact copies, since a copy is no new observation."""
    return np.asarray(pool.scores[distinct_rows(pool)])


def identical_pools(first: ScoreSet, second: ScoreSet) -> bool:
    """Whether two pools hold the same images."""
    if all(first.hashes) and all(second.hashes):
        pools = [
            {(h, round(float(s), 4)) for h, s in zip(pool.hashes, pool.scores, strict=True)}
            for pool in (first, second)
        ]
        return pools[0] == pools[1]
    return len(first) == len(second) and bool(
        np.array_equal(np.sort(first.scores), np.sort(second.scores))
    )
