"""Why images that are not shown to be alike are not compared, in words."""

from __future__ import annotations

from siren_ext.scoring.appearance import LIMIT, MIN_IMAGES, Contrast


def not_shown_alike(apart: Contrast | None, others: str) -> str:
    """Why the scores of two models' images are not compared.

    Parameters
    ----------
    apart : Contrast | None
        How unlike the images look, not comparable; None if it is not known.
    others : str
        What the suspect's images are compared with, such as ``the reference's``.

    Returns
    -------
    str
        Three or four sentences.
    """
    if apart is None:
        return (
            "The scores have no record of what the images look like, so nothing shows that they "
            "can be compared. Images of another style or subject can score lower without a coated "
            "image having been used. Score both sets of images again."
        )
    if not apart.enough:
        return (
            f"There are too few images ({apart.n} and {apart.m}) to tell whether they look alike. "
            "Images of another style or subject can score lower without a coated image having been "
            f"used. Use {MIN_IMAGES} or more of each model, or use a key, which needs no "
            "comparison."
        )
    share = f"{100 * apart.share:.0f} %"
    if apart.share <= LIMIT:
        return (
            f"The suspicious model's images are not shown to look like {others}: in {share} of "
            f"pairs they are {apart.words}, and in all that the models could make it may be "
            f"{100 * apart.upper:.0f} %, with {100 * LIMIT:.0f} % allowed. Use more images, or "
            "compare with a clean model that generates more similar ones, or use a key, which "
            "needs no comparison."
        )
    return (
        f"The suspicious model's images look unlike {others}: in {share} of pairs they are "
        f"{apart.words}. A model of another style or subject can score lower without "
        "having seen a coated image, so low scores would prove nothing here. Compare with a clean "
        "model that generates similar images, or use a key, which needs no comparison."
    )
