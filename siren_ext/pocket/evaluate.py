"""Measure the pocket model and fill its model card.

Writes ``metrics.json``, ``contact_sheet.png`` and ``MODEL_CARD.md``: reconstruction by the
autoencoder, a sheet of 32 prompts, distances to the corpus in EfficientNet-Lite0 features, and how
many pictures of the largest photo classes a linear classifier recognises. Features of the corpus
are stored in the output folder, so that measuring a later checkpoint is much faster.

Example: ``python -m siren_ext.pocket.evaluate --model M --corpus C --out O --photos faces``
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from siren_ext.diffusion.load import BUNDLED, SMALL, Pipeline, load_pipeline, model_fingerprint
from siren_ext.diffusion.pipelines import native_size
from siren_ext.files import atomic, write_json
from siren_ext.pocket.card import SHEET_PROMPTS, contact_sheet, write_card
from siren_ext.pocket.fidelity import Eff0
from siren_ext.pocket.measure import (
    EvaluateConfig,
    generate,
    measure_distances,
    measure_recognition,
    measure_reconstruction,
)
from siren_ext.pocket.reference import Corpus

log = logging.getLogger(__name__)


def describe(
    pipeline: Pipeline, model: Path, corpus: Corpus, pictures: int | None = None
) -> dict[str, Any]:
    """Facts about the model for the card.

    Parameters
    ----------
    pipeline : Pipeline
        The model.
    model : Path
        Its folder.
    corpus : Corpus
        The corpus.
    pictures : int | None
        How many of its pictures the model was trained on; None for all.

    Returns
    -------
    dict
        Title, what the UNet predicts, pictures it was trained on, size of pictures, fingerprint,
        bytes on disk, parameters of each part, sampler, and number of pictures in the corpus.
    """
    counted = {"UNet": "unet", "text encoder": "text_encoder", "autoencoder": "vae"}
    return {
        "name": "Small pocket model" if model.name == BUNDLED[SMALL] else "Pocket model",
        "prediction": pipeline.scheduler.config.prediction_type,
        "pictures": pictures or len(corpus),
        "size": native_size(pipeline),
        "fingerprint": model_fingerprint(model),
        "bytes": sum(path.stat().st_size for path in model.rglob("*.safetensors")),
        "parameters": {
            name: sum(p.numel() for p in getattr(pipeline, part).parameters())
            for name, part in counted.items()
        },
        "scheduler": type(pipeline.scheduler).__name__,
        "corpus_images": len(corpus),
    }


def evaluate(
    model: Path,
    corpus_folder: Path,
    out: Path,
    config: EvaluateConfig,
    *,
    unseen: Sequence[tuple[str, Path]] = (),
    training: dict[str, Any] | None = None,
    pictures: int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure everything and write the three files.

    Parameters
    ----------
    model : Path
        Diffusers folder of the model.
    corpus_folder : Path
        Folder of :mod:`siren_ext.pocket.corpus`.
    out : Path
        Folder to write to.
    config : EvaluateConfig
        How much to measure.
    unseen : sequence of (str, Path)
        ``photo`` or ``drawing``, and a folder, for the autoencoder.
    training : dict or None
        Names and values for the card's table of the training.
    pictures : int or None
        How many of the corpus's pictures the model was trained on; None for all.
    device : str
        Where to run; ``auto`` as in :func:`siren_ext.devices.pick_device`.

    Returns
    -------
    dict
        The content of ``metrics.json``.

    Raises
    ------
    DatasetError
        If a folder has no usable pictures.
    ModelError
        If the model cannot be loaded.
    MissingExtraError
        If the packages of the extra ``pocket`` are not installed.
    """
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    corpus, backbone = Corpus(corpus_folder, out), Eff0()
    pipeline = load_pipeline(model, device=device)
    pipeline.vae.to(torch.float32)  # reconstruction figures must not depend on number formats
    made = torch.cat(list(generate(pipeline, SHEET_PROMPTS, config, first_seed=config.seed)))
    with atomic(out / "contact_sheet.png") as temporary:
        contact_sheet(list(made), SHEET_PROMPTS).save(temporary, optimize=True)
    metrics = {
        "model": describe(pipeline, model, corpus, pictures),
        "settings": config.to_dict(),
        "corpus_counts": dict(Counter(corpus.sources)),
        "training": training,
        "reconstruction": measure_reconstruction(pipeline, corpus, unseen, config),
        "eff0": measure_distances(pipeline, corpus, backbone, config),
        "recognition": measure_recognition(pipeline, corpus, backbone, config),
        "seconds": round(time.monotonic() - began, 1),
    }
    write_json(out / "metrics.json", metrics)
    write_card(metrics, out / "MODEL_CARD.md")
    return metrics


def main() -> None:
    """Command line of the evaluation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="diffusers folder")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="unseen photo folders")
    parser.add_argument("--drawings", type=Path, nargs="*", default=[], help="unseen drawings")
    parser.add_argument("--training-log", type=Path, help="JSON object for the card's table")
    parser.add_argument("--pictures", type=int, help="the model was trained on so many (all)")
    parser.add_argument("--device", default="auto")
    for field in dataclasses.fields(EvaluateConfig):
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=type(field.default), default=field.default)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    training = None
    if args.training_log:
        training = json.loads(args.training_log.read_text(encoding="utf-8"))
    settings = {f.name: getattr(args, f.name) for f in dataclasses.fields(EvaluateConfig)}
    unseen = [("photo", path) for path in args.photos]
    unseen += [("drawing", path) for path in args.drawings]
    evaluate(
        args.model,
        args.corpus,
        args.out,
        EvaluateConfig(**settings),
        unseen=unseen,
        training=training,
        pictures=args.pictures,
        device=args.device,
    )
    log.info("wrote %s", args.out / "MODEL_CARD.md")


if __name__ == "__main__":
    main()
