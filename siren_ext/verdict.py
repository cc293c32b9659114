"""From two score sets to a verdict in plain words, with its limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from siren_ext.config import Config
from siren_ext.errors import ScoreError
from siren_ext.listing import printable
from siren_ext.scoring import ScoreSet, require_same_coater
from siren_ext.stats.ks import P_FLOOR, KsResult, ks_less, ks_two_sided

Outcome = Literal["coating found", "no evidence", "inconclusive"]

MIN_SUSPECTS = 30
MIN_REFERENCES = 100
# Settings of generation that move scores by themselves and so must match, as people call them.
_COMPARED = {
    "negative": "negative prompt",
    "steps": "number of steps",
    "guidance": "guidance",
    "size": "image size",
    "scheduler": "scheduler",
    "model": "base model",
}
_LARGE = ("million", "billion", "trillion")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

DOES_NOT_PROVE = (
    "It does not say who owns the images, nor whether their use was lawful.",
    "It does not say how the coating got into the model: the images may have come through a third "
    "party, or the model may have learnt from another model's output.",
    "The test asks whether the suspect's scores could come from the same source as the "
    "reference's. A model of another style, subject, base or setting than the reference can differ "
    "without ever having seen a coated image; the closer the reference matches the suspect, the "
    "stronger the finding.",
    "The chance given is not the probability that the model is innocent. It is how often scores "
    "this low would turn up if suspect and reference did not differ.",
    "Each further model, set of prompts or repetition that is tried is one more chance of a false "
    "alarm; only a test whose plan was fixed beforehand has the stated risk.",
    "Finding nothing is not proof of innocence: too few images, a short training or processed "
    "images can hide a coating, and images whose uncoated version was public are not protected.",
)


@dataclass(frozen=True)
class VerifyConfig(Config):
    """How strict the verdict is.

    Attributes:
        alpha: accepted risk of accusing a model that does not differ from the reference.
        method: how p is computed; ``auto`` is exact up to 10,000 images a side.
        two_sided: the paper's test; it also rejects when the suspect scores *higher*.
    """

    alpha: float = 1e-6
    method: Literal["auto", "exact", "asymptotic"] = "auto"
    two_sided: bool = False

    bounds: ClassVar[dict[str, tuple[float, float]]] = {"alpha": (1e-299, 0.5)}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {
        "method": ("auto", "exact", "asymptotic"),
        "two_sided": (True, False),
    }


@dataclass(frozen=True)
class Verdict:
    """What was found, in words and figures.

    Attributes:
        outcome: the verdict.
        headline: the verdict in a sentence or two for everybody.
        finding: the test behind it.
        config: the settings it was reached with; ``config.alpha`` is the accepted risk.
        warnings: what weakens it in this case.
        does_not_prove: what no such verdict shows.
        coater: fingerprint of the coater.
    """

    outcome: Outcome
    headline: str
    finding: KsResult
    config: VerifyConfig
    warnings: tuple[str, ...]
    does_not_prove: tuple[str, ...]
    coater: str

    @property
    def alpha(self) -> float:
        """The accepted risk of a false accusation."""
        return self.config.alpha

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "outcome": self.outcome,
            "headline": self.headline,
            "alpha": self.alpha,
            "finding": self.finding.to_dict(),
            "p_in_words": odds(self.finding.p_value),
            "settings": self.config.to_dict(),
            "warnings": list(self.warnings),
            "does_not_prove": list(self.does_not_prove),
            "coater": self.coater,
        }


def verify(suspect: ScoreSet, reference: ScoreSet, config: VerifyConfig | None = None) -> Verdict:
    """Test whether the suspect's images score lower than the reference's.

    ``reference`` are scores of images by a model that never saw a coated image and otherwise
    resembles the suspect as closely as possible: same subject, prompts and settings. Exact copies
    within a pool count once, since a copy is no new observation.

    Null hypothesis: suspect and reference scores come from one distribution. See
    :data:`DOES_NOT_PROVE` for what a rejection does not show. The outcome is "inconclusive" when
    the test could not have found anything: fewer images than ``alpha`` needs, or one pool compared
    with itself.

    Raises :class:`ScoreError` when the pools were scored by different coaters or are empty.
    """
    config = config or VerifyConfig()
    require_same_coater(suspect, reference)
    if not len(suspect) or not len(reference):
        raise ScoreError(
            f"There are {len(suspect)} suspect and {len(reference)} reference scores; expected at "
            f"least one of each (better {MIN_SUSPECTS} and {MIN_REFERENCES})."
        )
    first, second = distinct_scores(suspect), distinct_scores(reference)
    test = ks_two_sided if config.two_sided else ks_less
    finding = test(first, second, method=config.method)
    identical = _identical(suspect, reference)
    outcome: Outcome
    if identical or config.alpha < finding.smallest_p:
        outcome = "inconclusive"
    elif finding.p_value <= config.alpha:
        outcome = "coating found"
    else:
        outcome = "no evidence"
    warnings = (
        *_pool_warnings(suspect, reference, finding, identical=identical),
        *_level_warnings(finding, config),
        *_setting_warnings(suspect.source, reference.source),
    )
    headline = _headline(outcome, finding, config, identical=identical)
    return Verdict(outcome, headline, finding, config, warnings, DOES_NOT_PROVE, suspect.coater)


def odds(p: float) -> str:
    """A probability for reading: ``12 %``, ``1 in 2,500``, ``1 in 3.5 million``, ``1 in 10¹⁷``."""
    if p >= 0.05:
        return f"{min(p, 1) * 100:.0f} %"
    if p <= P_FLOOR:  # only an upper bound is known there
        return f"less than 1 in {_power(round(-math.log10(P_FLOOR)))}"
    rate = float(f"{1 / p:.2g}")
    if rate < 1e6:
        return f"1 in {rate:,.0f}"
    power = math.floor(math.log10(rate) + 1e-9)
    if power < 3 * (len(_LARGE) + 2):
        return f"1 in {rate / 1000 ** (power // 3):g} {_LARGE[power // 3 - 2]}"
    lead = f"{rate / 10**power:.2g}"
    return f"1 in {_power(power)}" if lead == "1" else f"1 in {lead} \u00d7 {_power(power)}"


def _power(exponent: int) -> str:
    return f"10{str(exponent).translate(_RAISED)}"


def images_needed(alpha: float, m: int, *, two_sided: bool = False) -> int | None:
    """The least number of suspect images with which ``alpha`` can be met against ``m`` others."""
    sides = 2 if two_sided else 1
    for n in range(1, 10_001):
        log_orders = math.lgamma(n + m + 1) - math.lgamma(n + 1) - math.lgamma(m + 1)
        if math.log(sides) - log_orders <= math.log(alpha):
            return n
    return None


def _headline(outcome: Outcome, finding: KsResult, config: VerifyConfig, *, identical: bool) -> str:
    chance, risk = odds(finding.p_value), odds(config.alpha)
    tests = f"{chance} of tests" if "%" in chance else f"{chance.replace('1 in', '1 of')} tests"
    if identical:
        return (
            "Suspect and reference are the same images, so nothing can be told apart. Supply "
            "images of a model that never saw the coated ones as the reference."
        )
    if outcome == "inconclusive":
        return (
            f"There are too few images to tell: not even perfect evidence in {finding.n} suspect "
            f"and {finding.m} reference images could bring the risk of a false alarm down to "
            f"{risk}. Generate more images and verify again."
        )
    if outcome == "no evidence":
        if finding.statistic == 0:
            return "No trace of the coating: the images do not score lower than the reference's."
        return (
            "No sufficient trace of the coating was found. Between two models that do not differ, "
            f"chance alone gives a difference like this in {tests}; it would have to be {risk} or "
            "rarer."
        )
    return (
        "The images of the suspicious model carry the coating. The likely reason is that it was "
        "trained on the coated images. If it did not differ from the reference model, chance would "
        f"give such evidence in {tests}."
    )


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def distinct_scores(pool: ScoreSet) -> NDArray[np.float64]:
    """The scores without those of later exact copies (same bytes, same score)."""
    seen: set[tuple[str, float]] = set()
    kept = []
    for index, (digest, score) in enumerate(zip(pool.hashes, pool.scores, strict=True)):
        key = (digest, round(float(score), 4))
        if digest and key in seen:
            continue
        seen.add(key)
        kept.append(index)
    return pool.scores[kept]


def _identical(suspect: ScoreSet, reference: ScoreSet) -> bool:
    if all(suspect.hashes) and all(reference.hashes):
        pools = [
            {(h, round(float(s), 4)) for h, s in zip(pool.hashes, pool.scores, strict=True)}
            for pool in (suspect, reference)
        ]
        return pools[0] == pools[1]
    return len(suspect) == len(reference) and bool(
        np.array_equal(np.sort(suspect.scores), np.sort(reference.scores))
    )


def _pool_warnings(
    suspect: ScoreSet, reference: ScoreSet, finding: KsResult, *, identical: bool
) -> list[str]:
    found = []
    shared = len({h for h in suspect.hashes if h} & {h for h in reference.hashes if h})
    if identical:
        found.append("Suspect and reference pools are identical.")
    elif shared:
        images = _count(shared, "image is", "images are")
        found.append(f"{images} in both pools, which should have nothing in common.")
    pools = (("suspect", suspect, finding.n), ("reference", reference, finding.m))
    for name, pool, used in pools:
        if used < len(pool):
            copies = _count(len(pool) - used, "is an exact copy", "are exact copies")
            found.append(
                f"Among the {len(pool)} {name} images {copies} of others; each image counted once. "
                "Were the same seeds used twice?"
            )
        if pool.failures:
            lost = _count(len(pool.failures), f"{name} image", f"{name} images")
            found.append(f"{lost} could not be read and had to be left out.")
    if finding.n < MIN_SUSPECTS:
        few = _count(finding.n, "suspect image", "suspect images")
        found.append(f"Only {few}; {MIN_SUSPECTS} or more make a weak trace visible.")
    if finding.m < MIN_REFERENCES:
        few = _count(finding.m, "reference image", "reference images")
        found.append(
            f"Only {few}; {MIN_REFERENCES} or more are recommended, since they set what counts as "
            "normal."
        )
    if finding.ties:
        found.append(
            f"{finding.ties} scores occur more than once; p is then an upper bound, on the safe "
            "side."
        )
    return found


def _level_warnings(finding: KsResult, config: VerifyConfig) -> list[str]:
    found = []
    if config.alpha < finding.smallest_p:
        needed = images_needed(config.alpha, finding.m, two_sided=config.two_sided)
        advice = f"At least {needed} suspect images are needed." if needed else "Use more images."
        found.append(
            f"A risk of {odds(config.alpha)} is out of reach: the smallest p that {finding.n} "
            f"against {finding.m} images can give is {odds(finding.smallest_p)}. {advice}"
        )
    if config.two_sided:
        found.append(
            "The two-sided test was used: it also counts scores above the reference, which a "
            "coating can't cause."
        )
    if finding.method == "asymptotic":
        found.append("p is an approximation for large samples, not exact.")
    return found


def _setting_warnings(suspect: dict[str, Any], reference: dict[str, Any]) -> list[str]:
    """What is known to differ in how the two pools were made."""
    found = []
    for name, source in (("suspect", suspect), ("reference", reference)):
        if "provenance_error" in source:
            found.append(f"The provenance file of the {name} images is unreadable.")
        found.extend(f"The {name}: {text}" for text in _noted(source))
    prompts = [_find(source, ("prompts", "prompt")) for source in (suspect, reference)]
    if any(value is None for value in prompts):
        found.append(
            "The prompts are not recorded for both pools, so it could not be checked that they "
            "match; other prompts alone can shift scores."
        )
    elif _words(prompts[0]) != _words(prompts[1]):
        found.append(
            "Suspect and reference were made with different prompts, which alone can shift scores."
        )
    for key, label in _COMPARED.items():
        values = [_find(source, (key,)) for source in (suspect, reference)]
        if None not in values and values[0] != values[1]:
            shown = [printable(value)[:60] for value in values]
            found.append(
                f"Suspect and reference differ in {label} ({shown[0]} and {shown[1]}), which "
                "alone can shift scores."
            )
    return found


def _noted(source: dict[str, Any]) -> list[str]:
    """What the suspect itself had to say when the pictures were made: keys left out, say."""
    provenance = source.get("provenance")
    described = provenance.get("suspect") if isinstance(provenance, dict) else None
    notes = described.get("warnings") if isinstance(described, dict) else None
    return [printable(note)[:500] for note in notes[:20]] if isinstance(notes, list) else []


def _find(source: Any, keys: Sequence[str], depth: int = 4) -> Any:
    """The first value under one of ``keys`` in nested objects, outer ones first."""
    if not isinstance(source, dict) or depth == 0:
        return None
    for key in keys:
        if source.get(key) not in (None, [], ()):
            return source[key]
    for value in source.values():
        inner = _find(value, keys, depth - 1)
        if inner is not None:
            return inner
    return None


def _words(prompts: Any) -> set[str]:
    return {str(p) for p in prompts} if isinstance(prompts, list | tuple) else {str(prompts)}
