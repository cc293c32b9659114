"""Pictures made again by a model that never saw the coater, which removes what it can't make.

As in :mod:`siren_ext.attacks.handling`, each function takes a batch B x 3 x H x W in [0,1] and a
generator on the CPU, and returns a batch of the same size in [0,1]. The models are local files;
nothing is downloaded, except by :func:`learned_codec`, whose weights CompressAI fetches.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.attacks.checks import image_batch, texts, within
from siren_ext.attacks.transforms import noise, super_resolution
from siren_ext.data.images import resize
from siren_ext.diffusion.pipelines import (
    add_noise,
    decode_latents,
    encode_latents,
    encode_prompts,
    latent_factor,
    load_pipeline,
    native_size,
    seeded_normal,
)
from siren_ext.diffusion.sampling import ddim
from siren_ext.errors import ConfigError, ImageError, MissingExtraError, ModelError
from siren_ext.schema import shown

SCHEDULE = 50
"""Steps of the denoising schedule, as in WatermarkAttacker."""
CODECS = {
    "bmshj2018-factorized": 8,
    "bmshj2018-hyperprior": 8,
    "mbt2018-mean": 8,
    "mbt2018": 8,
    "cheng2020-anchor": 6,
}
"""CompressAI's models, each with its best quality."""
_CELLS = 8  # latents of sides that the UNets of Stable Diffusion can halve three times


def regenerate(
    images: Tensor,
    generator: torch.Generator,
    *,
    base: str = "pocket",
    step: int = 60,
    prompt: str = "",
    guidance: float = 7.5,
    size: int = 0,
) -> Tensor:
    """Add noise to the latents of each image and let a diffusion model remove it.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator
        Draws the posterior sample and the noise.
    base : str
        ``pocket``, a diffusers folder or a checkpoint file.
    step : int
        Timestep of the noise, from 0 to 999; 0 only encodes and decodes. 60 in WatermarkAttacker,
        up to 400 in SIREN.
    prompt : str
        What the model is told to make; empty in WatermarkAttacker.
    guidance : float
        Classifier-free guidance scale, from 1 to 30.
    size : int
        Side in pixels at which the model works, from 16 to 4096; 0 is the model's own. Images are
        brought to that area, with their proportions, and back.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images.
    ModelError
        If the model can't be loaded.
    MissingExtraError
        If diffusers is not installed.

    References
    ----------
    Zhao et al. (2024), "Invisible image watermarks are provably removable using generative AI"
    (arXiv 2306.01953), and github.com/XuandongZhao/WatermarkAttacker: 50 steps of DDIM, of which
    max(step / 20, 1) are used. SIREN (arXiv 2410.10437), Fig. 10.
    """
    within("step", step, 0, 999, whole=True)
    return _regenerated(images, generator, base, step, (prompt, ""), guidance, size)


def img2img_denoise(
    images: Tensor,
    generator: torch.Generator,
    *,
    base: str = "pocket",
    strength: float = 0.35,
    prompt: str = "denoise the image",
    negative: str = "noisy image",
    guidance: float = 7.5,
    size: int = 0,
) -> Tensor:
    """Image-to-image generation with a prompt that asks for a clean image.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator
        Draws the posterior sample and the noise.
    base, guidance, size
        As in :func:`regenerate`. The published attack used FLUX at 512 pixels; here it is any
        Stable Diffusion 1.x or 2.x.
    strength : float
        Share of the noise schedule, from 0 to 1; 0 only encodes and decodes.
    prompt, negative : str
        What to make and what to avoid.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError, ImageError, ModelError, MissingExtraError
        As in :func:`regenerate`.

    References
    ----------
    arXiv 2602.22197 (SaTML 2026), which lists SIREN among six schemes that this defeats at strength
    0.35.
    """
    within("strength", strength, 0, 1)
    step = min(999, round(1000 * strength))
    return _regenerated(images, generator, base, step, (prompt, negative), guidance, size)


def restore(
    images: Tensor,
    generator: torch.Generator,
    *,
    sigma: float = 0.03,
    shrink: float = 1.5,
    smooth: float = 0.1,
) -> Tensor:
    """Degrade each image, then restore it: noise, shrinking, enlarging, edge-keeping smoothing.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator
        Draws the noise.
    sigma : float
        Standard deviation of the noise, from 0 to 1.
    shrink : float
        How many times smaller both sides become in between, from 1 to 16.
    smooth : float
        Difference of colour up to which neighbours are averaged, from 0 to 1; 0 leaves the
        smoothing out.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images.
    MissingExtraError
        If kornia is not installed.

    Notes
    -----
    Stands for degrading and restoring with a trained restorer, of which none is bundled; the
    settings were chosen here. :func:`regenerate` is the form with a diffusion model.

    References
    ----------
    Tomasi and Manduchi (1998), "Bilateral filtering for gray and color images", ICCV.
    """
    within("smooth", smooth, 0, 1)
    worse = super_resolution(noise(images, generator, sigma=sigma), shrink=shrink)
    if not smooth:
        return worse
    try:
        from kornia.filters import bilateral_blur
    except ImportError as error:
        raise MissingExtraError("kornia", "attacks") from error
    around = "reflect" if min(images.shape[2:]) > 2 else "replicate"
    better: Tensor = bilateral_blur(worse.float(), (5, 5), float(smooth), (1.5, 1.5), around)
    return better.clamp(0, 1).to(images)


