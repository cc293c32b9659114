"""An attribution in plain words: the headline, and what it does not prove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.attribution.influence import Ranking

DOES_NOT_PROVE = {
    "gradients": (
        "It does not prove that the picture is a copy of an image, or of a part of it.",
        "It does not prove that the model was trained on these images. Some image always ranks "
        "first, also if none of them was used: run a keyed or a passive test on that question.",
        "It does not prove that the picture would look different without an image. Scores estimate "
        "that; nothing was trained again. Two images that are alike share their influence.",
        "The estimate is rough. In a study of the bundled model, these scores predicted little "
        "about generated pictures, and no more than a comparison of the files did.",
        "It compares only the images in the folder. Images of other people, and those of the base "
        "model, may have shaped the picture more.",
        "Scores are relative: a score of 2 is twice the usual size within this set. Scores of "
        "different sets, pictures or models can't be compared.",
        "The interval says how much the score depends on random noise and on the choice of "
        "pictures. It does not say how well the method itself works.",
    ),
    "patches": (
        "It does not prove that the picture is a copy of an image, or of a part of it. Patches "
        "that are alike are common: skies, skin, outlines, and motifs that many people paint.",
        "It does not prove that a model was trained on these images. No model was asked; only the "
        "files were compared. Some image always ranks first.",
        "It does not find a style, or a subject that was drawn anew.",
        "It compares only the images in the folder. Others may be more similar.",
        "Scores are relative: a score of 2 is twice the usual size within this set. Scores of "
        "different sets or pictures can't be compared.",
        "The interval says how much the score depends on the part of the picture. It does not say "
        "how well the method itself works.",
    ),
}
"""What a ranking does not show, by method."""

HOW = {
    "gradients": "A LoRA is a small set of numbers that training adjusts for each image. For every "
    "one of your images, and for the picture, it was computed how those numbers would be adjusted "
    "for it. Images that pull in the same direction as the picture score high, after what is "
    "common to all images has been discounted (D-TRAK).",
    "patches": "The picture was divided into small patches. For each of them the most similar one "
    "in every image was searched. Images with more and closer matches score high. No LoRA was "
    "given, so nothing is known about the training of a model.",
}
"""How the scores come about, by method."""


def headline(
    method: Literal["gradients", "patches"], images: Sequence[str], found: Ranking, pictures: int
) -> str:
    """An attribution in a sentence or two.

    Parameters
    ----------
    method : {"gradients", "patches"}
        What decides.
    images : sequence of str
        Names of the n images.
    found : Ranking
        Their ranking.
    pictures : int
        Number of pictures.

    Returns
    -------
    str
        Names the first image, and says whether its place is certain.
    """
    first = int(found.order[0])
    what = "the picture" if pictures == 1 else f"the {pictures} pictures together"
    verb = (
        f"is estimated to have shaped {what} most"
        if method == "gradients"
        else f"has the patches most similar to {what}"
    )
    place = f"rank {places(found, first)} of {len(images)}"
    text = f"Of your {len(images)} images, {printable(images[first])} {verb} ({place})."
    if is_stable(found):
        return text
    return (
        f"{text} This order is not stable: other noise could put the image into the lower half. "
        "Do not rely on single places."
    )


def places(found: Ranking, row: int) -> str:
    """The interval of an image's rank in words, such as ``2 to 5``; ``2`` if it is one place.

    Parameters
    ----------
    found : Ranking
        A ranking.
    row : int
        Position of the image.
    """
    low, high = int(found.rank_low[row]), int(found.rank_high[row])
    return str(low) if low == high else f"{low} to {high}"


def is_stable(found: Ranking) -> bool:
    """Whether the interval of the first image's rank stays in the upper half.

    Parameters
    ----------
    found : Ranking
        A ranking.
    """
    return bool(2 * found.rank_high[int(found.order[0])] <= len(found.ranks) + 1)
