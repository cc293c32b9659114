"""The verdict on images that were tested one after the other."""

from __future__ import annotations

from dataclasses import replace

from siren_ext.stats.sequential import SequentialResult, least_images
from siren_ext.verdict.outcomes import LOWER, NO_DIFFERENCE, NOT_COMPARABLE, undecided
from siren_ext.verdict.verify import Verdict
from siren_ext.verdict.wording import WITHHELD_HEADLINE, odds, unlike


def sequential_verdict(verdict: Verdict, sequential: SequentialResult, references: int) -> Verdict:
    """The verdict of the sequential test in place of that of the test of fixed size.

    Parameters
    ----------
    verdict : Verdict
        Of the comparison with a reference.
    sequential : SequentialResult
        The result of the sequential test.
    references : int
        Number of distinct reference images.

    Returns
    -------
    Verdict
        With the outcome, headline and first warning of the sequential test.
    """
    note = (
        "The images were tested one after the other, so only the sequential test counts: "
        f"p = {sequential.p_value:.3g} after {sequential.images} images, valid whenever you "
        "stop. The Kolmogorov-Smirnov figures of this report describe the images but do not decide."
    )
    warnings = (note, *verdict.warnings)
    apart = verdict.deciding.contrast
    few = apart is not None and not apart.enough
    if not sequential.rejected and (few or not undecided(verdict.outcome)):
        least = least_images(references, sequential.alpha, limit=sequential.images)
        if least is None:
            headline = (
                "There are too few images to tell: not even perfect evidence in "
                f"{sequential.images} images could end the sequential test. Allow more images and "
                "investigate again."
            )
            return replace(verdict, outcome="inconclusive", headline=headline, warnings=warnings)
    if verdict.deciding.unlike:
        headline = unlike(verdict.deciding)
        return replace(verdict, outcome=NOT_COMPARABLE, headline=headline, warnings=warnings)
    if sequential.rejected and verdict.withheld:
        return replace(
            verdict, outcome="inconclusive", headline=WITHHELD_HEADLINE, warnings=warnings
        )
    if sequential.rejected:
        headline = (
            "The suspicious model's images score lower than this reference's. If the two models "
            "did not differ, the chance that the sequential test would ever come this far would be "
            f"at most {odds(sequential.p_value)}. That does not show why they differ: coated "
            "training images are one possible cause, and another training seed, style, file format "
            "or coating are others. Only the keyed test shows that your coating was found."
        )
        return replace(verdict, outcome=LOWER, headline=headline, warnings=warnings)
    if undecided(verdict.outcome):
        return replace(verdict, warnings=warnings)
    headline = (
        "No sufficient difference was found: the sequential test did not end within "
        f"{sequential.images} images."
    )
    return replace(verdict, outcome=NO_DIFFERENCE, headline=headline, warnings=warnings)
