"""What the extractor is shown in a training step: images after what may happen to them.

Views are made a few at a time, so that the graph of one part can be used and dropped before the
next part is made. Each of several processes makes its own rows of a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from siren_ext.ranks import current
from siren_ext.training.distortions import distort
from siren_ext.training.state import TrainerState
from siren_ext.training.twins import Twin

Views = Iterator[tuple[slice, Tensor]]
"""Which images of a batch, and what the extractor sees of them, with its graph."""


class Pool(NamedTuple):
    """Generated pictures drawn from a rehearsal's pool: n of either twin, and their messages."""

    first: Tensor
    second: Tensor
    messages: Tensor


def distorted_views(state: TrainerState, images: Tensor, seed: int) -> Views:
    """Photometric distortions of all images, once they have begun (SIREN's code)."""
    generator = torch.Generator().manual_seed(seed)
    ramp = state.schedule.distortion(state.seen)
    yield from _distorted(state, images, 0, ramp, generator)


def model_views(state: TrainerState, images: Tensor, seed: int, *, coated: bool) -> Views:
    """The first images through the autoencoder, the next denoised, the rest distorted.

    Denoised means: noised and denoised in one step, coated images by the twin that knows their
    coating, clean ones by the other (keyed: by the surrogate itself, since the other twin knows
    the opposite message). During warm-up the extractor sees the images as they are.
    """
    config, together = state.config, state.together
    if state.step < config.warmup:
        parts = (state.own(rows) for rows in _parts(0, len(images), together))
        yield from ((own, images[own]) for own in parts if _any(own))
        return
    generator = torch.Generator().manual_seed(seed)
    trips, denoised = model_shares(state, len(images))
    for own in (state.own(rows) for rows in _parts(0, trips, together)):
        if _any(own):
            yield own, state.surrogate.round_trip(images[own])
    noise = (config.noise_low, config.noise_high)
    for start, stop, twin in _denoisers(state, trips, denoised, coated=coated):
        for rows in _parts(start, stop, together):
            with twin.active() if twin else nullcontext():
                again = partial(state.surrogate.renoise, images[rows], *noise, generator=generator)
                view = state.split(rows, again)
            if view is not None:
                yield state.own(rows), view
    ramp = min(1.0, (state.step - config.warmup) / max(1, 0.3 * config.steps))
    yield from _distorted(state, images, trips + denoised, ramp, generator)


def model_shares(state: TrainerState, count: int) -> tuple[int, int]:
    """How many of ``count`` images pass the autoencoder, and how many of the rest the denoiser."""
    trips = min(state.config.round_trips, count)
    return trips, min(state.config.denoised, count - trips)


def draw_pool(state: TrainerState, generator: torch.Generator) -> Pool | None:
    """Half a batch of each twin's pictures; None without a rehearsal or before its first ones."""
    if state.rehearsal is None or state.rehearsal.pool is None:
        return None
    first, second, messages = state.rehearsal.pool
    count = max(1, state.config.batch_size // 2)
    picks = torch.randint(len(first), (count,), generator=generator)
    return Pool(first[picks], second[picks], messages[picks])


def and_then(views: Views, start: int, *more: Tensor) -> Views:
    """The views, and behind them further images as they are, numbered from ``start``."""
    yield from views
    for images in more:
        own = current().own(start, start + len(images))
        if _any(own):
            yield own, images[own.start - start :: own.step]
        start += len(images)


def _denoisers(
    state: TrainerState, trips: int, denoised: int, *, coated: bool
) -> Iterator[tuple[int, int, Twin | None]]:
    """First and last + 1 of the images that a twin denoises; None is the surrogate itself."""
    rehearsal, end = state.rehearsal, trips + denoised
    if rehearsal is None or (state.coater.keyed and not coated):
        yield trips, end, None
    elif state.coater.keyed:
        half = trips + denoised // 2
        yield trips, half, rehearsal.twins.first
        yield half, end, rehearsal.twins.second
    else:
        yield trips, end, rehearsal.twins.first if coated else rehearsal.twins.second


def _distorted(
    state: TrainerState, images: Tensor, start: int, ramp: float | None, generator: torch.Generator
) -> Views:
    """The images from ``start`` on, distorted where the settings ask for it."""
    config = state.config
    for rows in _parts(start, len(images), state.together):
        own = state.own(rows)
        if ramp is None or not config.distort:
            view = images[own]
        else:
            view = distort(
                images[rows],
                ramp,
                generator,
                geometric=config.geometric,
                official=config.official_distortions,
                rows=slice(own.start - rows.start, None, own.step),
            )
        if _any(own):
            yield own, view


def _any(rows: slice) -> bool:
    """Whether a process has a share of a part."""
    return bool(rows.start < rows.stop)


def _parts(start: int, stop: int, size: int) -> Iterator[slice]:
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))
