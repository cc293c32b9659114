"""The training loop: exact to resume, because every draw is a function of (seed, step)."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siren_ext.adapters.read import read_summary
from siren_ext.adapters.summary import AdapterSummary
from siren_ext.adapters.write import save_kohya
from siren_ext.data.dataset import ImageSet
from siren_ext.devices import pick_device, pick_dtype
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import AdapterError, Cancelled, ConfigError, MissingExtraError, ModelError
from siren_ext.files import atomic
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.data import Batch, TrainingData, prepare
from siren_ext.personalize.lora import LoraWeights
from siren_ext.personalize.record import RUN_KEY, metadata, run_signature
from siren_ext.progress import NULL, Progress

SAVE_SECONDS = 30.0
_MEMORY = 0.95


def personalize(
    data: ImageSet,
    model: str | Path,
    config: PersonalizeConfig,
    out: Path,
    *,
    device: str = "auto",
    progress: Progress = NULL,
) -> AdapterSummary:
    """Train a LoRA on ``data`` and write it to ``out`` with kohya's keys, alpha and metadata.

    ``model``: ``pocket``, a diffusers folder or a single-file checkpoint. A run that was stopped or
    killed goes on from ``<out>.state`` and ends with the numbers of an unbroken one; a finished run
    with the same data, model and settings is not repeated. Images that can't be read are left out.

    Raises :class:`ConfigError`, :class:`DatasetError`, :class:`ModelError`, :class:`Cancelled`.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out.name} is no name for an adapter; expected one in .safetensors.")
    target = pick_device(device)
    dtype = training_dtype(target, config.precision)
    data = data.checked(progress=progress)
    run = run_signature(data, model, config, dtype)
    if (finished := _finished(out, run)) is not None:
        return finished
    state = out.with_name(out.name + ".state")
    saved = _read_state(state, run)
    pipeline = pipelines.load_pipeline(model, device=target, dtype=dtype)
    training = prepare(data, pipeline, config, progress)
    trainer = Trainer(pipeline, training, config)
    if saved is not None:
        trainer.restore(saved)
    _loop(trainer, state, run, progress)
    facts = metadata(
        data, model, config, pipeline, training, out=out, run=run, loss=trainer.mean_loss
    )
    number_format = {"float32": torch.float32, "float16": torch.float16}
    summary = save_kohya(
        out,
        trainer.weights.modules(),
        facts,
        dtype=number_format.get(config.save_precision, torch.bfloat16),
    )
    state.unlink(missing_ok=True)
    return summary


def training_dtype(device: torch.device, name: str) -> torch.dtype:
    """The format that the frozen base computes in; float16 would need loss scaling, so never."""
    dtype = pick_dtype(device, name)
    return torch.float32 if dtype == torch.float16 else dtype


