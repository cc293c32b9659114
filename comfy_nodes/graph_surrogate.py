"""Trains a coater against the model of the workflow: ComfyUI's own objects as the surrogate."""

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
from siren_ext.files import sibling
from siren_ext.progress import Progress
from siren_ext.training.config import TrainConfig
from siren_ext.training.prompts import surrogate_prompt
from siren_ext.training.recipes import fitted_to
from siren_ext.training.surrogate import DiffusionSurrogate
from siren_ext.training.train import train_coater

from . import host
from .graph_checkpoint import Parts, connected

NOISE_STEPS = 1000
ASKED = "comfyui"
"""Where a coater's provenance keeps the mark of what was asked for."""


def train_for_graph(
    folder: Path,
    class_word: str,
    out: Path,
    parts: Parts,
    *,
    resolution: int,
    steps: int,
    batch_size: int,
    seed: int,
    rehearse: bool,
    start: Coater | None,
    progress: Progress,
    preset: str = "default",
    asked: str = "",
) -> Coater:
    """Train a coater against the workflow's model, or against the bundled one, and save it.

    An interrupted call leaves ``out`` + ``.state``; an equal call resumes it.

    Parameters
    ----------
    folder : Path
        Clean images, with or without captions.
    class_word : str
        What they show.
    out : Path
        The coater's file; must not exist.
    parts : tuple[Any, Any, Any]
        MODEL, CLIP and VAE of the workflow, or None three times for the bundled model.
    resolution : int
        Image size in pixels of the workflow's model.
    steps, batch_size, seed : int
        Settings of training; ``steps`` and ``batch_size`` for the preset ``default`` only.
    rehearse : bool
        Whether copies of the bundled model learn from coated images during training.
    start : Coater | None
        A coater to start from; for the preset ``default`` only.
    preset : str
        ``default`` is trained; ``coarse`` and ``keyed`` are fitted.
    asked : str
        A mark of everything that was asked for, kept in the coater's provenance; an interrupted
        call is resumed only by one with the same mark.

    Returns
    -------
    Coater
        The coater.

    Raises
    ------
    CoaterError
        ``out`` exists, or a coater to be fitted has a ``start``.
    ModelError
        Only some of the three parts are connected.
    """
    refuse_existing(out)
    whole = _checked(parts, preset, start)
    data = ImageSet.open(folder).checked(progress=progress)
    prompt = surrogate_prompt(class_word)
    shape: CoaterConfig | None = None
    if preset != "default":
        shape, config = CoaterConfig.preset(preset), TrainConfig.preset(preset, seed=seed)
    else:
        # rehearsals train copies of a diffusers model; the workflow's model is not one
        config = _schedule(steps, batch_size, seed, rehearse=rehearse and not whole)
    surrogate = _surrogate(parts, data, prompt, resolution, asked)
    shape, start = fitted_to(surrogate.resolution, shape, start, progress=progress)
    coater = train_coater(
        data, surrogate, config, coater=shape, start=start, device=str(host.device()),
        progress=progress, resume=sibling(out, ".state"),
    )  # fmt: skip
    if asked:
        coater.provenance[ASKED] = asked
    coater.save(out)
    return coater


def _checked(parts: Parts, preset: str, start: Coater | None) -> bool:
    """Whether the workflow's model is connected; refuses what does not fit together."""
    whole = connected(parts, None, "the bundled model")
    if preset != "default" and start is not None:
        raise CoaterError(
            f"A coater of the preset '{preset}' can't start from another coater, but start is "
            "connected. Disconnect start, or choose the preset 'default'."
        )
    return whole


