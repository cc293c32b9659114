"""Compares what a model has learnt with what each message really changes.

The patterns of a message's bits (:mod:`siren_ext.preference.reading`) treat a coating as their sum.
It is not one: it is limited where it would be visible, so what a bit adds depends on the others.
That sum explains two thirds of what messages change. So the mean learnt field is compared with the
whole change by a message, too: A(m) = <field, change of images by m>. The keyed test of a model's
file takes both together,

    T(m) = A(m) / sd(A) + 1/2 m.F / |F|,

with F from the patterns, and sd(A) over random messages. The true message is compared with others
drawn by :mod:`siren_ext.stats.tilted`. So the test needs the coater when the key is tested.

What the base model keeps of a change is what images usually contain, where trainings differ most.
So the field is compared with what it removes. How that follows from the change of the pixels, at a
side of 32, is estimated from coated copies of some images, so that A needs neither the model nor
the images in full size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.errors import ScoreError
from siren_ext.preference.patterns import SIDE, Codings
from siren_ext.preference.small import (
    changes_by,
    from_plain,
    small_images,
    to_plain,
)
from siren_ext.scoring.copies import distinct_rows
from siren_ext.scoring.score_set import FIELD, ScoreSet
from siren_ext.stats.keyed import contributions, whole_sums
from siren_ext.stats.tilted import Statistic, TiltedResult, tilted_tests

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

DRAWN = 4000
"""Messages that the true one is compared with."""
SUM_WEIGHT = 0.5
"""Weight of the sum of patterns beside whole changes, in standard deviations of each; chosen on the
samples, see docs/preference.md."""
_SPREAD = 512  # random messages, by which the spread of A is estimated
_RIDGE = 0.1  # share of the largest eigenvalue; chosen on the samples, see docs/preference.md

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeanField:
    """What a model adds to the owner's images, as a direction in pixels.

    Like the features of a measurement it reveals the message of a model that learnt it, so it is
    not copied into reports.

    Attributes
    ----------
    direction : array, shape (3, 32, 32)
        float32, of any scale; the mean over images.
    images : array, shape (N, 3, 32, 32)
        uint8, some of the owner's images.
    """

    direction: NDArray[np.float32]
    images: NDArray[np.uint8]

    def to_plain(self) -> dict[str, str]:
        """Plain values for JSON: both arrays in base64."""
        return to_plain("direction", self.direction, self.images)

    @classmethod
    def of(cls, scores: ScoreSet) -> MeanField | None:
        """The field of a measurement; None if it was not recorded.

        Parameters
        ----------
        scores : ScoreSet
            A preference.

        Raises
        ------
        ScoreError
            If what was recorded is malformed.
        """
        plain = scores.source.get(FIELD)
        if plain is None:
            return None
        found = from_plain("direction", plain)
        if found is None:
            raise ScoreError(
                "The learnt field of this measurement is malformed; expected 3 x 32 x 32 numbers "
                "and four small images. Measure the model again."
            )
        return cls(*found)


def field_in_pixels(field: Floats, codings: Codings, views: Tensor) -> MeanField:
    """Carry a learnt field from latents to pixels.

    Parameters
    ----------
    field : array, shape (d,)
        The mean learnt field.
    codings : Codings
        Coated copies, from :func:`siren_ext.preference.patterns.removed_patterns`.
    views : Tensor
        N x 3 x H x W in [0,1], some of the owner's images, spread evenly over the set.

    Returns
    -------
    MeanField
        <direction, change of the pixels> estimates <field, what the base model removes of the
        change of the latents>, by ridge regression over the copies.

    Notes
    -----
    The gradient of the networks is that direction for very small changes only, and was a worse
    guide to whole coatings.
    """
    pixels = codings.pixels.astype(np.float64)
    products = pixels @ pixels.T
    ridge = _RIDGE * float(np.linalg.eigvalsh(products)[-1]) or 1.0
    wanted = codings.removed @ field
    found = pixels.T @ np.linalg.solve(products + ridge * np.eye(len(products)), wanted)
    direction = (found / (np.abs(found).max() or 1.0)).astype(np.float32)
    return MeanField(direction.reshape(3, SIDE, SIDE), small_images(views))


@torch.no_grad()
def agreement(field: MeanField, coater: Coater, messages: Floats) -> Floats:
    """How well what each message changes agrees with the field.

    Parameters
    ----------
    field : MeanField
        What a model has learnt.
    coater : Coater
        The keyed coater.
    messages : array, shape (n, k)
        -1 and +1.

    Returns
    -------
    array, shape (n,)
        T(m), the mean over the field's images.
    """
    direction = torch.from_numpy(field.direction.astype(np.float32)).to(coater.device).flatten()
    found = [
        (changes.flatten(2) @ direction).double().mean(1).cpu().numpy()
        for changes in changes_by(field.images, coater, messages)
    ]
    return np.concatenate(found)


def field_tests(
    scores: ScoreSet, coater: Coater, messages: Floats, *, sum_weight: float = SUM_WEIGHT
) -> list[TiltedResult]:
    """Test messages against what a measurement says of whole changes and of single bits.

    Parameters
    ----------
    scores : ScoreSet
        A preference with a field, from
        :func:`siren_ext.preference.measure.measure_preference`.
    coater : Coater
        The coater that it was measured with.
    messages : array, shape (n, k)
        -1 and +1.
    sum_weight : float
        Weight of the sum of patterns; 0 compares whole changes alone. Anything but the default is
        another test.

    Returns
    -------
    list of TiltedResult
        One per message, not corrected for their number. The seed of the messages that they are
        compared with follows from the measured images and the coater.

    Raises
    ------
    ScoreError
        If the field is missing or malformed.
    """
    field = MeanField.of(scores)
    if field is None or scores.features is None:
        raise ScoreError("This measurement has no learnt field. Measure the model again.")
    seed = _seed(scores.hashes, coater)
    sums = whole_sums(contributions(scores.features[distinct_rows(scores)]))
    statistic = _statistic(field, coater, sums.astype(np.float64), sum_weight, seed)
    return tilted_tests(statistic, messages, seed=seed, drawn=DRAWN)


def _seed(hashes: Sequence[str], coater: Coater) -> int:
    """The same for all models, so that no change of a measurement draws other messages."""
    known = hashlib.sha256("\0".join((coater.fingerprint, *hashes)).encode())
    return int.from_bytes(known.digest()[:6], "big")


def _statistic(
    field: MeanField, coater: Coater, sums: Floats, weight: float, seed: int
) -> Statistic:
    """T: both parts in standard deviations over all messages; a part without any is left out."""
    rng = np.random.default_rng((seed, 1))
    some = np.where(rng.random((_SPREAD, len(sums))) < 0.5, 1.0, -1.0)
    with np.errstate(all="ignore"):  # a damaged field is told where values are checked
        spread = float(agreement(field, coater, some).std()) or 1.0
    length = float(np.linalg.norm(sums)) or 1.0
    return lambda m: agreement(field, coater, m) / spread + weight * (m @ sums) / length
