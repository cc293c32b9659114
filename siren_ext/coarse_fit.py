"""Where a coater's coarse colour begins: fitted to clean pictures before any training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from siren_ext.coater import Coater
from siren_ext.images import quantise, square_view
from siren_ext.nets.blocks import normalise
from siren_ext.nets.coarse import coarse
from siren_ext.surrogate import DiffusionSurrogate, Surrogate

GENERATED = 96
"""Generated pictures beside the owner's, from which the reader learns what is usual."""
GUIDANCE = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0)
_BATCH = 64


@torch.no_grad()
def fit_coarse(
    coater: Coater,
    images: Tensor,
    surrogate: Surrogate,
    draw: Callable[[int, torch.Generator], Tensor | None],
    generator: torch.Generator,
) -> None:
    """Fit patterns and reader of an untrained coater; nothing happens to one without them.

    The reader learns how clean pictures vary, the patterns go where they vary least, and the reader
    is matched to what the coatings add. This alone tells coated from clean; training improves it.

    Args:
        coater: changed in place.
        images: the owner's, N x 3 x H x W bytes.
        surrogate: of the owner's own making; one that can generate shows more of what is usual.
        draw: messages for so many images; gives None for a coater without.
        generator: of all draws.
    """
    pattern, reader = coater.generator.coarse, coater.extractor.reader
    if pattern is None or reader is None:
        return
    size, device = coater.config.working_size, coater.device

    def seen(views: Tensor) -> Tensor:
        return normalise(square_view(views.to(device), size))

    parts = [(part.float() / 255).to(device) for part in torch.split(images, _BATCH)]
    reader.fit(
        torch.cat([seen(part) for part in parts]),
        _generated(surrogate, len(images), seen, generator),
    )
    pattern.spread(reader.whiten, generator=generator)
    changes, told = [], []
    for clean in parts:
        message = draw(len(clean), generator)
        coated = quantise(clean + coater.residual(clean, message))
        # fine-tunes learn what the autoencoder leaves of a coating
        kept = surrogate.round_trip(coated), surrogate.round_trip(clean)
        for after, before in ((coated, clean), kept):
            changes.append(coarse(seen(after)) - coarse(seen(before)))
            told.append(clean.new_ones(len(clean), 1) if message is None else message)
    reader.match(torch.cat(changes), torch.cat(told), generator=generator)


def _generated(
    surrogate: Surrogate, count: int, seen: Callable[[Tensor], Tensor], generator: torch.Generator
) -> Tensor | None:
    """Pictures of a clean model at several guidances, which change colours most."""
    if not isinstance(surrogate, DiffusionSurrogate):
        return None
    made = []
    for guidance in GUIDANCE:
        picks = torch.randint(count, (GENERATED // len(GUIDANCE),), generator=generator)
        texts = surrogate.texts(picks)
        made.append(
            seen(surrogate.sample(len(picks), generator=generator, texts=texts, guidance=guidance))
        )
    return torch.cat(made)
