"""Fits a coater's coarse colour patterns to clean pictures before any training.

A fine-tuned model learns the part of a coating that survives the autoencoder, and the coating is
easiest to find where clean pictures vary least. Both are nearly linear in views of 8 x 8 cells, so
they can be measured, and the patterns put where the two together are best.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.coater.nets.blocks import normalise
from siren_ext.coater.nets.coarse import CoarsePattern, coarse, lay_tint
from siren_ext.data.images import quantise, square_view
from siren_ext.errors import ConfigError
from siren_ext.progress import NULL, Progress
from siren_ext.ranks import current
from siren_ext.training.surrogate import Surrogate, at_once

GENERATED = 96
"""Generated pictures, beside the owner's, that show the reader how clean pictures vary."""
GUIDANCE = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0)
"""Guidance of the generated pictures, which changes their colours most."""
TOGETHER = 25
"""Number of pictures that a reader of messages expects to judge together."""
_PROBES = 256
_SINGLE = 48
_BATCH = 32
# directions weaker than this share of the strongest one get little power
_FAINT = 0.05
# ridge penalty of both regressions, as a share of the mean square
_RIDGE = 0.05


@torch.no_grad()
def fit_coarse(
    coater: Coater,
    images: Tensor,
    surrogate: Surrogate,
    draw: Callable[[int, torch.Generator], Tensor | None],
    generator: torch.Generator,
    *,
    progress: Progress = NULL,
) -> None:
    """Fit the patterns and the reader of an untrained coater, if it has any.

    The reader learns how clean pictures vary; random tints show what survives the autoencoder; the
    patterns take the directions that survive best; and the reader is matched to the coatings that
    result. This alone tells coated from clean pictures; training may improve it.

    Parameters
    ----------
    coater : Coater
        Changed in place.
    images : Tensor
        The owner's clean images, N x 3 x H x W bytes.
    surrogate : Surrogate
        The owner's surrogate; one that generates shows better how clean pictures vary.
    draw : Callable[[int, torch.Generator], Tensor | None]
        Gives messages for a number of images, n x k; None for a coater without messages.
    generator : torch.Generator
        Source of all draws.
    progress : Progress
        Reports the parts and is asked whether to stop.

    Raises
    ------
    ConfigError
        The message has more bits than there are directions (96).
    """
    pattern, reader = coater.generator.coarse, coater.extractor.reader
    if pattern is None or reader is None:
        return
    count, directions = len(pattern.maps), len(reader.whiten)
    if count > directions:
        raise ConfigError(
            f"The message has {count} bits, but there are only {directions} directions to "
            "store bits in; use fewer bits."
        )
    fit = _Fit(coater, images, surrogate, generator, progress)
    reader.fit(fit.views, fit.generated())
    left, strength = fit.favourable(reader.whiten)
    taken = count if count > 1 else _SINGLE
    # The evidence of one direction saturates, so weaker directions get more power, except those
    # that hardly survive the autoencoder.
    strength = strength[:taken, None]
    rows = left[:taken] * strength.sqrt() / (strength + _FAINT * strength.max())
    if count == 1:
        signs = torch.randint(0, 2, (taken, 1), generator=generator).to(rows) * 2 - 1
        rows = (signs * rows).sum(0, keepdim=True)
    pattern.lay(rows)
    shifts = fit.shifts(draw)
    reader.match(shifts, together=TOGETHER if count > 1 else 1, generator=generator)


