"""What the comparison with several reference models is called, asks, finds and does not prove."""

from __future__ import annotations

from typing import Any

from siren_ext.verdict.outcomes import LOWER_RANK, Outcome

MODELS_NAME = "comparison with several reference models"
MODELS_QUESTION = (
    "Is the suspect's mean score lower than that of one more clean model would be? Clean models "
    "differ among themselves, by their training seeds for instance, and this test judges by how "
    "much. It is valid if an innocent suspect is another model of the same kind and the mean "
    "scores of such models are normally distributed (prediction t-test)."
)
MODELS_IF = "If the model were one more clean model like the references"


def models_limits(chance: str) -> tuple[str, ...]:
    """What the comparison does not prove, apart from what no verdict does.

    Parameters
    ----------
    chance : str
        What p is not, in a sentence that ends with a space.

    Returns
    -------
    tuple[str, ...]
        Sentences.
    """
    return (
        "The test compares the suspect with the reference models that were supplied. A suspect of "
        "another style, subject, base model or setting can score lower without having seen a "
        "coated image. Only the keyed test shows that your coating was found.",
        f"{chance}It is how often one more clean model would score this low, if the mean scores "
        "of clean models are normally distributed. With few models that can't be checked.",
    )


def models_headline(result: Any, outcome: Outcome, chance: str, risk: str) -> str:
    """A verdict by this test in a few sentences.

    Parameters
    ----------
    result : PredictionResult
        The figures.
    outcome : Outcome
        "scores lower than these innocent models" or "no difference found".
    chance, risk : str
        p and the accepted risk, in words.

    Returns
    -------
    str
        Two or three sentences.
    """
    if outcome == LOWER_RANK:
        return (
            f"The suspicious model's images score lower than those of {result.others} reference "
            f"models, by more than these differ among themselves. {MODELS_IF}, the chance of a "
            f"result like this would be {chance}. That does not show why it scores lower: coated "
            "training images are one possible cause, and another style, file format or coating "
            "are others. Only the keyed test shows that your coating was found."
        )
    if result.statistic >= 0:
        return "The suspicious model's images don't score lower than those of the reference models."
    return (
        f"No convincing difference was found. {MODELS_IF}, the chance of a result like this would "
        f"be {chance}; to count as lower, it must be {risk} or less. Few reference models can't "
        "show much: with more of them, the same difference is less likely by chance."
    )


def printed(result: Any) -> str:
    """The figures for a terminal.

    Parameters
    ----------
    result : PredictionResult
        The figures.

    Returns
    -------
    str
        Such as ``t = -3.21, mean 4.98 against 5.62 in 4 models (standard deviation 0.14)``.
    """
    return (
        f"t = {result.statistic:.2f}, mean {result.value:.3g} against {result.average:.3g} in "
        f"{result.others} models (standard deviation {result.spread:.2g})"
    )
