"""A secret pattern in the spectrum of every image, in the manner of CoprGuard.

CoprGuard (Liu et al., 2025, "Harnessing frequency spectrum insights for image copyright protection
against diffusion models", CVPR) observes that models repeat the mean spectrum of what they were
trained on, and marks images there. Only that idea is used: pattern, band and tests are this
package's own, so figures are not those of the paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from siren_ext.baselines.base import (
    Floats,
    Protected,
    all_captions,
    evidence_rows,
    image_batch,
    known_rule,
)
from siren_ext.data.images import quantise, resize
from siren_ext.errors import ConfigError

RULES = ("published", "calibrated")
LOW, HIGH = 0.12, 0.38
PATTERNS = 1000
_LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]
_SMALL = 1e-3
_EQUAL = 1e-9


@dataclasses.dataclass(frozen=True)
class FrequencyPattern:
    """The pattern of one owner.

    Attributes
    ----------
    seed : int
        Of the pattern.
    size : int
        Side in pixels at which the spectrum is taken; even.
    strength : float
        Amplitudes are multiplied by exp(strength) or exp(-strength).
    """

    seed: int = 0
    size: int = 128
    strength: float = 0.5
    name: str = dataclasses.field(default="CoprGuard-like", init=False)
    rules: tuple[str, ...] = dataclasses.field(default=RULES, init=False)

    def __post_init__(self) -> None:
        """Raises :class:`~siren_ext.errors.ConfigError` for settings that do not fit."""
        if self.size < 32 or self.size % 2 or not 0 <= self.strength <= 2:
            raise ConfigError(
                f"Found size {self.size} and strength {self.strength:g}; expected an even size "
                "from 32 on and a strength from 0 to 2."
            )

    def cells(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the marked frequencies in the half spectrum.

        Frequencies are from :data:`LOW` to :data:`HIGH` cycles per pixel; of each pair of equal
        amplitudes one is listed.
        """
        down = torch.fft.fftfreq(self.size)[:, None]
        across = torch.fft.rfftfreq(self.size)[None]
        radius = (down**2 + across**2).sqrt()
        inside = (radius > LOW) & (radius < HIGH) & (across > 0)
        rows, columns = inside.nonzero(as_tuple=True)
        return rows, columns

    def pattern(self) -> Floats:
        """One random sign per cell."""
        return _signs(np.random.default_rng(self.seed), 1, len(self.cells()[0]))[0]  # type: ignore[no-any-return]

    def protect(self, images: Tensor, captions: Sequence[str] = ()) -> Protected:
        """Write the pattern; see :class:`~siren_ext.baselines.base.Baseline`.

        All three channels get the change of the luma, at the size of the image.
        """
        image_batch(images, 32)
        texts = all_captions(captions, len(images))
        spectrum = torch.fft.rfft2(self._view(images))
        rows, columns = self.cells()
        factor = torch.zeros(spectrum.shape[1:], dtype=torch.float64)
        factor[rows, columns] = torch.from_numpy(np.expm1(self.strength * self.pattern()))
        change = torch.fft.irfft2(spectrum * factor, s=(self.size, self.size))[:, None]
        change = torch.nn.functional.interpolate(
            change, images.shape[2:], mode="bicubic", align_corners=False
        )
        marked = (images.double() + change).clamp(0, 1).to(images)
        return Protected(quantise(marked), texts, (True,) * len(images))

    def evidence(self, mimicries: Tensor) -> Floats:
        """Logarithms of the amplitudes at the cells, less what is expected at their frequency.

        Returns
        -------
        array
            N x F. What is expected is a straight line in the logarithm of the frequency, fitted to
            each picture.
        """
        image_batch(mimicries, 32)
        rows, columns = self.cells()
        amplitude = torch.fft.rfft2(self._view(mimicries)).abs()[:, rows, columns]
        logs = (amplitude + _SMALL * self.size).log().numpy()
        down = torch.fft.fftfreq(self.size)[rows].double()
        across = torch.fft.rfftfreq(self.size)[columns].double()
        radius = (down**2 + across**2).sqrt().log().numpy()
        basis = np.stack([np.ones_like(radius), radius], 1)
        line = np.linalg.lstsq(basis, logs.T, rcond=None)[0]
        result: Floats = logs - (basis @ line).T
        return result

    def p_value(self, evidence: Floats, rule: str = "published") -> float:
        """The p-value of the mean product of evidence and pattern.

        Parameters
        ----------
        evidence : array
            N x F.
        rule : str
            ``published``: a one-sided t test over pictures, as if they were independent.
            ``calibrated``: the rank among :data:`PATTERNS` other random patterns.

        Returns
        -------
        float
            In [0, 1].
        """
        from scipy.stats import ttest_1samp

        known_rule(rule, self.rules)
        own = self.pattern()
        rows = evidence_rows(evidence, len(own))
        if rule == "published":
            products = rows @ own
            # equal pictures are one, of which there is no t test
            if products.std() <= _EQUAL * np.abs(products).max():
                return 1.0
            return float(ttest_1samp(products, 0.0, alternative="greater").pvalue)
        mean = rows.mean(0)
        others = _signs(np.random.default_rng((self.seed, 1)), PATTERNS, len(own))
        return float((1 + (others @ mean >= own @ mean).sum()) / (PATTERNS + 1))

    def _view(self, images: Tensor) -> Tensor:
        """Luma at the working size, B x size x size."""
        return (resize(images, self.size, self.size).double() * _LUMA).sum(1)


def _signs(rng: np.random.Generator, count: int, cells: int) -> Floats:
    signs = rng.integers(0, 2, (count, cells), dtype=np.int8)
    return 2.0 * signs - 1  # type: ignore[return-value]
