"""The keyed test of a model's file by whole messages and their bits together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siren_ext.coater.bundled import bundled_path
from siren_ext.errors import ScoreError
from siren_ext.scoring.score_set import ScoreSet

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

_STEPS = (1.0, 1.26, 1.59, 2.0, 2.52, 3.17, 3.99, 5.02, 6.31, 7.95, 10.0)
"""What a published p starts with: about ten steps in each power of ten."""
BASE_RISK = 1e-3
"""The base model counts as found at this p at least, however small the accepted risk: so images
that were made to fit the message can lower p to about this, and not further."""


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
    base_p : float | None
        The same of the base model in the suspect's place, rounded up; it never saw the coating.
        None if it was not measured.

    References
    ----------
    :mod:`siren_ext.preference.base`.
    """

    p_value: float
    drawn: int
    bits: int
    base_p: float | None = None

    @property
    def smallest_p(self) -> float:
        """The published p of a message that fits better than all others."""
        return rounded_up(2.0**-self.bits)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values: dict[str, Any] = {"p_value": self.p_value, "drawn": self.drawn}
        return values if self.base_p is None else values | {"base_p_value": self.base_p}

    def base_found(self, alpha: float) -> bool:
        """Whether the base model is found too, so that the images themselves fit the message.

        Parameters
        ----------
        alpha : float
            The accepted risk. With honest images the base model is found by chance with this risk,
            or with :data:`BASE_RISK` where that is larger.
        """
        return self.base_p is not None and self.base_p <= max(alpha, BASE_RISK)


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
    found = wholes_of(suspect, [key], coater)
    return None if found is None else found[0]


def wholes_of(
    suspect: ScoreSet, keys: Sequence[CoatingKey], coater: Coater | None
) -> list[Whole] | None:
    """:func:`whole_of` for several keys, not corrected for their number.

    Parameters
    ----------
    suspect, coater
        As in :func:`whole_of`.
    keys : sequence of CoatingKey
        At least one.

    Returns
    -------
    list of Whole | None
        One per key; None if whole changes are not tested.

    Raises
    ------
    ScoreError, CoaterError
        As :func:`whole_of`.
    """
    used = testable(suspect, keys[0], coater)
    if used is None:
        return None
    from siren_ext.preference.base import base_scores
    from siren_ext.preference.changes import field_tests  # needs torch
    from siren_ext.preference.small import signs_for

    signs = np.array([signs_for(suspect, used, key) for key in keys], dtype=np.float64)
    beside = base_scores(suspect)
    of_base: list[float | None] = [None] * len(keys)
    if beside is not None:
        of_base = [rounded_up(one.p_value) for one in field_tests(beside, used, signs)]
    return [
        Whole(rounded_up(one.p_value), one.drawn, one.bits, base_p)
        for one, base_p in zip(field_tests(suspect, used, signs), of_base, strict=True)
    ]


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
    from siren_ext.preference.changes import MeanField
    from siren_ext.preference.small import signs_for

    if MeanField.of(suspect) is None:
        raise ScoreError(
            "This measurement is for a test of whole changes, but its learnt field is missing. "
            "Measure the model again."
        )
    used = coater_for(suspect, coater)
    if used is None:
        raise ScoreError(
            "The measurement of a model's file is tested by what whole messages change, which "
            "takes the coater that the images were coated with. Give its file with --coater."
        )
    signs_for(suspect, used, key)
    return used


def coater_for(suspect: ScoreSet, coater: Coater | None) -> Coater | None:
    """The coater that was given, or else the bundled one that a measurement was made with.

    Parameters
    ----------
    suspect, coater
        As in :func:`whole_of`.

    Returns
    -------
    Coater | None
        None if there is neither.
    """
    if coater is not None or (path := bundled_path(suspect.coater)) is None:
        return coater
    from siren_ext.coater.coater import Coater  # needs torch

    return Coater.load(path)


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
