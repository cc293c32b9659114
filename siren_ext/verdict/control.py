"""The positive control of a keyed test: a known message in the suspect's own pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from siren_ext.errors import ScoreError
from siren_ext.scoring.control import control_message
from siren_ext.scoring.copies import distinct_rows
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import KeyedResult, contributions, keyed_test, whole_sums
from siren_ext.verdict.outcomes import Outcome, outcome_of
from siren_ext.verdict.whole import Whole


@dataclass(frozen=True)
class Control:
    """Whether a message at full strength can be read from pictures like these.

    Attributes
    ----------
    result : KeyedResult
        The keyed test of the control's message.
    strengths : tuple[int, ...]
        |F_j| of the copies, ascending.
    """

    result: KeyedResult
    strengths: tuple[int, ...]

    def found(self, alpha: float, price: int) -> bool:
        """Whether the control passes the bar of the test itself."""
        return self.result.p_value * price <= alpha

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "p_value": self.result.p_value,
            "statistic": self.result.statistic,
            "images": self.result.images,
            "strengths": list(self.strengths),
        }


def control_of(suspect: ScoreSet) -> Control | None:
    """Test whether the control's message is found in the copies that carry it.

    Parameters
    ----------
    suspect : ScoreSet
        The suspect's scores.

    Returns
    -------
    Control | None
        None if the scores hold no control: those of a model's preference, and those of earlier
        versions.

    Raises
    ------
    ScoreError
        The control has another number of bits than the features.
    """
    if suspect.control is None or suspect.preference:
        return None
    if suspect.features is None or suspect.features.shape != suspect.control.shape:
        raise ScoreError(
            f"The positive control has shape {suspect.control.shape}; expected that of the "
            "features. Score the images again with 'siren-ext score'."
        )
    copies = suspect.control[distinct_rows(suspect)]
    result = keyed_test(copies, control_message(suspect.coater, copies.shape[1]))
    strengths = np.sort(np.abs(whole_sums(contributions(copies))))
    return Control(result, tuple(int(value) for value in strengths))


def keyed_outcome(
    result: KeyedResult | Whole, control: Control | None, alpha: float, price: int
) -> Outcome:
    """The outcome of a keyed test.

    Parameters
    ----------
    result : KeyedResult | Whole
        The test that decides.
    control : Control | None
        Its positive control.
    alpha : float
        The accepted risk.
    price : int
        What p is multiplied by.

    Returns
    -------
    Outcome
        "inconclusive" if no message of so few bits could reach alpha, instead of "no evidence" if
        the control was not found, and instead of "coating found" if the base model is found in the
        suspect's place. A find needs no positive control: its p is exact without one.
    """
    outcome = outcome_of(
        min(1.0, result.p_value * price), min(1.0, result.smallest_p * price), alpha
    )
    if outcome == "no evidence" and control is not None and not control.found(alpha, price):
        return "inconclusive"
    if outcome == "coating found" and isinstance(result, Whole) and result.base_found(alpha):
        return "inconclusive"
    return outcome
