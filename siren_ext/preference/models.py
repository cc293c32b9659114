"""Models that are compared: which there are, which suit each other, and what noise they see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from siren_ext.diffusion.denoiser import STEPS, Denoiser, denoiser, each, same_encoder
from siren_ext.errors import AdapterError, ConfigError

_ROUNDING = 0.01
"""Autoencoders that differ by no more are one, in 16 and 32 bits."""

if TYPE_CHECKING:
    from siren_ext.preference.config import PreferenceConfig
    from siren_ext.preference.twins_config import TwinsConfig
    from siren_ext.suspects.local import LocalSuspect


def frozen(suspect: LocalSuspect) -> Denoiser:
    """A model whose denoising can be measured.

    Parameters
    ----------
    suspect : LocalSuspect
        In float32: Stable Diffusion 1.x, 2.x or XL, or LCM; experimental for Stable Diffusion 3 and
        Flux.

    Returns
    -------
    Denoiser
        All its networks frozen and in eval mode.

    Raises
    ------
    ModelError
        The model is of another family or can't be loaded.
    ConfigError
        Its number format is another.
    """
    model = denoiser(suspect.pipeline)
    parts: dict[str, Any] = model.pipeline.components
    for part in parts.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False)
            part.eval()
    return model


def base_of(suspect: LocalSuspect) -> LocalSuspect:
    """The model in float32 without its adapters: the suspect itself if it has none.

    Parameters
    ----------
    suspect : LocalSuspect
        A model, with or without adapters.
    """
    if not suspect.adapters:
        return suspect
    return type(suspect)(suspect.model, device=str(suspect.device), dtype=torch.float32)


def refuse_itself(suspect: LocalSuspect, controls: Sequence[LocalSuspect]) -> None:
    """Check that something of the suspect is left when its controls are subtracted.

    Parameters
    ----------
    suspect : LocalSuspect
        The suspicious model.
    controls : sequence of LocalSuspect
        Clean models.

    Raises
    ------
    ConfigError
        If a control is the suspect or contains it, or is given twice.
    """
    own = identity(suspect)
    adapters = {name for name, _ in own[1]}
    seen: list[Any] = []
    for control in controls:
        found = identity(control)
        shared = {name for name, _ in found[1]}
        # at any weight; a further adapter on either side leaves nothing of the suspicious one
        inside = bool(shared) and (shared <= adapters or adapters <= shared)
        if found == own or (found[0] == own[0] and adapters and inside):
            raise ConfigError(
                "A clean model is the suspicious model itself or has its adapter, so nothing "
                "would be left after subtracting it; expected models that never saw the coated "
                "images."
            )
        if not suspect.adapters and found[0] == own[0]:
            raise ConfigError(
                "A clean adapter was given, but the suspicious model is a whole model here, into "
                "which the adapter would be merged; expected a whole clean model, such as the one "
                "that the suspicious model was trained from."
            )
        if found in seen:
            raise ConfigError("A clean model was given twice; expected different models.")
        seen.append(found)


def identity(model: LocalSuspect) -> tuple[str, list[tuple[str, float]]]:
    """Fingerprint of the whole model, and hashes and weights of the adapters.

    Parameters
    ----------
    model : LocalSuspect
        A model, with or without adapters.
    """
    facts = model.describe()
    adapters = [(str(one["hash"]), float(one["weight"])) for one in facts["adapters"]]
    return str(facts["model_fingerprint"]), adapters


def refuse_other_latents(encoder: Any, *models: Denoiser) -> None:
    """Check that models can be compared: all take the latents of the suspect's autoencoder.

    Parameters
    ----------
    encoder : AutoencoderKL
        The suspicious model's autoencoder.
    *models : Denoiser
        Models that are subtracted.

    Raises
    ------
    ConfigError
        If one has another autoencoder.
    """
    alike = (same_encoder(encoder, one.pipeline.vae, tolerance=_ROUNDING) for one in models)
    if not all(alike):
        raise ConfigError(
            "The clean model has a different autoencoder from the suspicious one, so they can't "
            "be compared; expected a model of the same family and base."
        )


def check_words(suspect: LocalSuspect, texts: Sequence[str]) -> None:
    """Check that a model is asked with the words that its adapters brought.

    Parameters
    ----------
    suspect : LocalSuspect
        A model, with or without adapters.
    texts : sequence of str
        What it is asked with.

    Raises
    ------
    AdapterError
        If a text lacks such a word, without which the adapter has no effect.
    """
    for name, word, lacking in suspect.missing_words(texts):
        raise AdapterError(
            f"{name} only affects texts with the word {word!r}, but {lacking} of {len(texts)} "
            "captions don't have it; put this word into the caption of every image."
        )


def noise_of(
    latents: Tensor, rows: list[int], draw: int, config: PreferenceConfig | TwinsConfig
) -> tuple[Tensor, Tensor]:
    """Timesteps and noise of one draw.

    Parameters
    ----------
    latents : Tensor
        B x C x h x w.
    rows : list[int]
        Positions of the B images in their set; timesteps and noise depend on these and not on the
        batch.
    draw : int
        Number of the draw.
    config : PreferenceConfig or TwinsConfig
        Gives the seed, and the range over which the draws are spread evenly.

    Returns
    -------
    tuple[Tensor, Tensor]
        B timesteps from 0 to 999, and noise of the shape of the latents.
    """
    times, noise = [], []
    for row in rows:
        rng = np.random.default_rng((config.seed, row, draw))
        share = (draw + rng.random()) / config.draws
        time = int(STEPS * (config.low + (config.high - config.low) * share))
        times.append(min(time, STEPS - 1))
        noise.append(rng.standard_normal(latents.shape[1:], dtype=np.float32))
    placed = torch.from_numpy(np.stack(noise)).to(latents.device)
    return torch.tensor(times, device=latents.device), placed


def loss_of(model: Denoiser, errors: Tensor, times: Tensor) -> Tensor:
    """The losses that a model was trained with.

    Parameters
    ----------
    model : Denoiser
        The model.
    errors : Tensor
        B x C x h x w: the noise that it sees, minus the noise that there is.
    times : Tensor
        B timesteps.

    Returns
    -------
    Tensor
        B losses.
    """
    losses: Tensor = errors.square().mean((1, 2, 3)) * each(model.weight, times).flatten()
    return losses
