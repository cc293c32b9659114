"""Measures which messages a diffusion model prefers, from the model itself and without a key.

A model that was trained on coated images denoises an image a little better when the image carries
the coating's message. The loss of the owner's *clean* images is differentiated with respect to the
message, at the message zero: minus the gradient says for every bit which sign the model would
rather see, and how much. One pass forward and one backward per image and noise level give this for
all 2^k messages at once. The key is not used, so the keyed test of the result is exact whatever the
model has learnt (:mod:`siren_ext.stats.keyed`).

Unlike pictures that a model generates, this needs the model's file. It sees coatings that are too
faint to show in pictures: of a small share of the training images, or of images that were cropped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.diffusion import families, pipelines
from siren_ext.errors import CoaterError, DatasetError, ModelError
from siren_ext.files import sha256_file
from siren_ext.personalize.data import training_size
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.parts import Parts
from siren_ext.progress import NULL, Progress
from siren_ext.scoring.score_set import PREFERENCE, ScoreSet
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet, Item
    from siren_ext.diffusion.load import Pipeline
    from siren_ext.suspects.local import LocalSuspect


def measure_preference(
    suspect: LocalSuspect,
    data: ImageSet,
    coater: Coater,
    config: PreferenceConfig | None = None,
    *,
    control: LocalSuspect | None = None,
    partial: Path | None = None,
    progress: Progress = NULL,
) -> ScoreSet:
    """Measure the preference of a model for every bit of a message.

    Parameters
    ----------
    suspect : LocalSuspect
        The suspicious model; Stable Diffusion 1.x or 2.x, with or without adapters.
    data : ImageSet
        The owner's clean images, with captions if there are any.
    coater : Coater
        The keyed coater that coated the published copies.
    config : PreferenceConfig | None
        Settings; None for the defaults.
    control : LocalSuspect | None
        A clean model: the base, or better one that was trained on the clean images. Its preference
        is subtracted, at equal noise.
    partial : Path | None
        A file for finished images, from which a stopped run is resumed; deleted at the end.
    progress : Progress
        One unit per image.

    Returns
    -------
    ScoreSet
        One row per image: ``features`` are the preferences for the +1 of each bit, divided by
        their spread over all images and bits; ``scores`` are the mean losses (of the suspect, minus
        the control's). ``source["kind"]`` is ``"preference"``.

    Raises
    ------
    CoaterError
        If the coater is not keyed.
    ConfigError
        If the resolution does not suit the model.
    DatasetError
        If there is no image.
    ModelError
        If a model is of another family or cannot be loaded, or a loss is not finite.
    Cancelled
        If the user stopped.

    Notes
    -----
    Memory is that of a training step with ``batch_size`` images, on which nothing else depends.
    """
    config = config or PreferenceConfig()
    if not coater.keyed:
        raise CoaterError(
            "This coater is not keyed, so there is no message that a model could prefer. Use the "
            "keyed coater that the published images were coated with."
        )
    items = data.items[: config.images] if config.images else data.items
    if not items:
        raise DatasetError(f"{data.name} contains no images; expected at least one.")
    facts = _facts(suspect, control, config)
    parts = Parts(partial, _signature(facts, items, coater))
    models = [_Model(suspect.pipeline), *([_Model(control.pipeline)] if control else [])]
    size = training_size(suspect.pipeline, config)
    progress.stage("Measuring preference", len(items), len(parts.done))
    try:
        for batch in _batches(items, parts, config.batch_size):
            images = torch.cat([_view(items[row], size) for row in batch])
            texts = [items[row].caption or items[row].class_words or "" for row in batch]
            rows, lost = _preference(models, images, texts, batch, coater, config)
            parts.add(batch, rows, lost)
            progress.advance(len(batch))
    finally:
        parts.save()
    found = _score_set(items, parts, coater, facts)
    parts.remove()
    return found


@dataclass(frozen=True)
class _Model:
    """A pipeline whose loss is differentiated."""

    pipeline: Pipeline

    def __post_init__(self) -> None:
        if not families.is_stable(self.pipeline):
            raise ModelError(
                f"This model is a {families.family(self.pipeline)}; preference can be measured for "
                "Stable Diffusion 1.x and 2.x only. Test its pictures instead ('siren-ext "
                "generate', 'score' and 'verify')."
            )
        for part in (self.pipeline.vae, self.pipeline.unet, self.pipeline.text_encoder):
            part.requires_grad_(False)
            part.eval()

    def gradient(
        self, latents: Tensor, texts: list[str], rows: list[int], config: PreferenceConfig
    ) -> tuple[Tensor, Tensor]:
        """Gradient of the mean loss with respect to B latents, and the B mean losses."""
        embeds = pipelines.encode_prompts(self.pipeline, texts)
        total, losses = torch.zeros_like(latents), torch.zeros(len(latents))
        for draw in range(config.draws):
            times, noise = _noise(self.pipeline, latents, rows, draw, config)
            given = latents.detach().requires_grad_(True)
            loss = pipelines.loss_at(self.pipeline, given, embeds, noise=noise, timesteps=times)
            total += torch.autograd.grad(loss.sum(), given)[0]
            losses += loss.detach().float().cpu()
        if not (torch.isfinite(losses).all() and torch.isfinite(total).all()):
            raise ModelError(
                "The model's loss is not finite; expected a number. The file is damaged, or 16-bit "
                "numbers are too coarse for it: use 32-bit ones."
            )
        return total / config.draws, losses / config.draws


def _preference(
    models: list[_Model],
    images: Tensor,
    texts: list[str],
    rows: list[int],
    coater: Coater,
    config: PreferenceConfig,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Preferences (B x k) and mean losses (B) of the first model, minus those of the second.

    The autoencoder is passed once forward and once backward, because neither noise level nor model
    changes it; on small models this is most of the work.
    """
    bits, device = coater.config.message_bits, models[0].pipeline.unet.device
    coater.to(device)
    images = images.to(device)
    with torch.enable_grad():
        message = torch.zeros(len(images), bits, device=device, requires_grad=True)
        coated = (images + coater.residual(images, message)).clamp(0, 1)
        latents = pipelines.encode_latents(models[0].pipeline, coated)
        gradient, losses = models[0].gradient(latents, texts, rows, config)
        for other in models[1:]:
            theirs, usual = other.gradient(latents, texts, rows, config)
            gradient, losses = gradient - theirs, losses - usual
        slope = torch.autograd.grad(latents, message, gradient)[0]
    return -slope.double().cpu().numpy(), losses.double().numpy()


def _noise(
    pipeline: Pipeline, latents: Tensor, rows: list[int], draw: int, config: PreferenceConfig
) -> tuple[Tensor, Tensor]:
    """Timesteps and noise of one draw; they depend on the image's position, not on its batch."""
    steps = len(pipeline.scheduler.alphas_cumprod)
    times, noise = [], []
    for row in rows:
        rng = np.random.default_rng((config.seed, row, draw))
        share = (draw + rng.random()) / config.draws  # spread evenly over the range
        times.append(int(steps * (config.low + (config.high - config.low) * share)))
        noise.append(rng.standard_normal(latents.shape[1:], dtype=np.float32))
    placed = torch.from_numpy(np.stack(noise)).to(latents.device)
    return torch.tensor(times, device=latents.device).clamp_max(steps - 1), placed


def _view(item: Item, size: int) -> Tensor:
    """One image as training programs see it, 1 x 3 x size x size in [0,1]."""
    return crop_view(to_tensor(read_picture(item.path).rgb), size)


def _batches(items: Sequence[Item], parts: Parts, size: int) -> Iterator[list[int]]:
    """Positions of the images that are not done yet, in batches."""
    left = [row for row in range(len(items)) if row not in parts.done]
    for start in range(0, len(left), size):
        yield left[start : start + size]


def _score_set(
    items: Sequence[Item], parts: Parts, coater: Coater, facts: dict[str, Any]
) -> ScoreSet:
    """The result, with preferences in units of their spread."""
    features, losses = parts.tables(len(items))
    return ScoreSet(
        losses,
        tuple(printable(item.name) for item in items),
        tuple(sha256_file(item.path) for item in items),
        coater.fingerprint,
        facts,
        features=features / (features.std() or 1.0),
    )


def _facts(
    suspect: LocalSuspect, control: LocalSuspect | None, config: PreferenceConfig
) -> dict[str, Any]:
    """What was measured, for the record."""
    return {
        "kind": PREFERENCE,
        "provenance": {
            "suspect": suspect.describe(),
            "control": control.describe() if control else None,
        },
        "settings": config.to_dict(),
    }


def _signature(facts: dict[str, Any], items: Sequence[Item], coater: Coater) -> str:
    """Identifies a run: parts of another one are not reused."""
    files = [(sha256_file(item.path), item.caption, item.class_words) for item in items]
    known = json.dumps([facts, files, coater.fingerprint], sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()
