"""A verdict in plain words: names of the tests, headlines, chances, and the limits of each test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from siren_ext.stats.ks_distribution import P_FLOOR
from siren_ext.stats.rank import RankResult, others_needed
from siren_ext.verdict.decoys_words import (
    DECOYS_NAME,
    DECOYS_QUESTION,
    decoys_headline,
    decoys_price,
)
from siren_ext.verdict.likeness import not_shown_alike
from siren_ext.verdict.models_words import MODELS_NAME, MODELS_QUESTION, models_headline
from siren_ext.verdict.outcomes import LOWER, LOWER_RANK, NOT_COMPARABLE
from siren_ext.verdict.twins_words import TWINS_NAME, TWINS_QUESTION, twins_headline

if TYPE_CHECKING:
    from siren_ext.verdict.findings import Finding, Test

WORDING = 8
"""Version of these sentences. Reports store it, so that a check compares only sentences of its own
version; raise it when a headline, a warning, a limit or :func:`odds` changes."""

NAMES: dict[Test, str] = {
    "twins": TWINS_NAME,
    "keyed": "keyed test",
    "decoys": DECOYS_NAME,
    "rank": "rank among innocent models",
    "models": MODELS_NAME,
    "ks": "comparison with a reference model",
}
"""What each test is called."""
QUESTIONS: dict[Test, str] = {
    "twins": TWINS_QUESTION,
    "keyed": "Does the secret message fit the images better than random messages do? This test "
    "needs no other model: no style, subject or setting of an innocent model can make the message "
    "fit.",
    "decoys": DECOYS_QUESTION,
    "rank": "Do the suspect's images score lower than those of every innocent model? This test is "
    "valid if an innocent suspect is just another model of the same kind.",
    "models": MODELS_QUESTION,
    "ks": "Do the suspect's images score lower than the reference's? Lower scores alone don't show "
    "that a coating was found, because they can have other causes. Only images that are shown to "
    "look like the reference's are compared.",
}
"""What each test checks, and when it is valid."""
_IF_INNOCENT = {
    "rank": "If the model were just another innocent one of the same kind",
    "ks": "If the model did not differ from the reference",
}
_OTHERS: dict[Test, str] = {
    "keyed": "random messages",
    "rank": "those of every innocent model",
    "models": "the references'",
    "ks": "the reference's",
}
_NOTHING: dict[Test, str] = {
    "keyed": "No trace of the coating: the key fits no better than half of all random keys.",
    "rank": "The suspicious model's images don't score lower than those of most innocent models.",
    "ks": "The suspicious model's images don't score lower than the reference's.",
}

_HIGHER = (
    "The suspicious model's images score higher than the reference's, which a coating can't cause. "
    "The two models differ in something else, so they can't be compared."
)

BASE_FOUND = (
    "The model fits the secret message, but so does the base model in its place, which never saw "
    "the coating ({keys} would fit it as well). So the message fits the images, or the clean "
    "models that were subtracted, and the find does not count. Measure again with the untouched "
    "originals."
)
"""The headline if the base model is found in the suspect's place."""

PREFERENCE_QUESTION = (
    "When the model removes a little noise from the owner's clean images, does it add the secret "
    "message to them, more than random messages? This test reads the model's file and needs no "
    "other model: nothing that an innocent model has learnt can make the message fit."
)
"""The question of the keyed test of a model's preference."""
_PREFERENCE_NOTHING = (
    "No trace of the coating: the model prefers the key's message no more than those of half of "
    "all random keys."
)

UNFIT = (
    "The secret message fits, but the commitment does not, so nothing shows that key, coater and "
    "plan were chosen before the images. That counts for nothing. Verify again with the commitment "
    "to this key and coater, and with the images of its plan."
)
"""The verdict where the keyed test finds something that was not committed to."""

WITHHELD = (
    "Key withheld: the images were scored with a keyed coater, but no key was given, so the keyed "
    "test, the strictest for such a coater, was not made."
)
"""The warning of a verdict without the key of a keyed coater."""
WITHHELD_HEADLINE = (
    "The key was withheld. The images were scored with a keyed coater, and the strictest test for "
    "such a coater, the keyed test, was not made. Low scores alone are not judged, because they "
    "can have other causes. Verify again with the key."
)
"""The headline of such a verdict if the scores are low."""