class Trainer:
    """One run's weights, optimiser and step counter."""

    def __init__(self, pipeline: Pipeline, data: TrainingData, config: PersonalizeConfig) -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise MissingExtraError("accelerate") from error
        self.pipeline, self.data, self.config = pipeline, data, config
        self.device = pipeline.unet.device
        self.accelerator = Accelerator(cpu=self.device.type == "cpu", mixed_precision="no")
        with torch.no_grad():
            self._ids = pipelines.tokenize(pipeline, list(data.prompts))
            self._embeds = torch.cat(
                [pipelines.embed_tokens(pipeline, part) for part in torch.split(self._ids, 64)]
            )
        self.weights = LoraWeights(pipeline, config)
        if config.gradient_checkpointing:
            pipeline.unet.enable_gradient_checkpointing()
            pipeline.unet.train()  # diffusers checkpoints only then; there is no dropout
        self.optimiser = torch.optim.AdamW(
            [self.weights.vector], lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        self.mean_loss = 0.0
        self.updating = False

    def advance(self) -> None:
        """One optimisation step; raises :class:`ModelError` when the loss is not finite."""
        config = self.config
        self.weights.clear()
        loss = self._backward(self.data.batch(self.step, config))
        if not math.isfinite(loss):
            raise ModelError(
                f"The loss became {loss} at step {self.step}; lower learning_rate "
                f"({config.learning_rate:g}) or use precision = 'float32'."
            )
        self.weights.collect()
        if config.max_grad_norm:
            self.accelerator.clip_grad_norm_([self.weights.vector], config.max_grad_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, config)
        # an interrupt in here would leave half an update behind; see _loop
        self.updating = True
        self.optimiser.step()
        self.weights.push()
        self.mean_loss = loss if self.step == 0 else _MEMORY * self.mean_loss + (1 - _MEMORY) * loss
        self.step += 1
        self.updating = False

    def _backward(self, batch: Batch) -> float:
        generator = torch.Generator().manual_seed(batch.seed)
        total = len(batch.latents)
        size = -(-total // self.config.accumulation)
        mean = 0.0
        pieces = zip(torch.split(batch.latents, size), torch.split(batch.texts, size), strict=True)
        for latents, texts in pieces:
            steps = len(self.pipeline.scheduler.alphas_cumprod)
            times = torch.randint(0, steps, (len(latents),), generator=generator)
            error = pipelines.denoising_loss(
                self.pipeline,
                latents.to(self.device),
                self._prompt_embeds(texts),
                generator=generator,
                timesteps=times,
            )
            loss = (error * self._weight(times.to(self.device))).sum() / total
            self.accelerator.backward(loss)
            mean += float(error.detach().sum()) / total
        return mean

    def _prompt_embeds(self, texts: Tensor) -> Tensor:
        if self.config.train_text_encoder:
            return pipelines.embed_tokens(self.pipeline, self._ids[texts])
        return self._embeds[texts.to(self._embeds.device)]

    def _weight(self, times: Tensor) -> Tensor:
        """Min-SNR weights (Hang et al. 2023, §3.4); ones without ``snr_gamma``."""
        gamma = self.config.snr_gamma
        if not gamma:
            return torch.ones(len(times), device=times.device)
        ratio = pipelines.signal_to_noise(self.pipeline, times)
        velocity = pipelines.prediction_type(self.pipeline) == "v_prediction"
        return ratio.clamp(max=gamma) / (ratio + 1 if velocity else ratio)

    def snapshot(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "step": self.step,
            "mean_loss": self.mean_loss,
            "weights": self.weights.vector.detach().cpu(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`snapshot`."""
        self.weights.restore(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.mean_loss = int(state["step"]), float(state["mean_loss"])


def learning_rate(step: int, config: PersonalizeConfig) -> float:
    """Linear warm-up, then constant or half a cosine down to zero."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / (config.warmup + 1)
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _loop(trainer: Trainer, path: Path, run: str, progress: Progress) -> None:
    first, began = trainer.step, time.monotonic()
    last_save = began
    progress.stage("Personalising", trainer.config.steps, first)
    try:
        while trainer.step < trainer.config.steps:
            trainer.advance()
            pace = (time.monotonic() - began) / (trainer.step - first)
            if time.monotonic() - last_save > SAVE_SECONDS:
                _write_state(trainer, path, run)
                last_save = time.monotonic()
            progress.advance(note=f"loss {trainer.mean_loss:.4f}, {pace:.2f} s/step")
    except (KeyboardInterrupt, Cancelled):
        # in the middle of an update the last periodic state is the whole one
        if trainer.step and not trainer.updating:
            _write_state(trainer, path, run)
        raise


def _write_state(trainer: Trainer, path: Path, run: str) -> None:
    with atomic(path) as temporary:
        torch.save({"run": run, **trainer.snapshot()}, temporary)


def _read_state(path: Path, run: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise ConfigError(
            f"{path} can't be read as the state of a stopped run: {error}. Delete it to start anew."
        ) from error
    if not isinstance(state, dict) or state.get("run") != run:
        raise ConfigError(
            f"{path} belongs to a stopped run with other images, model or settings. Delete it to "
            "start anew, or write to another name."
        )
    return state


def _finished(out: Path, run: str) -> AdapterSummary | None:
    if not out.exists():
        return None
    try:
        summary = read_summary(out)
    except AdapterError:
        return None  # something else of that name: written over, as any output file
    return summary if summary.metadata.get(RUN_KEY) == run else None
