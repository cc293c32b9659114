"""The training loop. It can be resumed exactly, because random draws depend on seed and step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siren_ext.adapters.summary import AdapterSummary
from siren_ext.data.dataset import ImageSet
from siren_ext.devices import pick_device, pick_dtype
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import MissingExtraError, ModelError
from siren_ext.files import one_at_a_time, sibling
from siren_ext.personalize.config import WITH_TOKEN, PersonalizeConfig
from siren_ext.personalize.data import Batch, TrainingData, prepare
from siren_ext.personalize.loop import begin, read_state, run_steps
from siren_ext.personalize.prior import check_prior, class_data
from siren_ext.personalize.record import metadata, run_signature
from siren_ext.personalize.save import check_out, check_written, finished, make_weights, save
from siren_ext.personalize.word import check_prompts, check_tokens, check_word
from siren_ext.progress import NULL, Progress
from siren_ext.ranks import current

_MEMORY = 0.95  # weight of the past in the running mean of the loss


@one_at_a_time
def personalize(
    data: ImageSet,
    model: str | Path,
    config: PersonalizeConfig,
    out: Path,
    *,
    class_images: ImageSet | None = None,
    device: str = "auto",
    progress: Progress = NULL,
    make: Callable[..., Trainer] | None = None,
    force: bool = False,
) -> AdapterSummary:
    """Personalise a model with images, and write the result in the usual format of the method.

    A stopped run is resumed from ``<out>.state``, to the same weights, and a finished one is not
    repeated. Images that cannot be read are left out. Several processes (:mod:`siren_ext.ranks`)
    split the batch of each step.

    Parameters
    ----------
    data, config : ImageSet, PersonalizeConfig
        The images, and the settings.
    model : str or Path
        The base model: ``pocket``, a diffusers folder or a single-file checkpoint.
    out : Path
        The file, ending in ``.safetensors``; a folder for ``custom-diffusion``; either of them for
        ``dreambooth`` and ``full``.
    class_images : ImageSet or None
        Of ``dreambooth`` and ``custom-diffusion``; None generates them from ``class_prompt``.
    device : str
        Where to train; ``auto`` as in :func:`siren_ext.devices.pick_device`.
    progress : Progress
        One unit per step.
    make : callable or None
        Makes another kind of :class:`Trainer`, which may depend on nothing but the settings.
    force : bool
        Replace another model in the place of ``out``, once this one is trained.

    Returns
    -------
    AdapterSummary
        What was written; the hash of a whole model is its fingerprint.

    Raises
    ------
    ConfigError
        If a setting does not suit the method or the model, there are neither class images nor a
        class prompt, ``out`` can't be written, or it or ``<out>.state`` belongs to another run.
    DatasetError
        If no image can be read, an image has no caption, or no caption has the new word.
    ModelError, MissingExtraError
        If the model can't be loaded or written as one file, the loss is not finite, or peft or
        accelerate is not installed.
    Cancelled, RankLostError
        If the user stopped, or another process of the run has ended; the state is saved.
    """
    check_out(out := Path(out), config, model)
    check_prior(config, class_images)
    dtype = training_dtype(target := pick_device(device), config.precision)
    data = data.checked(progress=progress)
    given = None if class_images is None else class_images.checked(progress=progress)
    run = run_signature(data, model, config, dtype, given)
    state = sibling(out, ".state")
    summary = finished(out, run, config, force=force)
    saved = None if summary is not None else read_state(state, run)
    current().wait()  # before the main process writes either of them
    if summary is not None:
        return summary
    pipeline = pipelines.load_pipeline(model, device=target, dtype=dtype)
    check_written(out, pipeline, config)
    training = prepare(data, pipeline, config, progress)
    check_word(pipeline, training.prompts, config)  # before class images are generated
    prior = class_data(config, pipeline, given, progress, saved.get("class") if saved else None)
    trainer = (make or Trainer)(pipeline, training, config, prior)
    trainer.generated = prior.latents if prior is not None and given is None else None
    begin(trainer, state, run, saved)
    run_steps(trainer, config.steps, state, run, progress)
    known: Any = {"out": out, "run": run, "loss": trainer.mean_loss, "prior": prior}
    facts = metadata(data, model, config, pipeline, training, **known) | trainer.facts()
    return current().first(lambda: _save(trainer, out, facts, state))


def is_finished(
    data: ImageSet, model: str | Path, config: PersonalizeConfig, out: Path, *, device: str = "auto"
) -> bool:
    """Whether :func:`personalize` would only read what an equal call has written to ``out``.

    Parameters
    ----------
    data, model, config, out, device
        As in :func:`personalize`; ``data`` was checked, and there are no given class images.
    """
    dtype = training_dtype(pick_device(device), config.precision)
    run = run_signature(data, model, config, dtype)
    return finished(out, run, config, force=True) is not None


def training_dtype(device: torch.device, name: str) -> torch.dtype:
    """Number format of the frozen base model; never float16, which would need loss scaling.

    Parameters
    ----------
    device : torch.device
        Where to train.
    name : {"auto", "float32", "bfloat16", "float16"}
        As in :func:`siren_ext.devices.pick_dtype`; float16 becomes float32.
    """
    dtype = pick_dtype(device, name)
    return torch.float32 if dtype == torch.float16 else dtype


class Trainer:
    """Weights, optimiser and step counter of a run.

    Parameters
    ----------
    pipeline : Pipeline
        The base model, which is changed.
    data : TrainingData
        The prepared data.
    config : PersonalizeConfig
        The settings.
    prior : TrainingData or None
        Class images, of which each step takes as many.

    Raises
    ------
    ConfigError
        If the new word is known already.
    DatasetError
        If no caption has the new word.
    MissingExtraError
        If peft or accelerate is not installed.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        data: TrainingData,
        config: PersonalizeConfig,
        prior: TrainingData | None = None,
    ) -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise MissingExtraError("accelerate") from error
        if config.method in WITH_TOKEN:
            check_prompts(data.prompts, config)
        self.pipeline, self.data, self.config, self.prior = pipeline, data, config, prior
        self.generated: Tensor | None = None
        # other draws than those of the images
        self._prior_config = replace(config, seed=(config.seed + 1) % 2**31)
        self.device, self.ranks = pipeline.unet.device, current()
        self.accelerator = Accelerator(cpu=self.device.type == "cpu", mixed_precision="no")
        self.weights = make_weights(pipeline, config)
        self._trains_text = config.train_text_encoder or config.method in WITH_TOKEN
        self._prompts = [*data.prompts, *(prior.prompts if prior is not None else ())]
        with torch.no_grad():
            self._ids = pipelines.tokenize(pipeline, self._prompts)
            if config.method in WITH_TOKEN:
                check_tokens(pipeline, self._ids[: len(data.prompts)], config)
            self._embeds = torch.cat(
                [pipelines.embed_tokens(pipeline, part) for part in torch.split(self._ids, 64)]
            )
        if config.gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
            pipeline.unet.train()  # needed for checkpointing in diffusers; there is no dropout
        self.optimiser = torch.optim.AdamW(
            [self.weights.vector], lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        self.mean_loss = 0.0
        self.updating = False

    def advance(self) -> None:
        """Make one optimisation step.

        Raises
        ------
        ModelError
            If the loss is not finite.
        """
        config = self.config
        self.weights.clear()
        loss = self._backward(self.batch())
        if self.prior is not None:
            other = self.prior.batch(self.step, self._prior_config)
            # their prompts come after those of the images
            other = replace(other, texts=other.texts + len(self.data.prompts), images=None)
            loss += config.prior_weight * self._backward(other, config.prior_weight)
        self.weights.collect()
        loss = self._exchanged(loss)
        if not math.isfinite(loss):
            raise ModelError(
                f"The loss became {loss} at step {self.step}; lower learning_rate "
                f"({config.learning_rate:g}) or use precision = 'float32'."
            )
        if config.max_grad_norm:
            self.accelerator.clip_grad_norm_([self.weights.vector], config.max_grad_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, config)
        # an interrupt before this is False again leaves half an update; see run_steps
        self.updating = True
        self.optimiser.step()
        self.weights.push()
        self.mean_loss = loss if self.step == 0 else _MEMORY * self.mean_loss + (1 - _MEMORY) * loss
        self.step += 1
        self.updating = False

    def batch(self) -> Batch:
        """The images of the next step; their latents are cached, unless a subclass differs."""
        return self.data.batch(self.step, self.config)

    def _exchanged(self, loss: float) -> float:
        """The loss of all processes, and their gradients in that of the vector."""
        if self.weights.vector.grad is not None:
            self.ranks.add(self.weights.vector.grad)
        return sum(self.ranks.gather(loss))

    def _backward(self, batch: Batch, share: float = 1.0) -> float:
        """Add the gradients of a batch times ``share``; returns its mean loss without weighting.

        Of each part this process computes its own rows. Noise is drawn for all of them.
        """
        generator = torch.Generator().manual_seed(batch.seed)
        total = len(batch.latents)
        size = -(-total // self.config.accumulation)
        mean = 0.0
        images = torch.full((total,), -1) if batch.images is None else batch.images
        parts = (torch.split(one, size) for one in (batch.latents, batch.texts, images))
        for latents, texts, rows in zip(*parts, strict=True):
            steps = len(self.pipeline.scheduler.alphas_cumprod)
            times = torch.randint(0, steps, (len(latents),), generator=generator)
            noise = pipelines.seeded_normal(latents.shape, generator, self.device)
            own = self.ranks.own(0, len(latents))
            if not self.ranks.count(0, len(latents)):
                continue
            times = times[own]
            own_latents = latents[own].to(self.device)
            error = self.errors(own_latents, texts[own], noise[own], times)
            weights = self._weight(times.to(self.device)) * self.factors(rows[own], error.detach())
            loss = (error * weights).sum() / total * share
            self.accelerator.backward(loss)
            mean += float(error.detach().sum()) / total
        return mean

    def errors(self, latents: Tensor, texts: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """What is minimised: the loss of each row, by default that of diffusion models.

        Parameters
        ----------
        latents, noise : Tensor
            B x C x h x w scaled latents and standard normal noise, on the device.
        texts : Tensor
            B places of prompts.
        times : Tensor
            B timesteps of the model's schedule, on the CPU.

        Returns
        -------
        Tensor
            B losses, on the device.
        """
        embeds = self._prompt_embeds(texts)
        return pipelines.loss_at(self.pipeline, latents, embeds, noise=noise, timesteps=times)

    def factors(self, images: Tensor, losses: Tensor) -> Tensor:
        """What the loss of each image of a batch is multiplied by: 1, unless a subclass differs.

        Parameters
        ----------
        images : Tensor
            b places of images in the set, on the CPU; -1 for class images.
        losses : Tensor
            Their b losses, without gradient.

        Returns
        -------
        Tensor
            b numbers, on the device of the losses.
        """
        return torch.ones_like(losses)

    def facts(self) -> dict[str, str]:
        """Metadata of the file besides those of every run; none, unless a subclass has some."""
        return {}

    def _prompt_embeds(self, texts: Tensor) -> Tensor:
        """Embeddings of prompts by index; computed again if the text encoder is trained."""
        if self._trains_text:
            return pipelines.embed_tokens(self.pipeline, self._ids[texts])
        return self._embeds[texts.to(self._embeds.device)]

    def _weight(self, times: Tensor) -> Tensor:
        """Min-SNR weights (Hang et al. 2023, section 3.4); ones without ``snr_gamma``."""
        gamma = self.config.snr_gamma
        if not gamma:
            return torch.ones(len(times), device=times.device)
        ratio = pipelines.signal_to_noise(self.pipeline, times)
        velocity = pipelines.prediction_type(self.pipeline) == "v_prediction"
        return ratio.clamp(max=gamma) / (ratio + 1 if velocity else ratio)

    def snapshot(self) -> dict[str, Any]:
        """Everything that the next step depends on, for :meth:`restore`."""
        return {
            "step": self.step,
            "mean_loss": self.mean_loss,
            "weights": self.weights.vector.detach().cpu(),
            "optimiser": self.optimiser.state_dict(),
            **({} if self.generated is None else {"class": self.generated}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a :meth:`snapshot`."""
        self.weights.restore(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.mean_loss = int(state["step"]), float(state["mean_loss"])


def learning_rate(step: int, config: PersonalizeConfig) -> float:
    """Learning rate of a step: linear warm-up, then constant or half a cosine down to zero.

    Parameters
    ----------
    step : int
        The step, from 0.
    config : PersonalizeConfig
        Gives the peak, the warm-up and the schedule.
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / (config.warmup + 1)
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _save(trainer: Trainer, out: Path, facts: dict[str, str], state: Path) -> AdapterSummary:
    """Write the result, which makes the state useless."""
    summary = save(out, trainer.pipeline, trainer.weights, trainer.config, facts)
    state.unlink(missing_ok=True)
    return summary
