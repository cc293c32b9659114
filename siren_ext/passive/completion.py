"""Half-hidden pictures, completed by a model: an illustration of what it remembers, not a test.

The right half of a picture is hidden. Starting from a flat colour, it is changed by gradient steps
until the suspicious model recognises it, and recognises it better than the control does. Where the
suspect remembers the picture, the hidden half comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.data.images import crop_view, read_picture, to_tensor, to_uint8
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import Denoiser, denoiser, picture_size
from siren_ext.files import sha256_file
from siren_ext.metrics.quality import psnr
from siren_ext.passive.batch import Batch, together
from siren_ext.passive.config import CompletionConfig, PassiveConfig
from siren_ext.passive.features import texts_of
from siren_ext.progress import NULL, Progress
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.data.dataset import ImageSet, Item
    from siren_ext.suspects.local import LocalSuspect

Pixels = NDArray[np.uint8]

_FIRST, _LAST = 950, 30  # timesteps of the first and of the last gradient step
_BETAS = (0.9, 0.99)  # of Adam
_MOST = 99.0  # dB; of equal pictures it would be infinite


@dataclass(frozen=True, eq=False)
class Completion:
    """One picture and what both models make of its hidden half.

    Attributes
    ----------
    name : str
        Of the image file.
    published : bool
        Whether it is one of the published images.
    original, masked, suspect, control : array, shape (h, w, 3)
        uint8: the picture, the half that was given, and the two completions.
    suspect_psnr, control_psnr : float
        How much each hidden half is like the original, in dB; larger is more alike.
    """

    name: str
    published: bool
    original: Pixels
    masked: Pixels
    suspect: Pixels
    control: Pixels
    suspect_psnr: float
    control_psnr: float


def complete_pictures(
    suspect: LocalSuspect,
    control: LocalSuspect,
    published: ImageSet,
    unpublished: ImageSet,
    config: CompletionConfig | None = None,
    measured: PassiveConfig | None = None,
    *,
    progress: Progress = NULL,
) -> tuple[Completion, ...]:
    """Complete a few published pictures, and as many unpublished ones to compare with.

    Parameters
    ----------
    suspect, control : LocalSuspect
        The suspicious model, and one that cannot have seen the pictures; both in float32.
    published, unpublished : ImageSet
        Both sets. Pictures are chosen by the hash of their file, not by how well they turn out.
    config : CompletionConfig | None
        Settings; None for the defaults.
    measured : PassiveConfig | None
        Gives resolution, captions, batches and seed; None for the defaults.
    progress : Progress
        One unit per picture.

    Returns
    -------
    tuple[Completion, ...]
        Published pictures first.

    Raises
    ------
    ConfigError
        If a model is not in float32, or can't use the resolution.
    ImageError
        If an image cannot be read.
    ModelError
        If a model cannot be loaded or is of another family.
    Cancelled
        If the user stopped.

    Notes
    -----
    With the noise n and the noisy latents x_t, a step follows (s - n) + w (s - c), where s and c
    are the noise that suspect and control see in x_t: the gradient of the suspect's loss, plus w
    times the difference of both losses, without the derivative of the network. The control
    completes with (c - n) alone.

    References
    ----------
    The idea of completing a picture by the difference between a model and its base: Wu et al.
    (2024), "CGI-DM: Digital copyright authentication for diffusion models via contrasting gradient
    inversion", CVPR. Gradients without the network's derivative: Poole et al. (2023),
    "DreamFusion", ICLR, Eq. 3.
    """
    config, measured = config or CompletionConfig(), measured or PassiveConfig()
    models = denoiser(suspect.pipeline), denoiser(control.pipeline)
    size = picture_size(models[0], measured.resolution)
    chosen = [(item, True) for item in _by_hash(published, config.count)]
    chosen += [(item, False) for item in _by_hash(unpublished, config.count)]
    found: list[Completion] = []
    progress.stage("Completing pictures", len(chosen))
    count = together(measured, size)
    for start in range(0, len(chosen), count):
        part = chosen[start : start + count]
        items = [item for item, _ in part]
        made = _completed(models, items, size, config, measured, lambda: progress.advance(0))
        found += [replace(one, published=kind) for one, (_, kind) in zip(made, part, strict=True)]
        progress.advance(len(part))
    return tuple(found)


def _by_hash(images: ImageSet, count: int) -> list[Item]:
    """The images with the smallest hashes."""
    return sorted(images.items, key=lambda item: sha256_file(item.path))[:count]


@torch.no_grad()
def _completed(
    models: tuple[Denoiser, Denoiser],
    items: Sequence[Item],
    size: int,
    config: CompletionConfig,
    measured: PassiveConfig,
    tick: Callable[[], None],
) -> list[Completion]:
    """Completions of B pictures, marked as published."""
    images = torch.cat([crop_view(to_tensor(read_picture(item.path).rgb), size) for item in items])
    middle = size // 2 // models[0].size_step * models[0].size_step
    given = images.clone()
    given[..., middle:] = images[..., :middle].mean((2, 3), keepdim=True)
    texts = texts_of(items, measured)
    hashes = tuple(sha256_file(item.path) for item in items)
    batches = [
        Batch(model, pipelines.encode_latents(model.pipeline, given).to(model.device),
              tuple(texts), hashes, size, measured)
        for model in models
    ]  # fmt: skip
    made = []
    for batch, other in ((batches[0], batches[1]), (batches[1], None)):
        latents = invert(batch, middle // models[0].size_step, config, against=other, tick=tick)
        whole = pipelines.decode_latents(batch.model.pipeline, latents).cpu()
        made.append(torch.cat([images[..., :middle], whole[..., middle:]], dim=-1))
    found = []
    for row, item in enumerate(items):
        original, masked, *completed = (
            to_uint8(pictures[row]) for pictures in (images, given, *made)
        )
        hidden = [one[row : row + 1, ..., middle:] for one in (images, *made)]
        alike = [_alike(one, hidden[0]) for one in hidden[1:]]
        name = printable(item.name)
        found.append(
            Completion(name, True, original, masked, completed[0], completed[1], alike[0], alike[1])
        )
    return found


def invert(
    batch: Batch,
    middle: int,
    config: CompletionConfig,
    *,
    against: Batch | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Tensor:
    """Change the right part of latents until a model recognises it.

    Parameters
    ----------
    batch : Batch
        B images of which the left part is given, as the model sees them.
    middle : int
        Column of the latents at which the hidden part begins.
    config : CompletionConfig
        Settings.
    against : Batch | None
        The same as a control sees it; None to follow the model alone.
    tick : callable
        Called after each step; may raise to stop.

    Returns
    -------
    Tensor
        B x C x h x w; columns left of ``middle`` are those of the batch.
    """
    model, place = batch.model, batch.latents.clone()
    mean, size = torch.zeros_like(place), torch.zeros_like(place)
    for step in range(config.steps):
        time = round(_FIRST + (_LAST - _FIRST) * step / (config.steps - 1))
        noise = batch.noise("completion", step)
        noisy = model.noisy(place, noise, time)
        seen = batch.noise_in(noisy, time)
        slope = seen - noise
        if against is not None and config.weight:
            theirs = against.noise_in(noisy.to(against.model.device), time)
            slope = slope + config.weight * (seen - theirs.to(seen.device))
        slope = slope * (model.rest(time) / model.signal(time))  # in units of the latents
        slope[..., :middle] = 0
        mean = _BETAS[0] * mean + (1 - _BETAS[0]) * slope
        size = _BETAS[1] * size + (1 - _BETAS[1]) * slope.square()
        unbiased = (size / (1 - _BETAS[1] ** (step + 1))).sqrt() + 1e-8
        place = place - config.rate * mean / (1 - _BETAS[0] ** (step + 1)) / unbiased
        tick()
    return place


def _alike(first: Tensor, second: Tensor) -> float:
    """PSNR in dB, at most 99."""
    return min(_MOST, float(psnr(first, second)))