_LIKELIHOODS = (
    (1e-12, "practically impossible"),
    (1e-6, "extremely unlikely"),
    (1e-3, "very unlikely"),
    (0.05, "unlikely"),
)
_LARGE = ("million", "billion", "trillion")
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def odds(p: float) -> str:
    """Write a probability for readers.

    Parameters
    ----------
    p : float
        A probability, 0 to 1.

    Returns
    -------
    str
        Such as ``12 %``, ``1 in 2,500``, ``1 in 3.5 million`` or ``1 in 10¹⁷``.
    """
    if p >= 0.05:
        return f"{min(p, 1) * 100:.0f} %"
    if p <= P_FLOOR:  # below the floor only an upper bound is known
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


def likelihood(p: float) -> str:
    """How likely something is, in words.

    Parameters
    ----------
    p : float
        A probability, 0 to 1.

    Returns
    -------
    str
        ``practically impossible`` (up to 1e-12) to ``possible`` (above 0.05).
    """
    return next((word for limit, word in _LIKELIHOODS if p <= limit), "possible")


def count_of(number: int, one: str, many: str) -> str:
    """A number with its noun.

    Parameters
    ----------
    number : int
        The number.
    one, many : str
        The noun in singular and plural.

    Returns
    -------
    str
        Such as ``1 image`` or ``3 images``.
    """
    return f"{number} {one if number == 1 else many}"


def headline(
    finding: Finding, alpha: float, *, identical: bool, alone: bool, preference: bool = False
) -> str:
    """A verdict in a few sentences.

    Parameters
    ----------
    finding : Finding
        The finding that decides.
    alpha : float
        The accepted risk.
    identical : bool
        Whether suspect and reference are the same images.
    alone : bool
        Whether it is the only finding, so that its test need not be named.
    preference : bool
        Whether a model's preference was tested, not pictures.

    Returns
    -------
    str
        Two to four sentences.
    """
    chance, risk, test = odds(finding.p_value), odds(alpha), finding.test
    tail = f" This is the result of the {NAMES[test]}, the strictest test that the data allow."
    if alone and test == "ks":
        tail = ""
    if identical:
        return (
            "Suspect and reference are the same images, so they can't be compared. Use images of a "
            "model that never saw the coated ones as the reference."
        )
    if test == "twins":
        how = likelihood(finding.p_value)
        words = twins_headline(finding.result, finding.outcome, chance, risk, how)
        return words + decoys_price(finding.price, "these twins") + tail
    if test == "decoys":
        needed = others_needed(alpha / finding.price)
        words = decoys_headline(finding.result, finding.outcome, chance, risk, needed)
        return words + decoys_price(finding.price, "this coater") + tail
    if finding.outcome == NOT_COMPARABLE:
        return (unlike(finding) if finding.unlike else _HIGHER) + tail
    if finding.outcome == "inconclusive":
        if finding.whole is not None and finding.p_value <= alpha:
            return BASE_FOUND.format(keys=share_of_keys(finding.whole.base_p or 0.0)) + tail
        if finding.control is not None and alpha >= finding.smallest_p:
            return _unreadable(finding.control.result.p_value * finding.price, risk) + tail
        return _too_little(finding, risk) + tail
    if test == "models":
        return models_headline(finding.result, finding.outcome, chance, risk) + tail
    if test == "ks":
        return _compared(finding, chance, risk) + tail
    if test == "keyed":
        return _keyed(finding, risk, preference) + tail
    return _ranked(finding, chance, risk) + tail


def _ranked(finding: Finding, chance: str, risk: str) -> str:
    """What the rank among innocent models shows, without its limits."""
    if finding.outcome == LOWER_RANK:
        return (
            "The images of the suspicious model score lower than those of "
            f"{finding.others - _as_low(finding)} of {finding.others} innocent models. "
            f"{_IF_INNOCENT['rank']}, a result this strong would be "
            f"{likelihood(finding.p_value)} (chance: {chance}). That does not show why it scores "
            "lower: coated training images are one possible cause, and another style, file format "
            "or coating are others. Only the keyed test shows that your coating was found."
        )
    if finding.p_value > 0.5:
        return _NOTHING["rank"]
    return (
        f"No convincing difference was found. {_IF_INNOCENT['rank']}, the chance of a result like "
        f"this would be {chance}; to count as lower, it must be {risk} or less."
    )