def learned_codec(
    images: Tensor,
    generator: torch.Generator | None = None,
    *,
    model: str = "bmshj2018-factorized",
    quality: int = 3,
) -> Tensor:
    """Compress each image with a neural codec of CompressAI and decode it.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator | None
        Not used.
    model : str
        One of :data:`CODECS`, trained for the mean squared error.
    quality : int
        From 1 (the strongest attack) to 8, or 6 for ``cheng2020-anchor``.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If a setting is out of range.
    ImageError
        If ``images`` is not a batch of images.
    ModelError
        If CompressAI is not installed, or its weights can't be fetched.

    References
    ----------
    Ballé et al. (2018), arXiv 1802.01436; Minnen et al. (2018), arXiv 1809.02736; Cheng et al.
    (2020), arXiv 2001.01568. SIREN (arXiv 2410.10437), Fig. 10, uses the first and the last.
    """
    if model not in CODECS:
        raise ConfigError(f"model is {shown(model)}; expected one of {', '.join(CODECS)}.")
    within("quality", quality, 1, CODECS[model], whole=True)
    height, width = image_batch(images).shape[2:]
    codec = _codec(model, quality)
    padded = F.pad(images.float().cpu(), (0, -width % 64, 0, -height % 64), mode="replicate")
    with torch.no_grad():
        decoded: Tensor = codec(padded)["x_hat"]
    return decoded[..., :height, :width].clamp(0, 1).to(images)


@lru_cache(maxsize=1)
def _codec(model: str, quality: int) -> Any:
    """A codec of CompressAI."""
    try:
        zoo = importlib.import_module("compressai.zoo")
    except ImportError as error:
        raise ModelError(
            "Neural codecs need CompressAI, which siren-ext does not install because it needs "
            "torchvision. Install both with 'pip install compressai', or use jpeg or webp."
        ) from error
    try:
        return zoo.image_models[model](quality, metric="mse", pretrained=True).eval()
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"CompressAI can't fetch the weights of {model}, quality {quality}: {error}. Check the "
            "connection."
        ) from error


@lru_cache(maxsize=1)
def _model(base: str, device: torch.device) -> Any:
    """A diffusion model; the last one stays loaded for the images that follow."""
    return load_pipeline(base, device=device)


@torch.no_grad()
def _regenerated(
    images: Tensor,
    generator: torch.Generator,
    base: str,
    step: int,
    words: tuple[str, str],
    guidance: float,
    size: int,
) -> Tensor:
    """Images after noise at a timestep and its removal; words are prompt and negative prompt."""
    within("guidance", guidance, 1, 30)
    if size:
        within("size", size, 16, 4096, whole=True)
    texts(base=base, prompt=words[0], negative=words[1])
    height, width = image_batch(images).shape[2:]
    pipeline = _model(base, images.device)
    view = resize(images.float(), *_sides(pipeline, height, width, size))
    latents = encode_latents(pipeline, view, generator)
    if step:
        drawn = seeded_normal(latents.shape, generator, latents.device)
        at = torch.full((len(latents),), step, device=latents.device)
        noisy = add_noise(pipeline, latents, drawn, at)
        latents = _denoised(pipeline, noisy, step, words, guidance)
    made = decode_latents(pipeline, latents)
    if not bool(torch.isfinite(made).all()):
        raise ImageError("The model gave values that are not finite numbers; use another model.")
    return resize(made, height, width).to(images)


def _sides(pipeline: Any, height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width at which the model works: its area, in whole blocks of its latents."""
    block = latent_factor(pipeline) * _CELLS
    scale = (size or native_size(pipeline)) / (height * width) ** 0.5
    high, wide = (max(1, round(side * scale / block)) * block for side in (height, width))
    return high, wide


def _denoised(
    pipeline: Any, noisy: Tensor, step: int, words: tuple[str, str], guidance: float
) -> Tensor:
    """Latents after the last steps of the schedule, as many as the noise is worth."""
    unet, scheduler = pipeline.unet, ddim(pipeline)
    scheduler.set_timesteps(SCHEDULE, device=noisy.device)
    first = SCHEDULE - max(step * SCHEDULE // 1000, 1)
    context = encode_prompts(pipeline, [words[1], words[0]]).to(noisy.device, unet.dtype)
    context = context.repeat_interleave(len(noisy), 0)
    latents = noisy
    for time in scheduler.timesteps[first:]:
        view = torch.cat((latents, latents)).to(unet.dtype)
        without, towards = unet(view, time, context, return_dict=False)[0].float().chunk(2)
        guess = without + guidance * (towards - without)
        latents = scheduler.step(guess, time, latents, return_dict=False)[0]
    return latents
