"""What a model has learnt, as a small picture beside what a message adds to images.

The mean learnt field of :mod:`siren_ext.preference.measure`, carried to pixels: the tint that the
model gives to the owner's clean images by itself. Beside it, what the coater adds to the same
images with the key's message. How alike they are is a second finding, separate from the keyed test.
It decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.errors import ScoreError
from siren_ext.preference.patterns import SIDE, spread
from siren_ext.preference.small import (
    changes_by,
    from_plain,
    seed_of,
    signs_for,
    small_images,
    to_plain,
)
from siren_ext.scoring.score_set import TINT, ScoreSet

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.diffusion.load import Pipeline
    from siren_ext.keys.coating_key import CoatingKey

SEEN = 16
"""Images, spread evenly over those given, on which the tint is seen."""
DRAWN = 1000
"""Random messages that the key's message is compared with."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tint:
    """What a model adds to the owner's images.

    Like the features of a measurement it can reveal the message of a model that learnt it.

    Attributes
    ----------
    learnt : array, shape (3, 32, 32)
        float32, in the range of the images (1 is from black to white); the mean over images.
    images : array, shape (4, 3, 32, 32)
        uint8, some of these images.
    """

    learnt: NDArray[np.float32]
    images: NDArray[np.uint8]

    def to_plain(self) -> dict[str, str]:
        """Plain values for JSON: both arrays in base64."""
        return to_plain("learnt", self.learnt, self.images)

    @classmethod
    def of(cls, scores: ScoreSet) -> Tint | None:
        """The tint of a measurement; None if it was not recorded.

        Parameters
        ----------
        scores : ScoreSet
            A preference.

        Raises
        ------
        ScoreError
            If what was recorded is malformed.
        """
        plain = scores.source.get(TINT)
        if plain is None:
            return None
        found = from_plain("learnt", plain)
        if found is None:
            raise ScoreError(
                "The learnt tint of this measurement is malformed; expected 3 x 32 x 32 numbers "
                "and four small images. Measure the model again."
            )
        return cls(*found)


@torch.no_grad()
def tint_of(pipeline: Pipeline, views: Tensor, fields: Floats) -> Tint:
    """Carry the mean of learnt fields from latents to pixels.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the autoencoder.
    views : Tensor
        N x 3 x H x W in [0,1], some of the owner's images, spread evenly over the set.
    fields : array, shape (n, d)
        Learnt fields of n images.

    Returns
    -------
    Tint
        The mean difference of 16 images decoded with the mean field and without it.
    """
    from siren_ext.diffusion import pipelines

    chosen = views[spread(len(views), SEEN)]
    mean = torch.from_numpy(fields.mean(0)).float()
    total = torch.zeros(3, SIDE, SIDE)
    for view in torch.split(chosen, 1):
        latents = pipelines.encode_latents(pipeline, view.to(pipeline.vae.device))
        moved = latents + mean.view(latents.shape).to(latents)
        with_, without = (pipelines.decode_latents(pipeline, one) for one in (moved, latents))
        total += F.adaptive_avg_pool2d((with_ - without).float(), SIDE)[0].cpu()
    return Tint((total / len(chosen)).numpy(), small_images(views))


@dataclass(frozen=True, eq=False)
class Likeness:
    """How alike the learnt tint and the expected one are.

    Attributes
    ----------
    learnt, expected : array, shape (3, 32, 32)
        float32, in the range of the images: what the model adds, and what the coater adds with the
        key's message.
    at_least : int
        Random messages whose expected tint correlates as well or better with the learnt one.
    others : int
        Number of random messages.
    """

    learnt: NDArray[np.float32]
    expected: NDArray[np.float32]
    at_least: int
    others: int

    @property
    def correlation(self) -> float:
        """Of both tints over all pixels and colours, from -1 to 1; 0 if one is constant."""
        return correlation(self.learnt, self.expected)

    @property
    def p_value(self) -> float:
        """Share of messages that correlate as well, the key's own counted (Barnard 1963)."""
        return (1 + self.at_least) / (1 + self.others)


def correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Pearson's correlation of two pictures over all pixels and colours.

    Parameters
    ----------
    first, second : array, shape (3, s, s)
        The pictures.

    Returns
    -------
    float
        From -1 to 1; 0 if one of them is constant.
    """
    one, other = (np.asarray(given, np.float64).ravel() for given in (first, second))
    one, other = one - one.mean(), other - other.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size else 0.0


def likeness(scores: ScoreSet, coater: Coater, key: CoatingKey) -> Likeness | None:
    """Compare the learnt tint with what the key's message adds to the same images.

    Parameters
    ----------
    scores : ScoreSet
        A preference, from :func:`siren_ext.preference.measure.measure_preference`.
    coater : Coater
        The coater that it was measured with.
    key : CoatingKey
        The owner's secret.

    Returns
    -------
    Likeness | None
        None if the measurement holds no tint. The seed of the random messages follows from the
        measurement and the coater, so nobody can choose it.

    Raises
    ------
    CoaterError
        If it is another coater.
    ScoreError
        If the tint is malformed, or the key has another length.
    """
    tint = Tint.of(scores)
    if tint is None:
        return None
    signs = signs_for(scores, coater, key)
    rng = np.random.default_rng(seed_of(tint.learnt, tint.images, coater))
    messages = np.concatenate([signs[None], rng.integers(0, 2, (DRAWN, len(signs))) * 2 - 1])
    parts = [part.mean(1).cpu().numpy() for part in changes_by(tint.images, coater, messages)]
    expected = np.concatenate(parts)
    found = [correlation(tint.learnt, one) for one in expected]
    at_least = sum(one >= found[0] for one in found[1:])
    return Likeness(tint.learnt, expected[0], at_least, DRAWN)