class _Fit:
    """Measurements on the owner's images, in coarse views (rows of 96 numbers).

    Attributes
    ----------
    views : Tensor
        Picked images after the autoencoder, as the reader sees them.
    """

    def __init__(
        self,
        coater: Coater,
        images: Tensor,
        surrogate: Surrogate,
        generator: torch.Generator,
        progress: Progress,
    ) -> None:
        self.progress, self.ranks = progress, current()
        self.coater, self.surrogate, self.generator = coater, surrogate, generator
        self.images = images
        self.picked = torch.arange(0, len(images), math.ceil(len(images) / _PROBES))
        # as many as the regressions need, all equally often
        size = min(_BATCH, at_once(surrogate.resolution))
        self.rounds = torch.split(torch.arange(_PROBES) % len(self.picked), size)
        shown = torch.split(torch.arange(len(self.picked)), size)
        made = len(GUIDANCE) if surrogate.generates else 0
        progress.stage("Fitting coarse colour", len(shown) + made + 2 * len(self.rounds))
        trips = []
        for part in shown:
            progress.advance()
            trips.append(self.seen(self.ranks.mapped(surrogate.round_trip, self.clean(part))))
        self.views = torch.cat(trips)

    def seen(self, images: Tensor) -> Tensor:
        """Images in [0,1] as the reader sees them."""
        view = square_view(images.to(self.coater.device), self.coater.config.working_size)
        return normalise(view)

    def clean(self, part: Tensor) -> Tensor:
        """Picked images in [0,1]."""
        return (self.images[self.picked[part]].float() / 255).to(self.coater.device)

    def generated(self) -> Tensor | None:
        """Pictures of a clean model at several guidances; None where it can't generate."""
        if not self.surrogate.generates:
            return None
        made = []
        for guidance in GUIDANCE:
            self.progress.advance()
            picks = torch.randint(
                len(self.images), (GENERATED // len(GUIDANCE),), generator=self.generator
            )
            made.append(
                self.seen(
                    self.surrogate.generate(picks, generator=self.generator, guidance=guidance)
                )
            )
        return torch.cat(made)

    def favourable(self, whiten: Tensor) -> tuple[Tensor, Tensor]:
        """Directions to tint in (96 rows), and how strongly each survives the autoencoder."""
        size = len(whiten)
        probe = CoarsePattern(size).to(whiten)
        turn = torch.randn(size, size, generator=self.generator)
        probe.lay(torch.linalg.qr(turn)[0].to(whiten))
        written, kept = [], []
        for part in self.rounds:
            clean = self.clean(part)
            signs = torch.randint(0, 2, (len(clean), size), generator=self.generator) * 2 - 1
            tint = lay_tint(probe, clean, signs.to(clean), self.coater.config.coarse)
            coated = quantise(clean + tint)
            written.append(coarse(self.seen(coated)) - coarse(self.seen(clean)))
            kept.append(self.kept(coated, part))
        transfer = _regress(torch.cat(written), torch.cat(kept)) @ whiten.double()
        left, strength, _ = torch.linalg.svd(transfer)
        return left.T.to(whiten), strength.to(whiten)

    def shifts(self, draw: Callable[[int, torch.Generator], Tensor | None]) -> Tensor:
        """What each bit adds after the autoencoder, K x 96."""
        told, kept = [], []
        for part in self.rounds:
            clean = self.clean(part)
            message = draw(len(clean), self.generator)
            coated = quantise(clean + self.coater.residual(clean, message))
            kept.append(self.kept(coated, part))
            told.append(clean.new_ones(len(clean), 1) if message is None else message)
        return _regress(torch.cat(told), torch.cat(kept)).float()

    def kept(self, coated: Tensor, part: Tensor) -> Tensor:
        """What survives of coatings: coated minus clean images, both after the autoencoder."""
        self.progress.advance()
        trips = self.seen(self.ranks.mapped(self.surrogate.round_trip, coated))
        return coarse(trips) - coarse(self.views[part])


def _regress(given: Tensor, result: Tensor) -> Tensor:
    """The matrix M that minimises the mean square of given @ M - result."""
    given, result = given.double(), result.double()
    power = given.T @ given
    ridge = _RIDGE * power.diagonal().mean() * torch.eye(len(power)).to(power)
    matrix: Tensor = torch.linalg.solve(power + ridge, given.T @ result)
    return matrix
