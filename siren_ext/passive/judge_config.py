"""How strict a passive verdict is, and which features it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from siren_ext.config import Config
from siren_ext.errors import ScoreError
from siren_ext.passive.config import DIFFERENCE, FAMILIES, LIKENESS
from siren_ext.passive.scorer import Scorer
from siren_ext.passive.set_config import Mode, SetTestConfig

Evidence = Literal["losses", "difference", "plain", "likeness"]

_SMALLER = ("denoising_loss", "secmi", "pia", "pian", *FAMILIES["multiple_loss"], *LIKENESS)
"""Columns that training on an image makes smaller; of the others it is not known."""


@dataclass(frozen=True)
class JudgeConfig(Config):
    """Settings of a passive verdict.

    Attributes
    ----------
    alpha : float
        Accepted risk of accusing a model that was not trained on the images.
    evidence : {"losses", "difference", "plain", "likeness"}
        ``losses``: the mean of ten losses, suspect minus control. It learns nothing from the
        images, so few are enough. ``difference``: a scoring model learns from all features, suspect
        minus control. ``plain``: the same from the suspect's features alone, as in the CDI study.
        ``likeness``: the mean distance from the suspect's pictures, if only these are available.
    mode : {"permutation", "default"}
        The test, see :func:`siren_ext.passive.set_comparison.compare_sets`.
    permutations : int
        Labellings of ``permutation``; p can't be below 1 / (1 + permutations).
    splits : int
        Random halvings of ``default``.
    folds : int
        Parts of the cross-validation.
    penalty : float
        C of a learnt scoring model.
    control_alpha : float
        The verdict is invalid if a comparison that cannot know the images has a p of at most this;
        0.01 or more, because a smaller one would let sets pass that differ in other ways too.
    control_permutations : int
        Labellings of these comparisons. With too few for ``control_alpha`` the verdict is
        inconclusive.
    confidence : float
        Confidence level of the interval for the share of images that was used.
    seed : int
        Seed of folds, splits and labellings.
    """

    alpha: Annotated[float, Meta(ge=1e-6, le=0.5)] = 1e-3
    evidence: Evidence = "losses"
    mode: Literal["permutation", "default"] = "permutation"
    permutations: Annotated[int, Meta(ge=19, le=1_000_000)] = 9999
    splits: Annotated[int, Meta(ge=1, le=10_000)] = 100
    folds: Annotated[int, Meta(ge=2, le=20)] = 5
    penalty: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    control_alpha: Annotated[float, Meta(ge=0.01, le=0.5)] = 0.05
    control_permutations: Annotated[int, Meta(ge=19, le=1_000_000)] = 999
    confidence: Annotated[float, Meta(ge=0.5, le=0.999)] = 0.95
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0

    def test(self) -> SetTestConfig:
        """Settings of the comparison that decides."""
        scorer: Scorer = "mean" if self.evidence in ("losses", "likeness") else "logistic"
        return self._test(scorer, self.mode, self.permutations)

    def control_test(self) -> SetTestConfig:
        """Settings of the comparisons that must find nothing; they look for any difference."""
        return self._test("logistic", "permutation", self.control_permutations)

    def _test(self, scorer: Scorer, mode: Mode, permutations: int) -> SetTestConfig:
        return SetTestConfig(
            mode=mode,
            folds=self.folds,
            permutations=permutations,
            splits=self.splits,
            scorer=scorer,
            penalty=self.penalty,
            seed=self.seed,
        )

    def columns(self, names: Sequence[str]) -> tuple[str, ...]:
        """The columns that the verdict rests on.

        Parameters
        ----------
        names : sequence of str
            All columns of the table.

        Returns
        -------
        tuple[str, ...]
            In the order of the table.

        Raises
        ------
        ScoreError
            If the table has none of them.
        """
        if self.evidence == "losses":
            wanted = {DIFFERENCE + name for name in FAMILIES["multiple_loss"]}
        elif self.evidence == "likeness":
            apart = any(name.startswith(DIFFERENCE) for name in names)
            wanted = {DIFFERENCE * apart + name for name in LIKENESS}
        else:
            apart = self.evidence == "difference"
            wanted = {name for name in names if name.startswith(DIFFERENCE) == apart}
        chosen = tuple(name for name in names if name in wanted)
        if not chosen:
            raise ScoreError(
                f"The features have no columns for evidence={self.evidence}; they have "
                f"{', '.join(names)}. Measure them again with a control, or use evidence=plain."
            )
        return chosen


def smaller(names: Sequence[str]) -> tuple[int, ...]:
    """Positions of the columns that training on an image makes smaller.

    Parameters
    ----------
    names : sequence of str
        Names of columns, of one model or of differences.

    Returns
    -------
    tuple[int, ...]
        Positions in ``names``; the direction of the other columns is not known.
    """
    return tuple(
        place for place, name in enumerate(names) if name.removeprefix(DIFFERENCE) in _SMALLER
    )
