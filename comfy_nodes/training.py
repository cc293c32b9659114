"""A coater trained against the model of the graph: ComfyUI's own objects as the surrogate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from siren_ext.coater.bundled import refuse_existing
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import square_view
from siren_ext.errors import CoaterError, ModelError
from siren_ext.progress import Progress
from siren_ext.training.config import TrainConfig
from siren_ext.training.prompts import surrogate_prompt
from siren_ext.training.recipes import fitted_to
from siren_ext.training.surrogate import DiffusionSurrogate
from siren_ext.training.train import train_coater

from . import host

NOISE_STEPS = 1000


def train_for_graph(
    folder: Path,
    class_word: str,
    out: Path,
    parts: tuple[Any, Any, Any],
    *,
    resolution: int,
    steps: int,
    batch_size: int,
    seed: int,
    rehearse: bool,
    start: Coater | None,
    progress: Progress,
    preset: str = "default",
) -> Coater:
    """Train and write a coater; an interrupted call leaves ``out`` + ``.state`` and goes on later.

    Parameters
    ----------
    folder : Path
        clean pictures, with captions or without.
    class_word : str
        what they show.
    out : Path
        the file; an existing one is an error.
    parts : tuple[Any, Any, Any]
        MODEL, CLIP and VAE of the graph, or three times None for the bundled model.
    rehearse : bool
        let copies of the bundled model learn from coated images meanwhile.
    preset : str
        ``default``; ``coarse`` and ``keyed`` coaters are fitted instead of trained, without
        ``steps``, ``batch_size`` and ``rehearse``.

    Raises
    ------
    CoaterError
        ``out`` exists, or a coater that is fitted is to start from another one.
    ModelError
        only some of the three parts are wired.
    """
    refuse_existing(out)
    wired = [part is not None for part in parts]
    if any(wired) and not all(wired):
        raise ModelError(
            "Only some of model, clip and vae are wired; expected all three of one checkpoint, or "
            "none for the bundled model."
        )
    fitted = preset != "default"
    if fitted and start is not None:
        raise CoaterError(
            f"A coater of the preset '{preset}' is fitted anew, but start is wired; unwire start, "
            "or choose the preset 'default'."
        )
    data = ImageSet.open(folder).checked(progress=progress)
    prompt = surrogate_prompt(class_word)
    if fitted:
        shape, config = CoaterConfig.preset(preset), TrainConfig.preset(preset, seed=seed)
    else:
        schedule: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "seed": seed}
        schedule["warmup"] = min(TrainConfig().warmup, steps // 3)
        if all(wired) or not rehearse:
            # rehearsals train copies of a diffusers model, which the graph's is not
            schedule["rehearse_every"] = 0
        shape, config = None, TrainConfig(**schedule)
    surrogate: Any
    if all(wired):
        surrogate = GraphSurrogate(*parts, prompt=prompt, resolution=resolution)
    else:
        from siren_ext.diffusion.load import load_pipeline

        pipeline = load_pipeline("pocket", device=host.device())
        surrogate = DiffusionSurrogate(pipeline, prompt, data.captions(default=prompt))
    shape, start = fitted_to(surrogate.resolution, shape, start)
    coater = train_coater(
        data,
        surrogate,
        config,
        coater=shape,
        start=start,
        device=str(host.device()),
        progress=progress,
        resume=out.with_name(out.name + ".state"),
    )
    coater.save(out)
    return coater


class GraphSurrogate:
    """A :class:`~siren_ext.training.surrogate.Surrogate` over MODEL, CLIP and VAE.

    LoRA patches are included.

    ComfyUI adds noise in units of sigma, whatever the model's parametrisation: x = z + sigma n for
    noise-predicting models. The loss (z' - z)^2 / sigma^2 of its denoised answer z' is then the
    squared error of the predicted noise (SIREN, Eq. 2).

    Parameters
    ----------
    model, clip, vae : Any
        as a checkpoint loader gives them.
    prompt : str
        what the pictures show.
    resolution : int
        side in pixels at which the model sees them.
    """

    def __init__(self, model: Any, clip: Any, vae: Any, *, prompt: str, resolution: int) -> None:
        import comfy.model_management as management
        import comfy.samplers
        from comfy.sampler_helpers import convert_cond

        self.prompt, self.resolution = prompt, resolution
        text = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
        management.load_models_gpu([model, vae.patcher], force_full_load=True)
        self.model, self.vae = model.model, vae.first_stage_model
        for network in (self.model, self.vae):
            thaw(network)
            network.requires_grad_(False)
        self.device, self.vae_dtype = model.load_device, vae.vae_dtype
        side = resolution // vae.spacial_compression_encode()
        noise = torch.zeros(1, vae.latent_channels, side, side, device=self.device)
        conditions = comfy.samplers.encode_model_conds(
            self.model.extra_conds, convert_cond(text), noise, self.device, "positive"
        )
        self.conditions = conditions[0]["model_conds"]

    def encode(self, images: Tensor) -> Tensor:
        """Latents as the model takes them, differentiable."""
        view = square_view(images, self.resolution)
        pixels = (view * 2 - 1).to(self.device, self.vae_dtype)
        latents: Tensor = self.model.process_latent_in(self.vae.encode(pixels).float())
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures in [0,1], differentiable."""
        raw = self.model.process_latent_out(latents).to(self.vae_dtype)
        pixels: Tensor = self.vae.decode(raw).float()
        return (pixels / 2 + 0.5).clamp(0, 1)

    def denoise(self, latents: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
        """The model's one-step estimate of latents after noise of B levels was added."""
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = self.model.model_sampling.noise_scaling(sigma, noise, latents)
        given = {
            name: condition.process_cond(batch_size=len(latents), device=self.device).cond
            for name, condition in self.conditions.items()
        }
        answer: Tensor = self.model.apply_model(noisy, sigma, **given)
        return answer.float()

    def sigmas(self, steps: Tensor) -> Tensor:
        """Noise levels of B places in a schedule of :data:`NOISE_STEPS` steps."""
        sampling = self.model.model_sampling
        share = 1 - steps.double() / NOISE_STEPS
        return torch.tensor(
            [float(sampling.percent_to_sigma(float(value))) for value in share], device=self.device
        ).clamp(float(sampling.sigma_min), float(sampling.sigma_max))

    def denoising_loss(
        self, images: Tensor, *, generator: torch.Generator, draws: int = 1
    ) -> Tensor:
        """Learnability loss per image, averaged over ``draws`` noise levels, stratified."""
        latents = self.encode(images)
        total = torch.zeros(len(images), device=latents.device)
        for draw in range(draws):
            place = torch.rand(len(images), generator=generator)
            sigma = self.sigmas((draw + place) / draws * NOISE_STEPS)
            error = self.denoise(latents, sigma, generator) - latents
            total = total + (error / sigma.view(-1, 1, 1, 1)).square().mean((1, 2, 3))
        return total / draws

    def round_trip(self, images: Tensor) -> Tensor:
        """The images through the autoencoder."""
        return self.decode(self.encode(images))

    def renoise(self, images: Tensor, low: int, high: int, *, generator: torch.Generator) -> Tensor:
        """The images noised to a random step in [low, high) and denoised in one step."""
        steps = torch.randint(low, high, (len(images),), generator=generator)
        return self.decode(self.denoise(self.encode(images), self.sigmas(steps), generator))


def thaw(network: nn.Module) -> None:
    """Replace weights that were made in inference mode by equal ones that gradients may pass.

    One at a time, so that no second copy of the model is held. Under inference mode they serve as
    before.
    """
    for module in network.modules():
        for name, weight in module._parameters.items():
            if weight is not None and weight.is_inference():
                module._parameters[name] = nn.Parameter(weight.clone(), requires_grad=False)
        for name, value in module._buffers.items():
            if value is not None and value.is_inference():
                module._buffers[name] = value.clone()
