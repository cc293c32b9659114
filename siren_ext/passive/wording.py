"""A passive verdict in plain words: outcomes, headline, and what it does not prove."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from siren_ext.verdict.outcomes import Tone
from siren_ext.verdict.wording import likelihood, odds

if TYPE_CHECKING:
    from siren_ext.passive.judge_config import Evidence
    from siren_ext.passive.set_config import SetComparison
    from siren_ext.passive.share import UsedShare

PASSIVE_WORDING = 2
"""Version of these sentences; reports store it. Raise it when one of them changes."""

Outcome = Literal[
    "training found",
    "no evidence",
    "inconclusive",
    "invalid: P and U differ in themselves",
    "nearer to the published pictures than to the unpublished ones",
    "no nearer to the published pictures",
]
FOUND: Final = "training found"
INVALID: Final = "invalid: P and U differ in themselves"
NEARER: Final = "nearer to the published pictures than to the unpublished ones"
NO_NEARER: Final = "no nearer to the published pictures"
TONES: dict[str, Tone] = {
    FOUND: "found",
    "no evidence": "clear",
    "inconclusive": "open",
    INVALID: "open",
    NEARER: "open",
    NO_NEARER: "clear",
}
"""The style in which pages show an outcome."""

CONTROLS = {
    "model": "a model that cannot have seen the published images",
    "looks": "colours, contrast and detail of the images, without any model",
}
"""What each control compares."""

EVIDENCE: dict[Evidence, str] = {
    "losses": "the mean of ten losses, the suspicious model's minus the control's; nothing is "
    "learnt from the images",
    "difference": "a scoring model that learns from all features, the suspicious model's minus the "
    "control's",
    "plain": "a scoring model that learns from the suspicious model's own features, as in the CDI "
    "study",
    "likeness": "its distance from the suspicious model's pictures: by patches, by style, and "
    "where the model could redraw it, by what changed; nothing is learnt from the images",
}
"""What each kind of evidence rests on."""

DOES_NOT_PROVE = (
    "It does not say who owns the images or whether using them was lawful.",
    "The test is valid only if the owner's unpublished images are of the same kind as the "
    "published ones, as if a coin had decided which were published: same period, technique, "
    "subjects, size, file format and captions. The controls find many differences, but not all.",
    "The unpublished images must be seen by nobody: if the model was trained on them as well, "
    "nothing is found.",
    "A model's own output passes for its training images. If the published images contain pictures "
    "that the model made, they will be found although it was not trained on them.",
    "Images that are nearly alike, such as series or details of one work, count as one. Several of "
    "them make the test find too much.",
    "A control that was trained on the published images as well hides the training, and a control "
    "of another kind than the suspicious model can imitate it.",
    "The stated chance is not the probability that the model is innocent. It is how often sets "
    "that differ in nothing would give a result this strong.",
    "Every further model, setting or choice of images that is tried adds to the risk of a false "
    "alarm. Only a test that was planned in advance has the stated risk.",
    "Finding nothing does not prove innocence: too few images, short training or a small share of "
    "them can go unnoticed.",
)
"""What a passive verdict does not show."""

_IF_NOT = "If nothing but publication told the two sets apart"


def passive_headline(
    outcome: Outcome, found: SetComparison, share: UsedShare | None, alpha: float
) -> str:
    """A passive verdict in a few sentences.

    Parameters
    ----------
    outcome : Outcome
        The outcome.
    found : SetComparison
        The comparison behind it.
    share : UsedShare | None
        How much was used, if it was estimated.
    alpha : float
        The accepted risk.

    Returns
    -------
    str
        Two to four sentences.
    """
    chance, risk = odds(found.p_value), odds(alpha)
    if outcome == INVALID:
        return (
            "The published and the unpublished images differ in themselves: they can be told apart "
            "without the suspicious model. Whatever that model shows proves nothing. Choose "
            "unpublished images of the same kind, made and saved in the same way."
        )
    if outcome == "inconclusive":
        return (
            f"This test can't decide at the accepted risk of {risk}: its smallest possible chance "
            f"is {odds(found.smallest_p)}. Use more permutations, or accept a larger risk."
        )
    if outcome == "no evidence":
        if found.p_value > 0.5:
            return (
                "No trace of training: the model knows the published images no better than the "
                "unpublished ones."
            )
        return (
            f"No convincing trace of training was found. {_IF_NOT}, the chance of a result like "
            f"this would be {chance}; to count as evidence, it must be {risk} or less."
        )
    text = (
        "The model knows the published images better than unpublished ones of the same kind, as a "
        f"model does that was trained on them. {_IF_NOT}, a result this strong would be "
        f"{likelihood(found.p_value)} (chance: {chance})."
    )
    return text if share is None else f"{text} {share_words(share)}"


def blind_headline(smallest_p: float, alpha: float, controls: int) -> str:
    """A verdict whose controls could not have found anything, in a few sentences.

    Parameters
    ----------
    smallest_p : float
        The smallest p of a control, corrected for their number.
    alpha : float
        The p at which a control finds something.
    controls : int
        Their number.

    Returns
    -------
    str
        What was found, what was expected, and what to do.
    """
    least = math.ceil(controls / alpha) - 1
    return (
        "This test can't decide, because its controls could not show that the published and the "
        "unpublished images differ in themselves, however much they do: the smallest possible "
        f"chance of a control is {odds(smallest_p)}, and it would have to be {odds(alpha)} or "
        f"less. Use control_permutations = {least:,} or more."
    )


def share_words(share: UsedShare) -> str:
    """How much was used, in words.

    Parameters
    ----------
    share : UsedShare
        The estimate.

    Returns
    -------
    str
        One or two sentences.
    """
    about = f"About {share.share:.0%} of the published images stand out"
    if share.low <= 0:
        return f"{about}, but there are too few images for a lower limit."
    return (
        f"{about}; with {share.level:.0%} confidence it is {share.low:.0%} or more, if published "
        "images that were not used stand out no more than unpublished ones."
    )


def combined_words(
    keyed_outcome: str, keyed_p: float, keyed_alpha: float, outcome: Outcome, alpha: float
) -> str:
    """How a keyed verdict and a passive one go together.

    Parameters
    ----------
    keyed_outcome : str
        Outcome of the keyed test.
    keyed_p, keyed_alpha : float
        Its p and accepted risk.
    outcome : Outcome
        Outcome of the passive test.
    alpha : float
        Its accepted risk.

    Returns
    -------
    str
        Three sentences.
    """
    first = (
        f"The keyed test counts first, because it does not depend on which images were chosen: it "
        f"says '{keyed_outcome}' ({odds(keyed_p)}, where {odds(keyed_alpha)} or less counts as "
        "found). "
    )
    if keyed_outcome == "coating found":
        second = (
            "Its verdict stands whatever the comparison of published and unpublished images says"
        )
    else:
        second = (
            "It asks about coated copies only, so the comparison of published and unpublished "
            "images is a second question, with its own answer"
        )
    return (
        f"{first}{second}: '{outcome}'. Two tests were made, so the risk that one of them is a "
        f"false alarm is at most the sum of both risks, {odds(min(1.0, keyed_alpha + alpha))}, if "
        "both reports are about the same model."
    )
