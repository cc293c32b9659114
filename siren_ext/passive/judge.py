"""Turns features of published and unpublished images into a verdict with its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from siren_ext.errors import ScoreError
from siren_ext.formats import Sha256
from siren_ext.passive.config import DIFFERENCE
from siren_ext.passive.judge_config import JudgeConfig, smaller
from siren_ext.passive.picture_wording import PICTURES_DO_NOT_PROVE, likeness_headline
from siren_ext.passive.set_comparison import compare_sets
from siren_ext.passive.set_config import SetComparison
from siren_ext.passive.share import UsedShare, used_share
from siren_ext.passive.table import FeatureTable
from siren_ext.passive.wording import (
    CONTROLS,
    DOES_NOT_PROVE,
    FOUND,
    INVALID,
    NEARER,
    NO_NEARER,
    PASSIVE_WORDING,
    Outcome,
    blind_headline,
    combined_words,
    passive_headline,
)
from siren_ext.progress import NULL, Named, Progress
from siren_ext.stats.multiple import holm
from siren_ext.verdict.wording import odds

Floats = NDArray[np.float64]

_RELIABLE = 30


@dataclass(frozen=True)
class Control:
    """A comparison of the same images that must find nothing.

    Attributes
    ----------
    name : str
        What was compared; a key of :data:`~siren_ext.passive.wording.CONTROLS`.
    comparison : SetComparison
        The result.
    adjusted : float
        Its p, corrected for the number of controls (Holm).
    """

    name: str
    comparison: SetComparison
    adjusted: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = self.comparison.to_dict()
        return {"name": self.name, "comparison": found, "adjusted": self.adjusted}


@dataclass(frozen=True)
class KeyedEvidence:
    """The keyed verdict on the same model, from its report.

    Attributes
    ----------
    outcome : str
        Its outcome.
    p_value, alpha : float
        Its p and accepted risk.
    report_sha256 : str
        SHA-256 of its ``report.json``.
    """

    outcome: Annotated[str, Meta(max_length=100)]
    p_value: Annotated[float, Meta(ge=0, le=1)]
    alpha: Annotated[float, Meta(ge=0, le=1)]
    report_sha256: Sha256

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class PassiveVerdict:
    """What was found, in words and figures.

    Attributes
    ----------
    outcome : Outcome
        What the comparison says, or that it is invalid.
    headline : str
        The verdict in a few sentences.
    comparison : SetComparison
        The comparison that decides.
    columns : tuple[str, ...]
        The features that it rests on.
    controls : tuple[Control, ...]
        Comparisons that must find nothing.
    share : UsedShare
        Share of the published images that stands out; it means something only if training was
        found.
    config : JudgeConfig
        The settings.
    warnings : tuple[str, ...]
        What weakens this verdict.
    does_not_prove : tuple[str, ...]
        What it does not show.
    keyed : KeyedEvidence | None
        The keyed verdict on the same model.
    """

    outcome: Outcome
    headline: str
    comparison: SetComparison
    columns: tuple[str, ...]
    controls: tuple[Control, ...]
    share: UsedShare
    config: JudgeConfig
    warnings: tuple[str, ...]
    does_not_prove: tuple[str, ...]
    keyed: KeyedEvidence | None = None

    @property
    def combined(self) -> str:
        """How this verdict and the keyed one go together; "" without a keyed one."""
        if self.keyed is None:
            return ""
        return combined_words(
            self.keyed.outcome,
            self.keyed.p_value,
            self.keyed.alpha,
            self.outcome,
            self.config.alpha,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "outcome": self.outcome,
            "wording": PASSIVE_WORDING,
            "headline": self.headline,
            "alpha": self.config.alpha,
            "p_in_words": odds(self.comparison.p_value),
            "comparison": self.comparison.to_dict(),
            "columns": list(self.columns),
            "controls": [control.to_dict() for control in self.controls],
            "share": self.share.to_dict(),
            "settings": self.config.to_dict(),
            "warnings": list(self.warnings),
            "does_not_prove": list(self.does_not_prove),
            "keyed": self.keyed.to_dict() if self.keyed else None,
            "combined": self.combined,
        }


def judge(
    published: FeatureTable,
    unpublished: FeatureTable,
    looks: tuple[Floats, Floats],
    config: JudgeConfig | None = None,
    *,
    notes: Sequence[str] = (),
    keyed: KeyedEvidence | None = None,
    progress: Progress = NULL,
) -> PassiveVerdict:
    """Decide whether a model was trained on the published images.

    Parameters
    ----------
    published, unpublished : FeatureTable
        Features of both sets, measured with a control that cannot have seen the images; evidence
        ``likeness`` needs none.
    looks : tuple[array, array]
        n x k numbers of what the images of both sets look like, which no model has touched.
    config : JudgeConfig | None
        Settings; None for the defaults.
    notes : sequence of str
        What else weakens the verdict, such as the notes of
        :func:`~siren_ext.passive.image_facts.check_sets`.
    keyed : KeyedEvidence | None
        The keyed verdict on the same model.
    progress : Progress
        One unit per repeat of each comparison.

    Returns
    -------
    PassiveVerdict
        "invalid: P and U differ in themselves" if a control finds a difference, whatever the
        suspect shows; "inconclusive" if no p could be as small as ``config.alpha``, or that of a
        control as small as ``config.control_alpha``.

    Raises
    ------
    ScoreError
        If the tables do not fit together, or were measured without a control.
    Cancelled
        If the user stopped.

    Notes
    -----
    Null hypothesis and limits are those of :func:`compare_sets`. The controls ask the same of the
    control model's features and of the images' looks, for any difference and in any direction;
    their p-values are corrected by Holm's method, so honest sets are called invalid with
    probability at most ``config.control_alpha``.
    """
    config = config or JudgeConfig()
    _require_pair(published, unpublished)
    columns = config.columns(published.names)
    found = compare_sets(
        published.columns(columns).values,
        unpublished.columns(columns).values,
        config.test(),
        smaller=smaller(columns),
        progress=Named(progress, "suspect"),
    )
    controls = _controls(published, unpublished, looks, config, progress)
    share = _share(found, config)
    outcome = _outcome(found, controls, config)
    warnings = (*_warnings(found, controls, config), *notes)
    weak = config.evidence == "likeness"
    return PassiveVerdict(
        outcome,
        _headline(outcome, found, controls, share, config),
        found,
        columns,
        controls,
        share,
        config,
        warnings,
        PICTURES_DO_NOT_PROVE if weak else DOES_NOT_PROVE,
        keyed,
    )


def _share(found: SetComparison, config: JudgeConfig) -> UsedShare:
    """The share that stands out, by the images that were scored."""
    scored = [side[np.isfinite(side)] for side in (found.published, found.unpublished)]
    return used_share(*scored, confidence=config.confidence, seed=config.seed)


def _controls(
    published: FeatureTable,
    unpublished: FeatureTable,
    looks: tuple[Floats, Floats],
    config: JudgeConfig,
    progress: Progress,
) -> tuple[Control, ...]:
    tables = {"looks": looks}
    apart = any(name.startswith(DIFFERENCE) for name in published.names)
    if apart or config.evidence != "likeness":
        model = published.control().values, unpublished.control().values
        tables = {"model": model, **tables}
    found = [
        compare_sets(*pair, config.control_test(), progress=Named(progress, f"control: {name}"))
        for name, pair in tables.items()
    ]
    adjusted = holm([one.p_value for one in found], alpha=config.control_alpha).adjusted
    return tuple(Control(*parts) for parts in zip(tables, found, adjusted, strict=True))


def _headline(
    outcome: Outcome,
    found: SetComparison,
    controls: Sequence[Control],
    share: UsedShare,
    config: JudgeConfig,
) -> str:
    smallest = _smallest(controls)
    if outcome == "inconclusive" and smallest > config.control_alpha:
        return blind_headline(smallest, config.control_alpha, len(controls))
    if config.evidence == "likeness":
        return likeness_headline(outcome, found, config.alpha)
    return passive_headline(outcome, found, share, config.alpha)


def _outcome(found: SetComparison, controls: Sequence[Control], config: JudgeConfig) -> Outcome:
    if any(control.adjusted <= config.control_alpha for control in controls):
        return INVALID
    # controls that can find nothing are no guard against sets that differ in themselves
    if _smallest(controls) > config.control_alpha or config.alpha < found.smallest_p:
        return "inconclusive"
    small = found.p_value <= config.alpha
    if config.evidence == "likeness":
        return NEARER if small else NO_NEARER
    return FOUND if small else "no evidence"


def _smallest(controls: Sequence[Control]) -> float:
    """The smallest p that every control can reach, corrected for their number."""
    return max(len(controls) * one.comparison.smallest_p for one in controls)


def _warnings(found: SetComparison, controls: Sequence[Control], config: JudgeConfig) -> list[str]:
    texts = [
        f"The sets can be told apart by {CONTROLS[control.name]} (chance: "
        f"{odds(control.adjusted)}), so they differ in more than publication."
        for control in controls
        if control.adjusted <= config.control_alpha
    ]
    if found.n < _RELIABLE:
        texts.append(
            f"With {found.n} images per set, the controls find only large differences between the "
            f"sets. Use {_RELIABLE} images or more."
        )
    return texts


def _require_pair(published: FeatureTable, unpublished: FeatureTable) -> None:
    if published.names != unpublished.names or published.source != unpublished.source:
        raise ScoreError(
            "The features of published and unpublished images were measured in different ways; "
            "expected the same models, columns and settings. Measure both together."
        )
    both = set(published.image_hashes) & set(unpublished.image_hashes)
    if both:
        raise ScoreError(
            f"{len(both)} of the images are in both feature tables; expected none. Take them out "
            "of the unpublished set."
        )
