"""How many images does the keyed test need? A plan from a guilty pilot, made before the suspect."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import level
from siren_ext.stats.keyed import SCALE, checked_message, contributions
from siren_ext.stats.power import DRAWS, LIMIT, SizePlan, search_size

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class KeyedEffect:
    """How a guilty model's contributions m_j tanh(feature_ij / scale) behave.

    Attributes
    ----------
    mean : float
        Over bits and images; 0 is an innocent model.
    bits_spread : float
        Standard deviation between bits of their own means: some bits are learnt better.
    images_spread : float
        Standard deviation between images of one bit.
    bits : int
        k.
    """

    mean: float
    bits_spread: float
    images_spread: float
    bits: int

    @classmethod
    def from_accuracy(cls, accuracy: float, bits: int, *, spread: float = 0.1) -> KeyedEffect:
        """From the share of bits that single images get right.

        ``spread`` is the standard deviation of that share between bits; it decides whether many
        images can make up for weak ones. Contributions are taken as signs, which errs on the safe
        side, since sizes carry information too.
        """
        if not 0.5 < accuracy <= 1:
            raise ScoreError(f"The bit accuracy is {accuracy}; expected more than 0.5, at most 1.")
        if not (bits >= 1 and 0 <= spread <= 0.5):
            raise ScoreError(
                f"bits is {bits} and spread {spread}; expected at least 1, and 0 to 0.5."
            )
        mean = 2 * accuracy - 1
        return cls(mean, 2 * spread, math.sqrt(max(0.0, 1 - mean**2)), bits)

    @classmethod
    def from_pilot(
        cls, features: ArrayLike, message: ArrayLike, *, scale: float | None = SCALE
    ) -> KeyedEffect:
        """From a pilot: features (n, k) of a guilty model's images and the message it met.

        Variance between bits and within bits as in a one-way random-effects analysis.
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
    """Suspect images for the keyed test, from a :class:`KeyedEffect`.

    The planned test's null hypothesis is that of :func:`keyed_test`. The plan takes the sums over
    images as normal: F_j = n (mean + bits_spread N_j) + sqrt(n) images_spread N'_j, and p from the
    saddlepoint approximation of Lugannani and Rice (1980), Adv. Appl. Probab. 12, which is within
    some percent of the exact tail. Below 2^-k nothing is reachable; and where ``bits_spread`` is
    large, no number of images may suffice.
    """
    level(alpha)

    def rejected(n: int, tests: int) -> int:
        shape = (tests, effect.bits)
        own = effect.mean + effect.bits_spread * rng.standard_normal(shape)
        noise = effect.images_spread * rng.standard_normal(shape)
        return int((saddlepoint_tail(n * own + math.sqrt(n) * noise) <= alpha).sum())

    ratio = effect.mean / effect.images_spread if effect.images_spread > 0 else math.inf
    return search_size(rejected, power, alpha, 0, ratio, draws, limit)


def saddlepoint_tail(aligned: Floats) -> Floats:
    """P(m . F >= s) for uniform m, for many F at once, within some percent; shape (rows,).

    ``aligned`` (rows, k) holds the secret's m_j F_j, so s is the sum of a row. Meant for plans: a
    verdict takes :func:`keyed.message_tail`, which never errs on the unsafe side.
    """
    from scipy.special import ndtr

    bits = aligned.shape[1]
    F = np.abs(aligned)
    F = F / np.maximum(F.max(axis=1, keepdims=True), 1e-300)
    s = (F * np.sign(aligned)).sum(axis=1)
    floor = 0.5**bits
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
    p[inner] = np.clip(approximate, floor, np.exp(-exponent))
    return p
