"""What weakens a verdict: few images, copies, different prompts and the like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from siren_ext.scoring.copies import MOST, copies_in
from siren_ext.scoring.score_set import CENTRED, ScoreSet
from siren_ext.stats.ks import KsResult
from siren_ext.stats.rank import others_needed
from siren_ext.text import printable
from siren_ext.verdict.findings import Finding
from siren_ext.verdict.models import models_of
from siren_ext.verdict.outcomes import NOT_COMPARABLE, tone_of, undecided
from siren_ext.verdict.pools import distinct_scores, identical_pools
from siren_ext.verdict.wording import NAMES, count_of, odds, unlike

if TYPE_CHECKING:
    from siren_ext.verdict.config import VerifyConfig

MIN_SUSPECTS = 30
MIN_REFERENCES = 100
# Settings of generation that change scores by themselves and so must match, with their names.
_COMPARED = {
    "negative": "negative prompt",
    "steps": "number of steps",
    "guidance": "guidance",
    "size": "image size",
    "scheduler": "scheduler",
    "model": "base model",
}


def find_caveats(
    suspect: ScoreSet,
    reference: ScoreSet | None,
    innocents: Sequence[ScoreSet],
    findings: Sequence[Finding],
    deciding: Finding,
    config: VerifyConfig,
) -> tuple[str, ...]:
    """List what weakens a verdict.

    Parameters
    ----------
    suspect, reference, innocents
        The scores; innocent models of the suspect's coater only.
    findings : Sequence[Finding]
        One per test.
    deciding : Finding
        The one that decides.
    config : VerifyConfig
        The settings.

    Returns
    -------
    tuple[str, ...]
        Warnings in plain sentences, the most important first.
    """
    found = [*_disagreements(findings, deciding), *_unlike(findings, deciding)]
    by_test = {finding.test: finding for finding in findings}
    ks = by_test["ks"].result if "ks" in by_test else None
    if reference is not None and isinstance(ks, KsResult):
        found += _pool_warnings(suspect, reference, ks)
        found += _level_warnings(ks, config)
        sources = [one.source for one in models_of(reference)] or [reference.source]
        found += dict.fromkeys(
            line for source in sources for line in _setting_warnings(suspect.source, source)
        )
    else:
        found += _suspect_warnings(suspect, deciding.suspects)
    if "rank" in by_test:
        found += _innocent_warnings(suspect, innocents, by_test["rank"], config.alpha)
    if "keyed" in by_test:
        found += _keyed_warnings(suspect, by_test["keyed"], config.alpha)
    found += _copies_not_sought(suspect, reference, innocents)
    return tuple(found)


def images_needed(alpha: float, m: int, *, two_sided: bool = False) -> int | None:
    """The smallest number of suspect images with which a risk can be reached.

    Parameters
    ----------
    alpha : float
        The risk.
    m : int
        Number of reference images.
    two_sided : bool
        Whether the two-sided test is used.

    Returns
    -------
    int | None
        The number; None if it is above 10,000.

    Notes
    -----
    With perfect separation, p is 1 / C(n + m, n), or twice that for the two-sided test.
    """
    sides = 2 if two_sided else 1
    for n in range(1, 10_001):
        log_orders = math.lgamma(n + m + 1) - math.lgamma(n + 1) - math.lgamma(m + 1)
        if math.log(sides) - log_orders <= math.log(alpha):
            return n
    return None


def _disagreements(findings: Sequence[Finding], deciding: Finding) -> Iterator[str]:
    for finding in findings:
        if finding is deciding or undecided(finding.outcome) or undecided(deciding.outcome):
            continue
        if tone_of(finding.outcome) != tone_of(deciding.outcome):
            yield (
                f"The findings differ: the {NAMES[finding.test]} says '{finding.outcome}' "
                f"(p = {finding.p_value:.3g}), the {NAMES[deciding.test]} says "
                f"'{deciding.outcome}' (p = {deciding.p_value:.3g}). The latter decides because it "
                "assumes less about innocent models."
            )


def _unlike(findings: Sequence[Finding], deciding: Finding) -> Iterator[str]:
    """Comparisons of images of different kinds, except the one that the headline reports."""
    for finding in findings:
        if finding.test == "rank" and finding.contrast is None:
            yield (
                f"About the {NAMES[finding.test]}: the scores have no record of what the images "
                "look like, so whether they are of one kind could not be checked. To check it, "
                "score them again."
            )
        if finding.unlike and not (finding is deciding and finding.outcome == NOT_COMPARABLE):
            yield f"About the {NAMES[finding.test]}: {unlike(finding)}"


def _copies_not_sought(
    suspect: ScoreSet, reference: ScoreSet | None, innocents: Sequence[ScoreSet]
) -> Iterator[str]:
    """Pools in which near copies could not be looked for."""
    if suspect.preference or suspect.twins:
        return  # images of the owner, not pictures of a model
    named = [("the suspect", suspect), *([("the reference", reference)] if reference else [])]
    named += [("the innocent models", pool) for pool in innocents]
    for missing, why in (
        (True, "the scores have no perceptual hashes. To have them, score the images again"),
        (False, f"there are more than {MOST:,}"),
    ):
        lost = [
            name
            for name, pool in named
            if not copies_in(pool).looked and (pool.phashes is None) == missing
        ]
        if lost:
            whose = " and ".join(dict.fromkeys(lost))
            yield (
                f"Near copies (the same picture in another format, size or quality) could not be "
                f"looked for among the images of {whose}: {why}."
            )


def _suspect_warnings(suspect: ScoreSet, used: int) -> list[str]:
    found = _pool_notes("suspect", suspect)
    if suspect.preference or suspect.twins:
        return found
    if used < MIN_SUSPECTS:
        found.append(_few_suspects(used))
    return found


def _few_suspects(used: int) -> str:
    few = count_of(used, "suspect image", "suspect images")
    return f"Only {few}. Use {MIN_SUSPECTS} or more, or a weak trace may be missed."


def _pool_notes(name: str, pool: ScoreSet) -> list[str]:
    found = []
    copies = copies_in(pool)
    if copies.exact:
        same = count_of(copies.exact, "is an exact copy", "are exact copies")
        found.append(
            f"Of the {len(pool)} {name} images, {same} of others; each image is counted once. "
            "Were the same seeds used twice?"
        )
    if copies.near:
        same = count_of(copies.near, "is a near copy", "are near copies")
        found.append(
            f"Of the {len(pool)} {name} images, {same} of others: the same picture in another "
            "format, size or quality. Each picture is counted once."
        )
    if pool.failures:
        lost = count_of(len(pool.failures), f"{name} image", f"{name} images")
        found.append(f"{lost} could not be read. The verdict is based on the others.")
    return found


def _pool_warnings(suspect: ScoreSet, reference: ScoreSet, finding: KsResult) -> list[str]:
    found = []
    shared = len({h for h in suspect.hashes if h} & {h for h in reference.hashes if h})
    if identical_pools(suspect, reference):
        found.append("Suspect and reference pools are identical.")
    elif shared:
        images = count_of(shared, "image is", "images are")
        found.append(f"{images} in both pools, but the pools should have no images in common.")
    found += _pool_notes("suspect", suspect)
    found += _pool_notes("reference", reference)
    if finding.n < MIN_SUSPECTS:
        found.append(_few_suspects(finding.n))
    if finding.m < MIN_REFERENCES:
        few = count_of(finding.m, "reference image", "reference images")
        found.append(
            f"Only {few}. {MIN_REFERENCES} or more are recommended, because they define what is "
            "normal."
        )
    if finding.ties:
        found.append(
            f"{finding.ties} scores occur more than once, so p is an upper bound. This errs on the "
            "safe side."
        )
    return found


def _level_warnings(finding: KsResult, config: VerifyConfig) -> list[str]:
    found = []
    if config.alpha < finding.smallest_p:
        needed = images_needed(config.alpha, finding.m, two_sided=config.two_sided)
        advice = f"At least {needed} suspect images are needed." if needed else "Use more images."
        found.append(
            f"A risk of {odds(config.alpha)} can't be reached: the smallest p possible with "
            f"{finding.n} against {finding.m} images is {odds(finding.smallest_p)}. {advice}"
        )
    if config.two_sided:
        found.append(
            "The two-sided test was used. It also counts scores above the reference's, which a "
            "coating can't cause."
        )
    if finding.method == "asymptotic":
        found.append("p is not exact but an approximation for large samples.")
    return found


def _keyed_warnings(suspect: ScoreSet, finding: Finding, alpha: float) -> Iterator[str]:
    if alpha < finding.smallest_p:
        yield (
            f"A risk of {odds(alpha)} can't be reached: the smallest p possible with so few "
            f"bits is {odds(finding.smallest_p)}."
        )
    if CENTRED in suspect.source:
        yield (
            "The pictures were read with centring, and nothing shows what was in the pictures that "
            "they were centred by. If these carried the opposite message, an innocent model would "
            "fit the key. To check it, score those pictures again and look at them."
        )
    unseen = finding.whole is None or finding.whole.base_p is None
    if suspect.preference and unseen and finding.outcome == "coating found":
        yield (
            "No base model was tested in the suspicious model's place, so nothing shows that the "
            "images that were given as originals are the originals. If they, or clean models that "
            "were subtracted, carried the opposite message, an innocent model would fit the key. "
            "To check it, compare the images with the originals, and measure a LoRA together with "
            "its base model."
        )
    if finding.control is None:
        if not suspect.preference and finding.outcome == "no evidence":
            yield (
                "There is no positive control, so whether this coater can read pictures of this "
                "kind is not known. To have one, score the images again."
            )
    elif finding.outcome == "coating found" and not finding.control.found(alpha, finding.price):
        yield (
            "The positive control, a known message written into copies of the same pictures, was "
            "not found. This does not weaken the find, whose p is exact, but it is unusual."
        )


def _innocent_warnings(
    suspect: ScoreSet, innocents: Sequence[ScoreSet], finding: Finding, alpha: float
) -> list[str]:
    found = []
    if finding.outcome == "inconclusive":
        found.append(
            f"With {count_of(finding.others, 'innocent model', 'innocent models')} the risk can't "
            f"be lower than {odds(finding.smallest_p)}; {others_needed(alpha):,} would be needed "
            f"for {odds(alpha)}."
        )
    longest = max(len(pool) for pool in (suspect, *innocents))
    if finding.suspects < longest:
        found.append(
            f"Only the first {finding.suspects} images of each model are used in the rank among "
            "innocent models, because the smallest pool has no more distinct ones."
        )
    copies = [copies_in(pool) for pool in innocents]
    doubled = sum(one.exact + one.near for one in copies)
    if doubled:
        same = count_of(doubled, "image is a copy", "images are copies")
        found.append(f"{same} of others of the same innocent model; each picture is counted once.")
    marks = {np.sort(distinct_scores(pool)).tobytes() for pool in (suspect, *innocents)}
    doubles = 1 + len(innocents) - len(marks)
    if doubles:
        found.append("Some of the innocent models' pools are identical.")
    prompts = _find(suspect.source, ("prompts", "prompt"))
    others = [_find(pool.source, ("prompts", "prompt")) for pool in innocents]
    if prompts is None or None in others:
        found.append(
            "The prompts are not recorded for the suspect and every innocent model, so whether "
            "they match could not be checked. Different prompts alone can change scores."
        )
    else:
        own = _words(prompts)
        unlike = sum(_words(other) != own for other in others)
        if unlike:
            models = count_of(unlike, "innocent model was", "innocent models were")
            found.append(
                f"{models} used with other prompts than the suspect, which alone can change scores."
            )
    return found


def _setting_warnings(suspect: dict[str, Any], reference: dict[str, Any]) -> list[str]:
    """Known differences in how the two pools were made."""
    found = []
    for name, source in (("suspect", suspect), ("reference", reference)):
        if "provenance_error" in source:
            found.append(f"The provenance file of the {name} images can't be read.")
        found.extend(f"The {name}: {text}" for text in _noted(source))
    prompts = [_find(source, ("prompts", "prompt")) for source in (suspect, reference)]
    if any(value is None for value in prompts):
        found.append(
            "The prompts are not recorded for both pools, so whether they match could not be "
            "checked. Different prompts alone can change scores."
        )
    elif _words(prompts[0]) != _words(prompts[1]):
        found.append(
            "Suspect and reference were made with different prompts, which alone can change scores."
        )
    for key, label in _COMPARED.items():
        values = [_find(source, (key,)) for source in (suspect, reference)]
        if None not in values and values[0] != values[1]:
            shown = [printable(str(value)[:60]) for value in values]
            found.append(
                f"Suspect and reference differ in {label} ({shown[0]} and {shown[1]}), which "
                "alone can change scores."
            )
    return found


def _noted(source: dict[str, Any]) -> list[str]:
    """Warnings recorded when the images were made, such as skipped parts of a LoRA."""
    provenance = source.get("provenance")
    described = provenance.get("suspect") if isinstance(provenance, dict) else None
    notes = described.get("warnings") if isinstance(described, dict) else None
    return [printable(str(note)[:500]) for note in notes[:20]] if isinstance(notes, list) else []


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
