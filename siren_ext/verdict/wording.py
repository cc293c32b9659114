"""A verdict in plain words: chances, headlines, names of the tests, and what none of them shows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from siren_ext.stats.ks_distribution import P_FLOOR

if TYPE_CHECKING:
    from siren_ext.verdict.findings import Finding, Test

NAMES: dict[Test, str] = {
    "keyed": "keyed test",
    "rank": "rank among innocent models",
    "ks": "comparison with a reference model",
}
QUESTIONS: dict[Test, str] = {
    "keyed": "Does the secret message fit the images better than random messages do? No other "
    "model is needed, and no style, subject or setting of an innocent model can make it fit.",
    "rank": "Do the suspect's images score lower than those of every innocent model? It holds if "
    "the suspect, when innocent, is one more model of the same kind as those.",
    "ks": "Do the suspect's images score lower than the reference's? It holds if an innocent "
    "suspect would score like this very reference; another style or subject breaks that, so "
    "pictures that look unlike the reference's are not judged.",
}
_CHANCES: dict[Test, str] = {
    "keyed": "If the message had nothing to do with this model, chance would give such evidence in "
    "{tests}.",
    "rank": "If it were one more innocent model of the same kind, chance would put it this far out "
    "in {tests}.",
    "ks": "If it did not differ from the reference model, chance would give such evidence in "
    "{tests}.",
}
_SAME: dict[Test, str] = {
    "keyed": "For a model that never met the message",
    "rank": "Among models of one kind",
    "ks": "Between two models that do not differ",
}
_OTHERS: dict[Test, str] = {
    "keyed": "random messages",
    "rank": "those of every innocent model",
    "ks": "the reference's",
}
_NOTHING: dict[Test, str] = {
    "keyed": "No trace of the coating: the message fits no better than half of all messages would.",
    "rank": "No trace of the coating: the images do not score lower than most innocent models'.",
    "ks": "No trace of the coating: the images do not score lower than the reference's.",
}

_OWNER = "It does not say who owns the images, nor whether their use was lawful."
_ROUTE = (
    "It does not say how the coating got into the model: the images may have come through a third "
    "party, or the model may have learnt from another model's output."
)
_CHANCE = "The chance given is not the probability that the model is innocent. "
_TRIALS = (
    "Each further model, set of prompts or repetition that is tried is one more chance of a false "
    "alarm; only a test whose plan was fixed beforehand has the stated risk."
)
_MISSED = (
    "Finding nothing is not proof of innocence: too few images, a short training or processed "
    "images can hide a coating, and images whose uncoated version was public are not protected."
)
LIMITS: dict[Test, tuple[str, ...]] = {
    "keyed": (
        _OWNER,
        _ROUTE,
        "The test is sound only if the key was drawn at random before the images existed and "
        "nobody looked at the result while choosing images; a published commitment shows the "
        "first.",
        _CHANCE + "It is how often a message drawn at random would fit these images as well.",
        _TRIALS,
        _MISSED,
    ),
    "rank": (
        _OWNER,
        _ROUTE,
        "The test compares with the innocent models that were supplied. A suspect of a style, "
        "subject, base or setting that none of them has can stand out without ever having seen a "
        "coated image.",
        _CHANCE + "It is how often an innocent model of the same kind would stand out like this.",
        _TRIALS,
        _MISSED,
    ),
    "ks": (
        _OWNER,
        _ROUTE,
        "The test asks whether the suspect's scores could come from the same source as the "
        "reference's. A model of another style, subject, base or setting than the reference can "
        "differ without ever having seen a coated image, and one of images with another coating "
        "may differ as if they had this one; the closer the reference matches the suspect, the "
        "stronger the finding.",
        _CHANCE + "It is how often scores this low would turn up if suspect and reference did not "
        "differ.",
        _TRIALS,
        _MISSED,
    ),
}

_LARGE = ("million", "billion", "trillion")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


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


def count_of(number: int, one: str, many: str) -> str:
    """``1 image`` or ``3 images``."""
    return f"{number} {one if number == 1 else many}"


def headline(finding: Finding, alpha: float, *, identical: bool, alone: bool) -> str:
    """The verdict in a few sentences for everybody.

    Parameters
    ----------
    finding : Finding
        the one that decides.
    alpha : float
        the accepted risk.
    identical : bool
        suspect and reference are the same images.
    alone : bool
        the only finding, so that there is no need to tell which one decides.
    """
    chance, risk = odds(finding.p_value), odds(alpha)
    tests = f"{chance} of tests" if "%" in chance else f"{chance.replace('1 in', '1 of')} tests"
    which = f" This rests on the {NAMES[finding.test]}, the strictest that the data permit."
    tail = "" if alone and finding.test == "ks" else which
    if identical:
        return (
            "Suspect and reference are the same images, so nothing can be told apart. Supply "
            "images of a model that never saw the coated ones as the reference."
        )
    if finding.outcome == "inconclusive" and finding.unlike:
        return unlike(finding) + tail
    if finding.outcome == "inconclusive":
        return _too_little(finding, risk) + tail
    if finding.outcome == "no evidence":
        if finding.effect == 0 if finding.test == "ks" else finding.p_value > 0.5:
            return _NOTHING[finding.test] + tail
        return (
            f"No sufficient trace of the coating was found. {_SAME[finding.test]}, chance alone "
            f"gives a difference like this in {tests}; it would have to be {risk} or rarer.{tail}"
        )
    carry = "the secret message of the coating" if finding.test == "keyed" else "the coating"
    return (
        f"The images of the suspicious model carry {carry}. The likely reason is that it was "
        f"trained on the coated images. {_CHANCES[finding.test].format(tests=tests)}{tail}"
    )


def unlike(finding: Finding) -> str:
    """Why pictures of another kind decide nothing; ``finding`` has a contrast."""
    if finding.contrast is None:
        raise ValueError(f"the finding of the {NAMES[finding.test]} holds no contrast")
    others = _OTHERS[finding.test]
    share = f"{100 * finding.contrast.share:.0f} %"
    return (
        f"The suspicious model's pictures look unlike {others}: in {share} of pairs they are "
        f"{finding.contrast.words}. A model of another style or subject can score lower without "
        "ever having seen a coated image, so a find would prove nothing here. Compare with a clean "
        "model that draws such pictures, or use a key, which needs none."
    )


def _too_little(finding: Finding, risk: str) -> str:
    few, more = {
        "ks": (
            f"There are too few images to tell: not even perfect evidence in {finding.suspects} "
            f"suspect and {finding.others} reference images",
            "Generate more images and verify again.",
        ),
        "rank": (
            f"There are too few innocent models to tell: not even the first place among "
            f"{finding.others} of them",
            "Score more innocent models and verify again.",
        ),
        "keyed": (
            "The message is too short to tell: not even a perfect match",
            "Accept a larger risk, or use a coater with more bits.",
        ),
    }[finding.test]
    return f"{few} could bring the risk of a false alarm down to {risk}. {more}"
