"""The keyed test of a model's file by whole messages and their bits together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siren_ext.coater.bundled import bundled_path
from siren_ext.errors import ScoreError
from siren_ext.scoring.score_set import ScoreSet

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

_STEPS = (1.0, 1.26, 1.59, 2.0, 2.52, 3.17, 3.99, 5.02, 6.31, 7.95, 10.0)
"""What a published p starts with: about ten steps in each power of ten."""


@dataclass(frozen=True)
class Whole:
    """How many messages fit a model as well as the secret one does, as whole changes and as bits.

    Attributes
    ----------
    p_value : float
        Rounded up, see :func:`rounded_up`.
    drawn : int
        Number of messages that the secret one was compared with.
    bits : int
        Of the message.
    """

    p_value: float
    drawn: int
    bits: int

    @property
    def smallest_p(self) -> float:
        """The published p of a message that fits better than all others."""
        return rounded_up(2.0**-self.bits)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"p_value": self.p_value, "drawn": self.drawn}


def whole_of(suspect: ScoreSet, key: CoatingKey, coater: Coater | None) -> Whole | None:
    """Test a key against whole changes and bits together.

    Parameters
    ----------
    suspect : ScoreSet
        The suspect's scores.
    key : CoatingKey
        The owner's secret.
    coater : Coater | None
        The coater that the model was measured with; None for a bundled one.

    Returns
    -------
    Whole | None
        None for scores of pictures, and for measurements by earlier versions or with
        ``preference.whole=false``.

    Raises
    ------
    ScoreError
        The measurement lacks its learnt field, or there is no coater to compare it with, or the key
        has another length.
    CoaterError
        It is another coater.

    References
    ----------
    :mod:`siren_ext.preference.changes`, :mod:`siren_ext.stats.tilted`.
    """
    used = testable(suspect, key, coater)
    if used is None:
        return None
    from siren_ext.preference.changes import field_test  # needs torch

    result = field_test(suspect, used, key)
    if result is None:
        return None
    return Whole(rounded_up(result.p_value), result.drawn, result.bits)


def testable(suspect: ScoreSet, key: CoatingKey, coater: Coater | None) -> Coater | None:
    """The coater that a measurement is tested with; everything that it takes is checked.

    Parameters
    ----------
    suspect, key, coater
        As in :func:`whole_of`.

    Returns
    -------
    Coater | None
        None if whole changes are not tested.

    Raises
    ------
    ScoreError, CoaterError
        As :func:`whole_of`.
    """
    if not suspect.whole:
        return None
    from siren_ext.coater.coater import Coater
    from siren_ext.preference.changes import MeanField
    from siren_ext.preference.small import signs_for

    if MeanField.of(suspect) is None:
        raise ScoreError(
            "This measurement is for a test of whole changes, but its learnt field is missing. "
            "Measure the model again."
        )
    if coater is None:
        if (path := bundled_path(suspect.coater)) is None:
            raise ScoreError(
                "The measurement of a model's file is tested by what whole messages change, which "
                "takes the coater that the images were coated with. Give its file with --coater."
            )
        coater = Coater.load(path)
    signs_for(suspect, coater, key)
    return coater


def coater_missing(suspect: ScoreSet, coater: Coater | None) -> bool:
    """Whether a measurement can't be tested because its coater is not there.

    Parameters
    ----------
    suspect, coater
        As in :func:`whole_of`.
    """
    return suspect.whole and coater is None and bundled_path(suspect.coater) is None


def rounded_up(p: float) -> float:
    """A p-value rounded up to a tenth of a power of ten, which keeps the test valid.

    The exact p belongs to one message alone, which whoever has coater and model could find by it.
    About p / 5 of all messages have the same rounded one.

    Parameters
    ----------
    p : float
        Above 0, up to 1.
    """
    power = math.floor(math.log10(p))
    lead = p / 10.0**power * (1 - 1e-9)  # a rounded p stays as it is
    step = next(step for step in _STEPS if step >= lead)
    return min(1.0, float(f"{step:g}e{power}"))
