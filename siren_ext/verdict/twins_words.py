"""What a comparison of twins is called, asks, finds and does not prove."""

from __future__ import annotations

from typing import Any

TWINS_NAME = "comparison of twins"
TWINS_QUESTION = (
    "Does the model denoise the published copies better than their twins? For every image a coin "
    "chose which of two copies was published, so a model that was not trained on the published "
    "copies can't know the side. This test needs no other model: nothing else that a model has "
    "learnt can make the coins fit."
)
_LIMITS = (
    "The test is valid only if a fair coin chose every copy, and nobody chose images, model or "
    "settings by looking at the result. A published commitment to the coins shows that they were "
    "not chosen afterwards; it does not show that a coin chose them.",
    "{chance}It is how often fair coins would fit this model equally well.",
    "Every further model or setting that is tried adds to the risk of a false alarm. Only a test "
    "that was planned in advance has the stated risk.",
    "Finding nothing does not prove innocence: short or weak training can leave no preference, and "
    "a model can be trained on other versions of the images.",
)
TWINS_UNFIT = (
    "The coins fit, but the commitment does not, so nothing shows that they were chosen before the "
    "images were published. That counts for nothing. Verify again with the commitment to these "
    "twins."
)


def twins_limits(chance: str) -> tuple[str, ...]:
    """What a verdict on twins does not prove, apart from what no verdict does.

    Parameters
    ----------
    chance : str
        What p is not, in a sentence that ends with a space.

    Returns
    -------
    tuple[str, ...]
        Sentences.
    """
    return tuple(text.format(chance=chance) for text in _LIMITS)


def twins_headline(result: Any, outcome: str, chance: str, risk: str, how: str) -> str:
    """A verdict on twins in a few sentences.

    Parameters
    ----------
    result : CoinsResult
        The figures.
    outcome : str
        Of the test.
    chance, risk : str
        p and the accepted risk in words.
    how : str
        How likely p is, in a word.

    Returns
    -------
    str
        Two or three sentences.
    """
    counted = (
        f"in {result.right} of {result.images} images it denoises the copy that was published "
        "better than its twin"
    )
    if outcome == "inconclusive":
        return (
            f"There are too few images for a verdict: even if the model preferred every published "
            f"copy of {result.images}, the risk of a false alarm could not be {risk}. Coat and "
            "publish more images in twins, or accept a larger risk."
        )
    if outcome == "coating found":
        return (
            f"The suspicious model knows the published copies: {counted}. If it knew nothing of "
            f"the coins, a result this strong would be {how} (chance: {chance})."
        )
    if result.p_value > 0.5:
        return (
            "No trace of the published copies: the coins fit the model no better than half of all "
            "outcomes would."
        )
    return (
        f"No convincing trace of the published copies was found: {counted}. If the model knew "
        f"nothing of the coins, the chance of a result like this would be {chance}; to count as "
        f"evidence, it must be {risk} or less."
    )
