"""What the rank among decoys is called, asks, finds and does not prove."""

from __future__ import annotations

from typing import Any

DECOYS_NAME = "rank among decoys"
DECOYS_QUESTION = (
    "Does the true coater find more of its coating in the suspect's images than coaters of the "
    "same recipe with other random patterns find of theirs? If the images have nothing to do with "
    "the random pattern of this coater, it takes any place among them equally often. No style, "
    "subject or setting of an innocent model can change that."
)
_LIMITS = (
    "The test is valid only if the coater was made before the images were published, and nobody "
    "chose coater or images by looking at the result. A published commitment shows that the coater "
    "was not chosen afterwards. That the decoys were made like the coater can be checked only by "
    "making them again.",
    "{chance}It is how often the true coater would take this place or a better one if the images "
    "had nothing to do with its random pattern.",
    "p can't be smaller than 1 / (decoys + 1), times what the tests of the coater cost, so few "
    "decoys can't show much. The number of decoys must be decided before the test.",
)
DECOYS_UNCOMMITTED = (
    "The true coater takes a place that would count, but there is no commitment to it that fits, "
    "so nothing shows that it was chosen before the images. That counts for nothing. Verify again "
    "with the commitment to this coater."
)
"""The verdict where the rank is high, but the coater was not committed to."""


def decoys_limits(chance: str) -> tuple[str, ...]:
    """What a rank among decoys does not prove, apart from what no verdict does.

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


def decoys_headline(result: Any, outcome: str, chance: str, risk: str, needed: int) -> str:
    """A verdict by the rank among decoys in a few sentences.

    Parameters
    ----------
    result : RankResult
        The figures.
    outcome : str
        Of the test.
    chance, risk : str
        p and the accepted risk in words.
    needed : int
        Number of decoys that the risk needs.

    Returns
    -------
    str
        Two or three sentences.
    """
    count = result.others
    if outcome == "inconclusive":
        return (
            f"There are too few decoys for a verdict: even the first place among {count} could not "
            f"bring the risk of a false alarm down to {risk}. Make {needed:,} decoys or more, or "
            "accept a larger risk."
        )
    place = (
        f"{count - result.at_least} of {count} decoys, coaters of the same recipe with other "
        "random patterns, find less of their coating in the suspicious model's images than the "
        "true coater finds of its own"
    )
    if outcome == "coating found":
        return (
            f"The true coater stands out among its decoys: {place}. If the images had nothing to "
            f"do with this pattern, the chance of a place this high would be {chance}. The "
            f"accepted risk is {risk}, so the coating counts as found; of innocent models, up to "
            "the same share would count as well."
        )
    return (
        f"No convincing trace of the coating was found: {place}. If the images had nothing to do "
        f"with this pattern, the chance of a place this high would be {chance}; to count as "
        f"evidence, it must be {risk} or less."
    )


def decoys_price(price: int, tested: str) -> str:
    """What a chance was multiplied by, as a sentence that begins with a space; "" for nothing.

    Parameters
    ----------
    price : int
        The factor.
    tested : str
        What was tested, such as "this coater".

    Returns
    -------
    str
        One sentence.
    """
    if price == 1:
        return ""
    return f" The chance is already multiplied by {price:,}, for the tests of {tested}."


def printed(result: Any) -> str:
    """The figures of the rank in a few words.

    Parameters
    ----------
    result : RankResult
        The figures.

    Returns
    -------
    str
        Such as ``0 of 19 decoys find as much``.
    """
    return f"{result.at_least} of {result.others} decoys find as much"