def _keyed(finding: Finding, risk: str, preference: bool) -> str:
    """What the keyed test found, or that it found nothing."""
    if finding.outcome == "no evidence":
        if finding.own_p > 0.5:
            return _PREFERENCE_NOTHING if preference else _NOTHING["keyed"]
        return (
            f"No convincing trace of the coating was found: {_fitting(finding, preference)}. "
            f"To count as evidence, it must be {risk} or less."
        )
    if preference:
        trace = (
            "The suspicious model prefers the secret message: it adds the message to the owner's "
            "clean images when it removes noise from them. It fits"
        )
    else:
        trace = (
            "The images of the suspicious model carry the secret message of the coating. They fit"
        )
    fitting = _fitting(finding, preference)
    return f"{trace} the key better than the accepted risk of {risk} allows: {fitting}."


def share_of_keys(p: float) -> str:
    """A p of a keyed test in words, such as "1 of 5,000 random keys".

    Parameters
    ----------
    p : float
        The share of random keys.
    """
    share = odds(p).replace("1 in ", "1 of ")
    return f"{share} of random keys" if p >= 0.05 else f"{share} random keys"


def _fitting(finding: Finding, preference: bool) -> str:
    """How many random keys would fit as well, and the price for choosing among keys and tests."""
    keys = share_of_keys(finding.own_p)
    if finding.whole:  # estimated from drawn messages, not counted
        keys = f"about {keys}"
    said = f"{keys} would fit {'the model' if preference else 'these pictures'} as well"
    if finding.price == 1:
        return said
    return (
        f"{said}, and times {finding.price:,}, for the number of keys and tests, this is "
        f"{odds(finding.p_value)}"
    )


def _unreadable(p: float, risk: str) -> str:
    """Why a keyed test that found nothing says nothing: its control was not found either."""
    return (
        "This coater can't read pictures of this kind, or there are too few of them: a known "
        "message was written into copies of the same pictures at full strength, and it was not "
        f"found either ({odds(min(p, 1))}, where {risk} or less counts as found). So finding "
        "nothing means nothing here. Use more pictures, or pictures that resemble the coated "
        "images more."
    )


def _compared(finding: Finding, chance: str, risk: str) -> str:
    """What a comparison with a reference shows, without its limits."""
    if finding.outcome == LOWER:
        return (
            "The suspicious model's images score lower than this reference's. If the two models "
            f"did not differ, the chance of a result like this would be {chance}. That does not "
            "show why they differ: coated training images are one possible cause, and another "
            "training seed, style, file format or coating are others. Only the keyed test shows "
            "that your coating was found."
        )
    if finding.effect == 0:
        return _NOTHING["ks"]
    return (
        f"No convincing difference was found. {_IF_INNOCENT['ks']}, the chance of a result like "
        f"this would be {chance}; to count as lower, it must be {risk} or less."
    )


def _as_low(finding: Finding) -> int:
    return finding.result.at_least if isinstance(finding.result, RankResult) else 0


def unlike(finding: Finding) -> str:
    """Why images that are not shown to look like those they are compared with are not judged.

    Parameters
    ----------
    finding : Finding
        One that is not judged.

    Returns
    -------
    str
        Two or three sentences.
    """
    return not_shown_alike(finding.contrast, _OTHERS[finding.test])


def _too_little(finding: Finding, risk: str) -> str:
    few, more = {
        "ks": (
            f"There are too few images for a verdict: even perfect evidence in {finding.suspects} "
            f"suspect and {finding.others} reference images",
            "Generate more images and verify again.",
        ),
        "rank": (
            f"There are too few innocent models for a verdict: even the first place among "
            f"{finding.others} of them",
            "Score more innocent models and verify again.",
        ),
        "keyed": (
            "No test of so few bits can reach this: even a perfect match",
            "Accept a larger risk, or use a coater with more bits.",
        ),
    }[finding.test]
    return f"{few} could not bring the risk of a false alarm down to {risk}. {more}"
