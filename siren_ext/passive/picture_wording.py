"""Words for verdicts that rest on a suspect's pictures alone, which are weak evidence."""

from __future__ import annotations

from siren_ext.passive.set_config import SetComparison
from siren_ext.passive.wording import INVALID, NEARER, Outcome, passive_headline
from siren_ext.verdict.wording import likelihood, odds

PICTURES_DO_NOT_PROVE = (
    "It does not show that the model was trained on the published images. Pictures can be near to "
    "them because of a common style, subject or fashion, or because the model learnt from images "
    "by others that resemble them. Treat it as a reason to look closer, not as an accusation.",
    "The test is valid only if the owner's unpublished images are of the same kind as the "
    "published ones, as if a coin had decided which were published: same period, technique, "
    "subjects, size, file format and captions. The control by colours and detail finds many "
    "differences, but not all.",
    "If the pictures were requested with words that fit the published images better than the "
    "unpublished ones, or were chosen because they resemble published images, they are nearer to "
    "these for that reason alone.",
    "It does not say who owns the images or whether using them was lawful.",
    "Every further model, setting or choice of pictures that is tried adds to the risk of a false "
    "alarm. Only a test that was planned in advance has the stated risk.",
    "Finding nothing proves nothing: a model that was trained on the images usually makes pictures "
    "that are no nearer to them than to others of the same kind. Test the model's file if it can "
    "be had.",
)
"""What a verdict on pictures does not show."""


def likeness_headline(outcome: Outcome, found: SetComparison, alpha: float) -> str:
    """A verdict on pictures in a few sentences.

    Parameters
    ----------
    outcome : Outcome
        The outcome.
    found : SetComparison
        The comparison behind it.
    alpha : float
        The accepted risk.

    Returns
    -------
    str
        Two or three sentences.
    """
    if outcome in (INVALID, "inconclusive"):
        return passive_headline(outcome, found, None, alpha)
    if outcome == NEARER:
        return (
            "The model's pictures are nearer to the published images than to unpublished ones of "
            "the same kind. If nothing but publication told the two sets apart, a result this "
            f"strong would be {likelihood(found.p_value)} (chance: {odds(found.p_value)}). By "
            "itself this is weak evidence and no accusation: test the model's file."
        )
    return (
        "The model's pictures are not shown to be nearer to the published images than to "
        f"unpublished ones. The chance of a result like this without any difference is "
        f"{odds(found.p_value)}; it would have to be {odds(alpha)} or less. This does not clear "
        "the model."
    )
