"""What the +1 of each bit of a message adds to the latents of images, on the average.

A coating is limited where it would be visible, so what a bit adds depends on the others, and on the
image. So images really are coated, with random messages, and passed through the autoencoder. The
messages are drawn from a fixed seed: no secret message is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.diffusion import pipelines
from siren_ext.preference.parts import Copies
from siren_ext.progress import NULL, Progress

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.diffusion.denoiser import Denoiser
    from siren_ext.diffusion.load import Pipeline

SIDE = 32
"""Side in pixels of the small pictures in which learnt fields are shown and compared."""
PLACES = 64
"""Images, spread evenly over the set, on which the patterns of bits are measured."""
CODINGS = 512
"""At least so many coated copies, over all these images, are passed through the autoencoder."""
_PER_BIT = 10  # more of them for long messages
_TOGETHER = 8  # copies of up to 512 x 512 pixels that pass the autoencoder at once
_PIXELS = _TOGETHER * 512**2  # fewer larger ones, because its memory grows with their pixels
_SEED = 20_410

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Codings:
    """Coated copies of images, each minus the mean of the copies of its image.

    Attributes
    ----------
    pixels : array, shape (n, 3 * 32 * 32)
        float32, at a side of 32.
    removed : array, shape (n, d)
        float32, what the base model removes of their latents.
    """

    pixels: NDArray[np.float32]
    removed: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Read:
    """What is known of a coating's patterns.

    Attributes
    ----------
    added : array, shape (k, d)
        Whole patterns.
    removed : array, shape (k, d) or None
        What the base model removes of them, if it was asked.
    codings : Codings or None
        The copies from which both follow, if they were to be kept.
    """

    added: Floats
    removed: Floats | None = None
    codings: Codings | None = None


Look = Callable[[int, Tensor], Tensor]
"""What is seen of coated copies, B x C x h x w latents, of the image at a position."""
_last: dict[str, Read] = {}


def spread(count: int, places: int = PLACES) -> list[int]:
    """Positions of at most ``places`` images, spread evenly over ``count``."""
    rows = np.linspace(0, count - 1, min(places, count)).round().astype(int)
    return [int(row) for row in np.unique(rows)]


def remembered(known: Sequence[Any], read: Callable[[str], Read]) -> Read:
    """Patterns as they were read the last time, if everything that they depend on is equal.

    Parameters
    ----------
    known : sequence
        Plain values: the base model, the images with their texts, the coater, and how it is read.
    read : callable
        Reads the patterns; given a hash that stands for all that they depend on.

    Returns
    -------
    Read
        What ``read`` returned; its arrays can't be changed.
    """
    key = json.dumps([known, CODINGS, _PER_BIT], sort_keys=True)
    if (found := _last.get(key)) is not None:
        return found
    found = read(hashlib.sha256(key.encode()).hexdigest())
    arrays: list[NDArray[Any] | None] = [found.added, found.removed]
    if found.codings is not None:
        arrays += [found.codings.pixels, found.codings.removed]
    for one in arrays:
        if one is not None:
            one.flags.writeable = False
    _last.clear()  # one set of patterns has up to 250 MB
    _last[key] = found
    return found


def latent_patterns(
    pipeline: Pipeline,
    views: Tensor,
    coater: Coater,
    *,
    mirrored: bool = True,
    kept: Copies | None = None,
    progress: Progress = NULL,
) -> Floats:
    """What the +1 of each bit adds to the latents of images, on the average over images.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the autoencoder.
    views : Tensor
        N x 3 x H x W in [0,1], clean images.
    coater : Coater
        A keyed coater of k bits.
    mirrored : bool
        Take the mean of each pattern and its mirror image if the coater lays symmetric colour
        alone. What is not symmetric comes from the few images then, and is noise.
    kept : Copies | None
        Keeps finished images, so that a stopped call is resumed.
    progress : Progress
        One unit per image; may cancel.

    Returns
    -------
    array, shape (k, d)
        Half the difference between +1 and -1.

    Notes
    -----
    576 coated copies of 64 images read the models of ``docs/preference.md`` as well as 600 copies
    of every image do.
    """
    found, _ = _linear_parts(pipeline, views, coater, [_all], mirrored, progress, kept=kept)
    return found[0]


def removed_patterns(
    model: Denoiser,
    views: Tensor,
    texts: Sequence[str],
    coater: Coater,
    time: int,
    *,
    mirrored: bool = True,
    keep: bool = False,
    kept: Copies | None = None,
    progress: Progress = NULL,
) -> Read:
    """:func:`latent_patterns`, and what a model that never saw the coating removes of them.

    A denoiser keeps what images usually contain and removes the rest, which is where few images
    differ and every training changes little. So what it removes of a pattern is a better guide to
    a coating than the whole pattern.

    Parameters
    ----------
    model : Denoiser
        The base model.
    views, texts : Tensor, sequence of str
        N x 3 x H x W in [0,1], clean images, and their captions.
    coater : Coater
        A keyed coater of k bits.
    time : int
        Timestep from 0 to 999. Each image has one noise for all its copies.
    mirrored, kept : bool, Copies | None
        As in :func:`latent_patterns`.
    keep : bool
        Also give the copies.
    progress : Progress
        One unit per image; may cancel.

    Returns
    -------
    Read
        ``added`` as from :func:`latent_patterns`; ``removed`` is the change of latents minus the
        change of their denoised estimates; ``codings`` take up to 150 MB.
    """
    side = views.shape[-1]

    def removed(row: int, latents: Tensor) -> Tensor:
        rng = np.random.default_rng((_SEED, row))
        noise = torch.from_numpy(rng.standard_normal(latents.shape[1:], dtype=np.float32))
        times = torch.full((len(latents),), time, device=latents.device)
        noisy = model.noisy(latents, noise.to(latents.device)[None], times)
        seen = model.noise_in(noisy, times, model.condition([texts[row]] * len(latents), side))
        return latents - model.clean(noisy, seen, times)

    looks = [_all, removed]
    found, copies = _linear_parts(
        model.pipeline, views, coater, looks, mirrored, progress, keep=keep, kept=kept
    )
    return Read(found[0], found[1], copies)


def _all(row: int, latents: Tensor) -> Tensor:
    """Everything that a copy has."""
    return latents


@torch.no_grad()
def _linear_parts(
    pipeline: Pipeline,
    views: Tensor,
    coater: Coater,
    looks: Sequence[Look],
    mirrored: bool,
    progress: Progress,
    *,
    keep: bool = False,
    kept: Copies | None = None,
) -> tuple[list[Floats], Codings | None]:
    """The linear part of what messages change, by least squares within each image.

    To ``keep`` the copies is to return what the last of ``looks`` sees of them, too.
    """
    bits, kept = coater.config.message_bits, kept or Copies()
    rng = np.random.default_rng(_SEED)
    # few images get more copies each: the fit needs many more coatings than bits
    each = -(-max(CODINGS, _PER_BIT * bits) // len(views)) + 1
    power = np.eye(bits) * 1e-9
    products: list[NDArray[Any]] = [np.zeros((bits, 1)) for _ in looks]
    pixels, seen = [], []
    shape: tuple[int, ...] = ()
    try:
        for row, view in enumerate(torch.split(views, 1)):
            signs = rng.integers(0, 2, (each, bits)).astype(np.float64) * 2 - 1
            if (copies := kept.get(row)) is None:
                copies = _seen_copies(pipeline, view, coater, signs, looks, row)
                kept.add(row, copies)
                progress.advance()
            small, *found = copies
            shape = found[0].shape[1:]
            signs -= signs.mean(0)
            power += signs.T @ signs
            for number, one in enumerate(found):
                latents = one.reshape(each, -1).astype(np.float64)
                latents -= latents.mean(0)
                products[number] = products[number] + signs.T @ latents
            if keep:
                pixels.append(small - small.mean(0))
                seen.append(latents.astype(np.float32))
    finally:
        kept.save()
    linear: list[Floats] = [np.linalg.solve(power, product) for product in products]
    if mirrored and coater.symmetric:
        linear = [_symmetric(one, shape) for one in linear]
    return linear, Codings(np.concatenate(pixels), np.concatenate(seen)) if keep else None


def _seen_copies(
    pipeline: Pipeline,
    view: Tensor,
    coater: Coater,
    signs: Floats,
    looks: Sequence[Look],
    row: int,
) -> list[NDArray[np.float32]]:
    """Coated copies of an image at a side of 32, and what each look sees of their latents."""
    together = max(1, min(_TOGETHER, _PIXELS // (view.shape[-2] * view.shape[-1])))
    view = view.to(coater.device)
    small = []
    found: list[list[Tensor]] = [[] for _ in looks]
    for part in torch.split(torch.from_numpy(signs).float(), together):
        images = view.expand(len(part), -1, -1, -1)
        coated = (images + coater.residual(images, part.to(view))).clamp(0, 1)
        small.append(F.adaptive_avg_pool2d(coated, SIDE).flatten(1).float().cpu())
        encoded = pipelines.encode_latents(pipeline, coated)
        for one, look in zip(found, looks, strict=True):
            one.append(look(row, encoded).float().cpu())
    return [torch.cat(one).numpy() for one in (small, *found)]


def _symmetric(patterns: Floats, shape: tuple[int, ...]) -> Floats:
    """The mean of patterns and their mirror images."""
    maps = patterns.reshape(-1, *shape)
    return ((maps + maps[..., ::-1]) / 2).reshape(len(patterns), -1)