def _schedule(steps: int, batch_size: int, seed: int, *, rehearse: bool) -> TrainConfig:
    """Settings of training, with the usual warm-up shortened for few steps."""
    values: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "seed": seed}
    values["warmup"] = min(TrainConfig().warmup, steps // 3)
    if not rehearse:
        values["rehearse_every"] = 0
    return TrainConfig(**values)


def _surrogate(
    parts: Parts, data: ImageSet, prompt: str, resolution: int, asked: str
) -> GraphSurrogate | DiffusionSurrogate:
    """The workflow's model, or the bundled one."""
    if parts[0] is not None:
        return GraphSurrogate(*parts, prompt=prompt, resolution=resolution, identity=asked)
    from siren_ext.diffusion.load import POCKET, load_pipeline, model_fingerprint

    pipeline, captions = load_pipeline(POCKET, device=host.device()), data.captions(default=prompt)
    return DiffusionSurrogate(pipeline, prompt, captions, identity=model_fingerprint(POCKET))


class GraphSurrogate:
    """A :class:`~siren_ext.training.surrogate.Surrogate` made of MODEL, CLIP and VAE.

    LoRA patches are included.

    Parameters
    ----------
    model, clip, vae : Any
        As returned by a checkpoint loader.
    prompt : str
        What the images show.
    resolution : int
        Image size in pixels at which the model is used.
    identity : str
        What tells the model from others, for resuming; its files are not known here.

    Notes
    -----
    ComfyUI adds noise in units of sigma, whatever the model's parametrisation: x = z + sigma n for
    noise-predicting models. For its denoised output z', the loss (z' - z)^2 / sigma^2 then equals
    the squared error of the predicted noise (SIREN, arXiv 2410.10437, Eq. 2).
    """

    generates = False

    def __init__(
        self, model: Any, clip: Any, vae: Any, *, prompt: str, resolution: int, identity: str = ""
    ) -> None:
        import comfy.model_management as management
        import comfy.samplers
        from comfy.sampler_helpers import convert_cond

        self.prompt, self.resolution, self.identity = prompt, resolution, identity
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
        """Encode images. Differentiable.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1].

        Returns
        -------
        Tensor
            Latents in the model's scale, B x C x h x w, float32.
        """
        view = square_view(images, self.resolution)
        pixels = (view * 2 - 1).to(self.device, self.vae_dtype)
        latents: Tensor = self.model.process_latent_in(self.vae.encode(pixels).float())
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents. Differentiable.

        Parameters
        ----------
        latents : Tensor
            B x C x h x w in the model's scale.

        Returns
        -------
        Tensor
            B x 3 x H x W in [0,1], float32.
        """
        raw = self.model.process_latent_out(latents).to(self.vae_dtype)
        pixels: Tensor = self.vae.decode(raw).float()
        return (pixels / 2 + 0.5).clamp(0, 1)

    def denoise(self, latents: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
        """Add noise to latents and estimate them back in one step.

        Parameters
        ----------
        latents : Tensor
            B x C x h x w.
        sigma : Tensor
            B noise levels.
        generator : torch.Generator
            Draws the noise, on the CPU.

        Returns
        -------
        Tensor
            The model's estimate, B x C x h x w, float32.
        """
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = self.model.model_sampling.noise_scaling(sigma, noise, latents)
        given = {
            name: condition.process_cond(batch_size=len(latents), device=self.device).cond
            for name, condition in self.conditions.items()
        }
        answer: Tensor = self.model.apply_model(noisy, sigma, **given)
        return answer.float()

    def sigmas(self, steps: Tensor) -> Tensor:
        """Convert positions in the noise schedule to noise levels.

        Parameters
        ----------
        steps : Tensor
            B positions, 0 (little noise) to :data:`NOISE_STEPS`.

        Returns
        -------
        Tensor
            B values of sigma within the model's range.
        """
        sampling = self.model.model_sampling
        share = 1 - steps.double() / NOISE_STEPS
        return torch.tensor(
            [float(sampling.percent_to_sigma(float(value))) for value in share], device=self.device
        ).clamp(float(sampling.sigma_min), float(sampling.sigma_max))

    def denoising_loss(
        self, images: Tensor, *, generator: torch.Generator, draws: int = 1
    ) -> Tensor:
        """Denoising loss of each image (SIREN, Eq. 2): how easily the model learns it.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1].
        generator : torch.Generator
            Draws noise and noise levels, on the CPU.
        draws : int
            Noise levels per image, one from each of ``draws`` equal parts of the schedule.

        Returns
        -------
        Tensor
            B losses.
        """
        latents = self.encode(images)
        total = torch.zeros(len(images), device=latents.device)
        for draw in range(draws):
            place = torch.rand(len(images), generator=generator)
            sigma = self.sigmas((draw + place) / draws * NOISE_STEPS)
            error = self.denoise(latents, sigma, generator) - latents
            total = total + (error / sigma.view(-1, 1, 1, 1)).square().mean((1, 2, 3))
        return total / draws

    def round_trip(self, images: Tensor) -> Tensor:
        """Encode and decode images. Differentiable.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1].

        Returns
        -------
        Tensor
            B x 3 x H x W in [0,1].
        """
        return self.decode(self.encode(images))

    def renoise(self, images: Tensor, low: int, high: int, *, generator: torch.Generator) -> Tensor:
        """Add noise to images and remove it in one step of the model. Differentiable.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1].
        low, high : int
            Range [low, high) of the random position in the noise schedule.
        generator : torch.Generator
            Draws noise and positions, on the CPU.

        Returns
        -------
        Tensor
            B x 3 x H x W in [0,1].
        """
        steps = torch.randint(low, high, (len(images),), generator=generator)
        return self.decode(self.denoise(self.encode(images), self.sigmas(steps), generator))

    def generate(
        self, picks: Tensor, *, generator: torch.Generator, guidance: float = 3.0
    ) -> Tensor:
        """Not supported: sampling is done by the workflow's own nodes.

        Raises
        ------
        ModelError
            Always.
        """
        raise ModelError("The workflow's model can't generate images during training.")

    def rehearsal(self, *, seed: int, message: Tensor | None = None) -> None:
        """Return None: the workflow's model can't be trained."""


def thaw(network: nn.Module) -> None:
    """Replace weights created in inference mode by equal ones that gradients can pass through.

    Works on one weight at a time, so there is never a second copy of the model. The new weights
    also work in inference mode.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    """
    for module in network.modules():
        for name, weight in module._parameters.items():
            if weight is not None and weight.is_inference():
                module._parameters[name] = nn.Parameter(weight.clone(), requires_grad=False)
        for name, value in module._buffers.items():
            if value is not None and value.is_inference():
                module._buffers[name] = value.clone()
