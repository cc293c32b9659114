"""One interface to the noise predictions of all families of diffusion models.

Measurements need three things of a model: latents of an image, the noise schedule, and the noise
that the network sees in noisy latents. Here x_t = signal(t) z + rest(t) noise in all families: for
diffusion models signal is sqrt(a) and rest sqrt(1 - a), with a the schedule's cumulative product;
for flow matching they are 1 - s and s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from siren_ext.diffusion import families, pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import ConfigError, ModelError

Condition = dict[str, Any]
Times = int | Tensor
"""A timestep from 0 to 999 for all images, or B of them."""
STEPS = 1000
"""Timesteps of every family: thousandths of its schedule."""
SMALL = 128
"""Pictures of so many pixels a side pass a processor faster in company."""
_GUESSES = ("epsilon", "v_prediction", "sample")
_SMALLEST_REST = 1e-4
_ENCODERS = ("encoder.", "quant_conv.")
_SCALES = ("scaling_factor", "shift_factor", "latent_magnitude", "latent_shift")
_OF_ALL = ("txt_ids",)  # the places of the tokens are those of all texts
_UNETS = (families.STABLE, "StableDiffusionXLPipeline", "LatentConsistencyModelPipeline")


class Denoiser:
    """A diffusion model with a UNet: Stable Diffusion 1.x, 2.x and XL, and LCM.

    Parameters
    ----------
    pipeline : Pipeline
        The model in float32, frozen.

    Raises
    ------
    ModelError
        If its prediction is of an unknown kind.
    """

    experimental = False

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.network = pipeline.unet
        self.guess = str(pipeline.scheduler.config.prediction_type)
        if self.guess not in _GUESSES:
            raise ModelError(
                f"The model predicts {self.guess[:80]!r}; expected one of {', '.join(_GUESSES)}."
            )
        self._kept = _kept(pipeline)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        found: torch.device = self.network.device
        return found

    @property
    def native_size(self) -> int:
        """Side in pixels of the pictures that the model was trained on."""
        return pipelines.native_size(self.pipeline)

    @property
    def size_step(self) -> int:
        """Sides of pictures must be multiples of this many pixels."""
        return pipelines.latent_factor(self.pipeline)

    def signal(self, time: int) -> float:
        """Share of the latents in noisy ones at a timestep from 0 to 999."""
        return math.sqrt(float(self._kept[self._step(time)]))

    def rest(self, time: int) -> float:
        """Share of the noise in noisy latents at a timestep from 0 to 999."""
        return math.sqrt(1.0 - float(self._kept[self._step(time)]))

    def weight(self, time: int) -> float:
        """What the squared error of the noise is multiplied by to give the training loss."""
        if self.guess == "epsilon":
            return 1.0
        return ((self.rest(time) if self.guess == "sample" else 1.0) / self.signal(time)) ** 2

    def noisy(self, latents: Tensor, noise: Tensor, time: Times) -> Tensor:
        """Noisy latents; shapes B x C x h x w."""
        noisy: Tensor = each(self.signal, time) * latents + each(self.rest, time) * noise
        return noisy

    def clean(self, noisy: Tensor, seen: Tensor, time: Times) -> Tensor:
        """The latents without the noise that the model sees in them; shapes B x C x h x w."""
        clean: Tensor = (noisy - each(self.rest, time) * seen) / each(self.signal, time)
        return clean

    def condition(self, texts: Sequence[str], size: int) -> Condition:
        """What the network is given beside the latents, for B texts and pictures of a size."""
        if families.family(self.pipeline) == "StableDiffusionXLPipeline":
            return self._xl_condition(list(texts), size)
        given: Condition = {
            "encoder_hidden_states": pipelines.encode_prompts(self.pipeline, list(texts))
        }
        width = self.network.config.time_cond_proj_dim
        if width is not None:  # guided models are asked without guidance
            zeros = torch.zeros(len(texts))
            embedded = self.pipeline.get_guidance_scale_embedding(zeros, embedding_dim=width)
            given["timestep_cond"] = embedded.to(self.device)
        return given

    def _xl_condition(self, texts: list[str], size: int) -> Condition:
        """Two embeddings, and the sizes: original and target as given, not cropped."""
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            texts, device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        sizes = torch.tensor([[size, size, 0, 0, size, size]] * len(texts), device=self.device)
        added = {"text_embeds": pooled, "time_ids": sizes.to(embeds.dtype)}
        return {"encoder_hidden_states": embeds, "added_cond_kwargs": added}

    def noise_in(self, noisy: Tensor, time: Times, condition: Condition) -> Tensor:
        """The noise that the model sees, without guidance; differentiable in the latents.

        Parameters
        ----------
        noisy : Tensor
            B x C x h x w noisy latents.
        time : int or Tensor
            Timestep from 0 to 999, or B of them.
        condition : Condition
            Of :meth:`condition`.

        Returns
        -------
        Tensor
            B x C x h x w, float32.

        Notes
        -----
        From v it is sqrt(a) v + sqrt(1 - a) x_t, from an estimate z of the latents
        (x_t - sqrt(a) z) / sqrt(1 - a).
        """
        steps: Any = self._step(time) if isinstance(time, int) else each(self._step, time).flatten()
        given = self.network(noisy, steps, return_dict=False, **condition)[0]
        found: Tensor = given.float()[:, : noisy.shape[1]]  # some models also predict a variance
        signal = each(self.signal, time)
        if self.guess == "v_prediction":
            found = signal * found + each(self.rest, time) * noisy
        elif self.guess == "sample":
            rest = each(lambda step: max(self.rest(step), _SMALLEST_REST), time)
            found = (noisy - signal * found) / rest
        return found

    def _step(self, time: int) -> int:
        return time * len(self._kept) // STEPS


def each(level: Callable[[int], float], time: Times) -> Any:
    """A level at a timestep, or at B timesteps as a Tensor of shape B x 1 x 1 x 1.

    Parameters
    ----------
    level : Callable[[int], float]
        Such as :meth:`Denoiser.signal`.
    time : int or Tensor
        The timesteps.

    Returns
    -------
    float or Tensor
        One value, or B of them where the timesteps are.
    """
    if isinstance(time, int):
        return level(time)
    values = [level(int(one)) for one in time.tolist()]
    return torch.tensor(values, device=time.device).view(-1, 1, 1, 1)


def taken(condition: Condition, rows: Sequence[int]) -> Condition:
    """The condition of some texts, in any order and as often as wanted.

    Parameters
    ----------
    condition : Condition
        Of :meth:`Denoiser.condition`, for B texts.
    rows : sequence of int
        Places of the texts, from 0.

    Returns
    -------
    Condition
        For len(rows) latents.
    """
    found: Condition = {}
    for name, value in condition.items():
        if isinstance(value, dict):
            found[name] = taken(value, rows)
        else:
            found[name] = value if name in _OF_ALL else value[list(rows)]
    return found


def denoiser(pipeline: Pipeline) -> Denoiser:
    """The interface to a model.

    Parameters
    ----------
    pipeline : Pipeline
        A model in float32.

    Raises
    ------
    ModelError
        If its family is not supported.
    ConfigError
        If its number format is another.
    """
    from siren_ext.diffusion.flow import FLOWS

    known: dict[str, Callable[[Pipeline], Denoiser]] = {**dict.fromkeys(_UNETS, Denoiser), **FLOWS}
    name = families.family(pipeline)
    if name not in known:
        raise ModelError(
            f"This model is a {name}, but only {', '.join(known)} can be measured. Test its "
            "pictures instead."
        )
    found = known[name](pipeline)
    if found.network.dtype != torch.float32:
        raise ConfigError(
            f"The model is in {str(found.network.dtype).removeprefix('torch.')}; expected "
            "float32, because 16-bit numbers are not precise enough for this measurement. Load it "
            "in float32."
        )
    return found


def picture_size(model: Denoiser, resolution: int) -> int:
    """Side of the pictures in pixels.

    Parameters
    ----------
    model : Denoiser
        The model.
    resolution : int
        Requested side; 0 for the model's own.

    Raises
    ------
    ConfigError
        If the model can't use that side.
    """
    size, step = resolution or model.native_size, model.size_step
    if size % step:
        raise ConfigError(
            f"The resolution is {size}; expected a multiple of {step} for this model. "
            f"Use {size // step * step or step}."
        )
    return size


def arrange(model: Denoiser, size: int) -> None:
    """Arrange the weights of a model's network for batches of 20 and more small pictures.

    Parameters
    ----------
    model : Denoiser
        The model. On a processor its convolutions have channels last from now on, which saves a
        twentieth of a forward pass, and a fifth of what the gradients of a LoRA take; nothing is
        changed on other devices. Results change by rounding only.
    size : int
        Side of the pictures in pixels; nothing is changed above :data:`SMALL`, where the network
        may be large and would be copied.
    """
    if model.device.type == "cpu" and size <= SMALL:
        model.network.to(memory_format=torch.channels_last)


def same_encoder(one: Any, other: Any, *, tolerance: float = 0.0) -> bool:
    """Whether two autoencoders make the same latents of a picture.

    Parameters
    ----------
    one, other : AutoencoderKL
        The autoencoders. Decoders may differ.
    tolerance : float
        Largest difference of a weight, as a share of the largest weight of its tensor; rounding to
        16 bits takes up to .004.
    """
    if one is other:
        return True
    mine, theirs = one.state_dict(), other.state_dict()
    names = {name for name in mine.keys() | theirs.keys() if name.startswith(_ENCODERS)}
    if any(one.config.get(name) != other.config.get(name) for name in _SCALES):
        return False
    return all(
        name in mine
        and name in theirs
        and _alike(mine[name], theirs[name].to(mine[name].device), tolerance)
        for name in names
    )


def _alike(first: Tensor, second: Tensor, tolerance: float) -> bool:
    """Whether tensors are equal up to a share of the largest value."""
    if first.shape != second.shape:
        return False
    return bool((first - second).abs().max() <= tolerance * second.abs().max())


def _kept(pipeline: Pipeline) -> Tensor:
    """The cumulative products of the schedule that the model was trained with.

    They come from the scheduler's settings: samplers use other timesteps, and some no products.
    """
    from diffusers import DDPMScheduler

    kept: Tensor = DDPMScheduler.from_config(pipeline.scheduler.config).alphas_cumprod
    return kept.double().cpu()
