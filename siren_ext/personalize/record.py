"""Metadata of what a run writes: kohya's ``ss_`` keys and our own."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.personalize.config import WHOLE_MODELS, PersonalizeConfig
from siren_ext.personalize.data import TrainingData, caption, training_size

RUN_KEY = "siren_run"
RECORD = "siren_run.json"
"""The record of a run inside the folder of a model."""


def run_signature(
    data: ImageSet,
    model: str | Path,
    config: PersonalizeConfig,
    dtype: object,
    given: ImageSet | None = None,
) -> str:
    """Hash of everything that determines a run's result; equal runs give equal adapters.

    Parameters
    ----------
    data : ImageSet
        The images.
    model : str or Path
        The base model.
    config : PersonalizeConfig
        The settings.
    dtype : torch.dtype
        Number format of the base model.
    given : ImageSet or None
        The class images that were given.

    Returns
    -------
    str
        Hexadecimal SHA-256.
    """
    parts: dict[str, object] = {
        "model": pipelines.model_fingerprint(model),
        "images": data.hash,
        "order": [[item.name, item.repeats] for item in data.items],
        "captions": [caption(item, config) for item in data.items],
        "settings": config.to_dict(),
        "format": str(dtype),
    }
    if given is not None:
        prior = replace(config, prompt=config.class_prompt)
        parts["class"] = [given.hash, *([i.repeats, caption(i, prior)] for i in given.items)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def metadata(
    data: ImageSet,
    model: str | Path,
    config: PersonalizeConfig,
    pipeline: Pipeline,
    training: TrainingData,
    *,
    out: Path,
    run: str,
    loss: float,
    prior: TrainingData | None = None,
) -> dict[str, str]:
    """All metadata of an adapter file; names are given without folders.

    Parameters
    ----------
    data : ImageSet
        The images.
    model : str or Path
        The base model.
    config : PersonalizeConfig
        The settings.
    pipeline : Pipeline
        The loaded base model.
    training : TrainingData
        The prepared data.
    out : Path
        The adapter file.
    run : str
        The :func:`run_signature`.
    loss : float
        The final training loss.
    prior : TrainingData or None
        The class images.

    Returns
    -------
    dict of str to str
        Values by key.
    """
    size = training_size(pipeline, config)
    values: dict[str, object] = {
        **_kohya(data, model, config, pipeline, training),
        "ss_output_name": out.stem,
        "ss_num_reg_images": 0 if prior is None else len(prior.rows),
        "modelspec.architecture": _architecture(pipeline, config),
        "modelspec.date": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
        "modelspec.implementation": "siren-ext",
        "modelspec.prediction_type": _prediction(pipeline),
        "modelspec.resolution": f"{size}x{size}",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": out.stem,
        "siren_base_fingerprint": pipelines.model_fingerprint(model),
        "siren_data_hash": data.hash,
        "siren_settings": json.dumps(config.to_dict()),
        "siren_loss": f"{loss:.6f}",
        RUN_KEY: run,
    }
    return {key: value if isinstance(value, str) else str(value) for key, value in values.items()}


def _kohya(
    data: ImageSet,
    model: str | Path,
    config: PersonalizeConfig,
    pipeline: Pipeline,
    training: TrainingData,
) -> dict[str, object]:
    """The ``ss_`` keys that sd-scripts would write."""
    size, epochs = training_size(pipeline, config), training.epochs(config)
    folders, tags = _folders(data, config)
    return {
        **_network(config),
        "ss_adaptive_noise_scale": None,
        "ss_base_model_version": "sd_v2" if _second(pipeline) else "sd_v1",
        "ss_batch_size_per_device": config.batch_size // config.accumulation or 1,
        "ss_cache_latents": True,
        "ss_caption_dropout_rate": config.caption_dropout,
        "ss_clip_skip": None,
        "ss_dataset_dirs": json.dumps(folders),
        "ss_epoch": epochs,
        "ss_gradient_accumulation_steps": config.accumulation,
        "ss_gradient_checkpointing": config.gradient_checkpointing,
        "ss_learning_rate": config.learning_rate,
        "ss_lr_scheduler": config.schedule,
        "ss_lr_warmup_steps": config.warmup,
        "ss_max_grad_norm": config.max_grad_norm,
        "ss_max_train_steps": config.steps,
        "ss_min_snr_gamma": config.snr_gamma or None,
        "ss_mixed_precision": "bf16" if pipeline.unet.dtype.itemsize == 2 else "no",
        "ss_num_epochs": epochs,
        "ss_num_train_images": len(training.rows),
        "ss_optimizer": f"torch.optim.AdamW(weight_decay={config.weight_decay})",
        "ss_resolution": f"({size}, {size})",
        "ss_sd_model_name": pipelines.model_name(model),
        "ss_seed": config.seed,
        "ss_steps": config.steps,
        "ss_tag_frequency": json.dumps(tags, ensure_ascii=False),
        "ss_text_encoder_lr": config.learning_rate if config.train_text_encoder else None,
        "ss_training_finished_at": time.time(),
        "ss_unet_lr": config.learning_rate,
        "ss_v2": _second(pipeline),
    }


def _network(config: PersonalizeConfig) -> dict[str, object]:
    """The keys that describe a LoRA; none for other methods."""
    if config.method != "lora":
        return {}
    more: dict[str, str] = {}
    if config.conv_rank:
        more = {"conv_dim": str(config.conv_rank), "conv_alpha": str(config.conv_alpha)}
    return {
        "ss_network_alpha": config.alpha,
        "ss_network_args": json.dumps(more),
        "ss_network_dim": config.rank,
        "ss_network_module": "networks.lora",
    }


def _architecture(pipeline: Pipeline, config: PersonalizeConfig) -> str:
    """The architecture, as the model specification names it: the base, and the kind of adapter."""
    base = f"stable-diffusion-v{2 if _second(pipeline) else 1}"
    return base if config.method in WHOLE_MODELS else f"{base}/{config.method}"


def _folders(
    data: ImageSet, config: PersonalizeConfig
) -> tuple[dict[str, dict[str, int]], dict[str, Counter[str]]]:
    """Repeats and image counts, and how often each tag occurs, by kohya's folder name."""
    folders: dict[str, dict[str, int]] = {}
    tags: dict[str, Counter[str]] = {}
    for item in data.items:
        folder = f"{item.repeats}_{item.class_words or data.name}"
        entry = folders.setdefault(folder, {"n_repeats": item.repeats, "img_count": 0})
        entry["img_count"] += 1
        words = (tag.strip() for tag in caption(item, config).split(","))
        tags.setdefault(folder, Counter()).update(tag for tag in words if tag)
    return folders, tags


def _second(pipeline: Pipeline) -> bool:
    """Whether the model is Stable Diffusion 2.x, by the width of its text encoder."""
    return int(pipeline.unet.config.cross_attention_dim) == 1024


def _prediction(pipeline: Pipeline) -> str:
    """The prediction type, as the model specification names it."""
    return "v" if pipelines.prediction_type(pipeline) == "v_prediction" else "epsilon"
