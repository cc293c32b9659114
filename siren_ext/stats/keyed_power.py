"""How many images the keyed test needs: a plan made from a pilot model before testing a suspect."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import level
from siren_ext.stats.keyed import LARGEST, SCALE, checked_message, contributions
from siren_ext.stats.keyed_bounds import share_of_messages, whole_distribution
from siren_ext.stats.power import DRAWS, LIMIT, SizePlan, search_size

Floats = NDArray[np.float64]

# p is counted where the approximate one is within this factor of alpha. On fine and coarse F alike
# they differ by less than 4.
_NEAR = 5.0


@dataclass(frozen=True)
class KeyedEffect:
    """Mean and spread of a guilty model's contributions m_j tanh(feature_ij / scale).

    Attributes
    ----------
    mean : float
        Mean over bits and images, in [-1, 1]; 0 for an innocent model.
    bits_spread : float
        Standard deviation of the mean contribution between bits: some bits are learnt better than
        others.
    images_spread : float
        Standard deviation between images within one bit.
    bits : int
        k, the length of the message.
    signs : bool
        Whether contributions are -1 or +1; then ``images_spread`` follows from the mean of a bit.
    """

    mean: float
    bits_spread: float
    images_spread: float
    bits: int
    signs: bool = False

    @classmethod
    def from_accuracy(cls, accuracy: float, bits: int, *, spread: float = 0.1) -> KeyedEffect:
        """The effect of a given bit accuracy.

        Contributions are taken as signs. Their sizes carry information too, so the plan asks for
        too many images rather than too few.

        Parameters
        ----------
        accuracy : float
            Share of bits that single images get right, above 0.5 and at most 1.
        bits : int
            k, the length of the message.
        spread : float
            Standard deviation of that share between bits, from 0 to 0.5. The larger it is, the less
            more images help.

        Raises
        ------
        ScoreError
            If a value is out of range.
        """
        if not 0.5 < accuracy <= 1:
            raise ScoreError(
                f"The bit accuracy is {accuracy}; expected more than 0.5 and at most 1."
            )
        if not (bits >= 1 and 0 <= spread <= 0.5):
            raise ScoreError(
                f"bits is {bits} and spread {spread}; expected at least 1, and 0 to 0.5."
            )
        mean = 2 * accuracy - 1
        return cls(mean, 2 * spread, math.sqrt(max(0.0, 1 - mean**2)), bits, signs=True)

    @classmethod
    def from_pilot(
        cls, features: ArrayLike, message: ArrayLike, *, scale: float | None = SCALE
    ) -> KeyedEffect:
        """The effect measured on a model that was trained on coated images on purpose.

        Parameters
        ----------
        features : array_like, shape (n, k)
            The extractor's logits of the pilot's images; n and k at least 2.
        message : array_like, shape (k,)
            The message in the pilot's training images, -1 or +1 each.
        scale : float or None
            As in :func:`siren_ext.stats.keyed.keyed_test`.

        Raises
        ------
        ScoreError
            If the features or the message are malformed or too few.

        Notes
        -----
        The variances between and within bits are those of a one-way random-effects analysis.
        """
        given = contributions(features, scale)
        images, bits = given.shape
        if images < 2 or bits < 2:
            raise ScoreError(
                f"The pilot has {images} images and {bits} bits; expected at least 2 of each."
            )
        aligned = given * checked_message(message, bits)
        within = float(aligned.var(axis=0, ddof=1).mean())
        between = float(aligned.mean(axis=0).var(ddof=1)) - within / images
        return cls(
            float(aligned.mean()), math.sqrt(max(0.0, between)), math.sqrt(max(0.0, within)), bits
        )


def plan_keyed(
    effect: KeyedEffect,
    *,
    alpha: float = 1e-6,
    power: float = 0.95,
    draws: int = DRAWS,
    limit: int = LIMIT,
    rng: np.random.Generator,
) -> SizePlan:
    """Number of suspect images for the keyed test.

    The planned test's null hypothesis is that of :func:`siren_ext.stats.keyed.keyed_test`. No
    ``alpha`` below 2^-k can be reached, and if ``bits_spread`` is large, no number of images may
    suffice.

    Parameters
    ----------
    effect : KeyedEffect
        What a guilty model's images look like.
    alpha : float
        Accepted risk of a false accusation, in (0, 1).
    power : float
        Wanted chance of detecting a guilty model, in (0, 1).
    draws : int
        Simulated tests per number of images tried, and eight times as many for the result, whose
        standard error is at most 0.18 / sqrt(draws).
    limit : int
        The largest number of images to consider.
    rng : numpy.random.Generator
        Draws the simulated sums.

    Raises
    ------
    ScoreError
        If a setting is out of range.

    Notes
    -----
    Sums over images are simulated as normal,
    F_j = n (mean + bits_spread N_j) + sqrt(n) images_spread N'_j, or where contributions are signs
    as binomial, and rounded to whole numbers as the test does. p is the test's own, counted unless
    :func:`saddlepoint_tail` shows that it is far from ``alpha``.
    """
    level(alpha)

    def rejected(n: int, tests: int) -> int:
        own = effect.mean + effect.bits_spread * rng.standard_normal((tests, effect.bits))
        if effect.signs:
            sums = 2.0 * rng.binomial(n, np.clip((1 + own) / 2, 0, 1)) - n
        else:
            noise = effect.images_spread * rng.standard_normal(own.shape)
            sums = n * own + math.sqrt(n) * noise
        return _rejections(np.asarray(sums, dtype=np.float64), alpha)

    ratio = effect.mean / effect.images_spread if effect.images_spread > 0 else math.inf
    return search_size(rejected, power, alpha, 0, ratio, draws, limit)


def _rejections(aligned: Floats, alpha: float) -> int:
    """How many rows of m_j times the sum of bit j reject at ``alpha``."""
    sizes = np.abs(aligned)
    scale = LARGEST / np.maximum(sizes.max(axis=1, keepdims=True), 1e-300)
    whole = np.where(sizes > 0, np.maximum(np.rint(sizes * scale), 1), 0) * np.sign(aligned)
    near = saddlepoint_tail(whole)
    counted = np.flatnonzero((near > alpha / _NEAR) & (near <= alpha * _NEAR))
    rows = whole[counted].astype(np.int64)
    found = sum(
        share_of_messages(whole_distribution(np.abs(row)), int(row.sum())) <= alpha for row in rows
    )
    return int((near <= alpha / _NEAR).sum()) + found


def saddlepoint_tail(aligned: Floats) -> Floats:
    """Approximate P(m . F >= s) for uniform m, for many F at once.

    Meant for plans. A verdict uses :func:`siren_ext.stats.keyed_bounds.message_tail`, which is
    never too small.

    Parameters
    ----------
    aligned : array, shape (rows, k)
        m_j F_j of the secret message, so that s is the sum of a row.

    Returns
    -------
    array, shape (rows,)
        Within a few percent of the exact share; from 2^-k to 1.

    References
    ----------
    Lugannani and Rice (1980), Adv. Appl. Probab. 12.
    """
    from scipy.special import ndtr

    bits = aligned.shape[1]
    F = np.abs(aligned)
    F = F / np.maximum(F.max(axis=1, keepdims=True), 1e-300)
    s = (F * np.sign(aligned)).sum(axis=1)
    floor = 0.5 ** (F > 0).sum(axis=1)
    p = np.where(s > 0, floor, 1.0)
    inner = np.flatnonzero((s > 0) & (s < F.sum(axis=1) * (1 - 1e-9)))
    F, s = F[inner], s[inner]
    low, high = np.zeros(len(F)), np.full(len(F), 40.0 * bits)
    for _ in range(60):  # the tilt at which the tilted mean is s; monotone, so bisection is safe
        tilt = (low + high) / 2
        under = (F * np.tanh(tilt[:, None] * F)).sum(axis=1) < s
        low, high = np.where(under, tilt, low), np.where(under, high, tilt)
    scaled = tilt[:, None] * F
    cumulant = (scaled + np.log1p(np.exp(-2 * scaled)) - math.log(2)).sum(axis=1)
    exponent = np.maximum(tilt * s - cumulant, 1e-12)
    spread = np.sqrt((F**2 * (1 - np.tanh(scaled) ** 2)).sum(axis=1))
    w, v = np.sqrt(2 * exponent), np.maximum(tilt * spread, 1e-300)
    density = np.exp(-exponent) / math.sqrt(2 * math.pi)
    approximate = ndtr(-w) + density * (1 / v - 1 / w)
    p[inner] = np.clip(approximate, floor[inner], np.exp(-exponent))
    return p
