"""Measure the pocket model and fill its model card.

Writes ``metrics.json``, ``contact_sheet.png`` and ``MODEL_CARD.md``: reconstruction by the
autoencoder, a sheet of 32 prompts, distances to the corpus in EfficientNet-Lite0 features, and how
many pictures of the largest photo classes a linear classifier recognises. Features of the corpus
are kept in the output folder, so that a later checkpoint is measured in a fraction of the time.

Example: ``python -m siren_ext.pocket.evaluate --model M --corpus C --out O --photos faces``
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from siren_ext.config import Config
from siren_ext.data.images import quantise
from siren_ext.diffusion.load import Pipeline, load_pipeline, model_fingerprint
from siren_ext.diffusion.pipelines import decode_latents, encode_latents, native_size
from siren_ext.files import atomic, write_json
from siren_ext.metrics.quality import psnr
from siren_ext.pocket.card import SHEET_PROMPTS, contact_sheet, write_card
from siren_ext.pocket.fidelity import (
    Eff0,
    Features,
    LinearClassifier,
    frechet_distance,
    kernel_distance,
    principal_axes,
)
from siren_ext.pocket.reference import Corpus, Rows

log = logging.getLogger(__name__)

AXES = 64


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(Config):
    """How much is measured; the defaults take about half an hour on two cores."""

    generated: Annotated[int, Meta(ge=4, le=100_000)] = 1000
    # corpus pictures to compare with; 0: all that are left
    reference: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    classes: Annotated[int, Meta(ge=0, le=1000)] = 20
    per_class: Annotated[int, Meta(ge=1, le=1000)] = 20
    # photos per class for the classifier, so that two classes don't rule
    class_cap: Annotated[int, Meta(ge=5, le=100_000)] = 150
    reconstruct: Annotated[int, Meta(ge=1, le=100_000)] = 100  # pictures per set
    steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    guidance: Annotated[float, Meta(ge=0, le=50)] = 4.0
    batch: Annotated[int, Meta(ge=1, le=1000)] = 20
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


@torch.no_grad()
def generate(
    pipeline: Pipeline, prompts: Sequence[str], config: EvaluateConfig, *, first_seed: int
) -> Iterator[Tensor]:
    """Pictures of ``prompts`` in batches, BCHW in [0,1]; picture i depends on first_seed + i."""
    side = pipeline.unet.config.sample_size
    channels = pipeline.unet.config.in_channels
    for first in range(0, len(prompts), config.batch):
        chunk = list(prompts[first : first + config.batch])
        noise = [
            torch.randn(
                (channels, side, side), generator=torch.Generator().manual_seed(first_seed + i)
            )
            for i in range(first, first + len(chunk))
        ]
        latents = pipeline(
            chunk,
            latents=torch.stack(noise).to(pipeline.unet.device, pipeline.unet.dtype),
            num_inference_steps=config.steps,
            guidance_scale=config.guidance,
            height=native_size(pipeline),
            width=native_size(pipeline),
            output_type="latent",
        ).images
        # the pipeline's latents are scaled, as decode_latents expects
        yield quantise(decode_latents(pipeline, latents)).cpu()
        log.info("generated %d of %d", first + len(chunk), len(prompts))


@torch.no_grad()
def reconstruct(pipeline: Pipeline, images: Tensor) -> Tensor:
    """Pictures through the autoencoder and back, rounded to 8 bits."""
    return quantise(decode_latents(pipeline, encode_latents(pipeline, images))).cpu()


def reconstruction_row(pipeline: Pipeline, batches: Iterable[Tensor], kind: str) -> dict[str, Any]:
    """Mean and worst-tenth PSNR in dB of encode and decode over a set."""
    values = torch.cat([psnr(reconstruct(pipeline, batch), batch) for batch in batches]).numpy()
    return {
        "kind": kind,
        "pictures": len(values),
        "psnr_db": float(values.mean()),
        "psnr_db_p10": float(np.quantile(values, 0.1)),
    }


def measure_reconstruction(
    pipeline: Pipeline, corpus: Corpus, unseen: Sequence[tuple[str, Path]], config: EvaluateConfig
) -> dict[str, dict[str, Any]]:
    """PSNR of the autoencoder on corpus photos and drawings, the samples and ``unseen`` folders."""
    from siren_ext.data.dataset import ImageSet
    from siren_ext.samples.folder import sample_folder

    rng = np.random.default_rng((config.seed, 1))
    order = rng.permutation(len(corpus))
    result = {}
    for kind in ("photo", "drawing"):
        rows = [row for row in order if corpus.is_photo(row) == (kind == "photo")]
        picked = np.array(rows[: config.reconstruct], np.int64)
        if len(picked):
            result[f"corpus {kind}s"] = reconstruction_row(pipeline, corpus.tensors(picked), kind)
    for kind, folder in (("drawing", sample_folder()), *unseen):
        data = ImageSet.open(folder)
        items = data.items
        if len(items) > config.reconstruct:
            chosen = rng.permutation(len(items))[: config.reconstruct]
            items = tuple(items[i] for i in sorted(chosen))
        tensors = dataclasses.replace(data, items=items).tensors(native_size(pipeline))
        name = "sample set" if folder == sample_folder() else folder.name
        result[name] = reconstruction_row(pipeline, tensors, kind)
    return result


def compare(reference: Features, sets: dict[str, Features]) -> dict[str, dict[str, float]]:
    """Frechet distances (PCA and all features) and KID of each set to ``reference``."""
    axes = principal_axes(reference, AXES)
    return {
        name: {
            "fid_pca64": frechet_distance(reference @ axes, features @ axes),
            "fid": frechet_distance(reference, features),
            "kid": kernel_distance(reference, features),
        }
        for name, features in sets.items()
    }


def measure_distances(
    pipeline: Pipeline, corpus: Corpus, backbone: Eff0, config: EvaluateConfig
) -> dict[str, Any]:
    """Generated, reconstructed and real pictures of the same captions against other real ones."""
    order = np.random.default_rng((config.seed, 2)).permutation(len(corpus)).astype(np.int64)
    count = min(config.generated, len(order) // 2)
    real, rest = order[:count], order[count:]
    rest = rest[: config.reference] if config.reference else rest
    prompts = [corpus.captions[row] for row in real]
    made = backbone.many(generate(pipeline, prompts, config, first_seed=config.seed + 1_000_000))
    coded = backbone.many(reconstruct(pipeline, batch) for batch in corpus.tensors(real))
    sets = {"generated": made, "autoencoder": coded, "real": corpus.features(real, backbone)}
    reference = corpus.features(rest, backbone)
    real_photo = np.array([corpus.is_photo(row) for row in real])
    rest_photo = np.array([corpus.is_photo(row) for row in rest])
    everything = (np.full(len(real), True), np.full(len(rest), True))
    masks = {
        "all": everything,
        "photos": (real_photo, rest_photo),
        "drawings": (~real_photo, ~rest_photo),
    }
    result: dict[str, Any] = {}
    for part, (mine, theirs) in masks.items():
        if min(mine.sum(), theirs.sum()) < 2:
            continue  # no distance is defined
        figures = compare(reference[theirs], {k: v[mine] for k, v in sets.items()})
        result[part] = {"pictures": int(mine.sum()), "reference": int(theirs.sum()), **figures}
    return result


def split_photos(
    captions: Sequence[str], photos: Rows, cap: int, rng: np.random.Generator
) -> tuple[list[str], Rows, Rows]:
    """Class names (largest first) and shuffled (row, class) pairs to train on and to hold out.

    A class is a caption; at most ``cap`` pictures of it are used, a fifth of them held out.
    """
    members: dict[str, list[int]] = {}
    for row in photos:
        members.setdefault(captions[row], []).append(int(row))
    names = sorted(members, key=lambda name: (-len(members[name]), name))
    parts: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for label, name in enumerate(names):
        rows = rng.permutation(members[name])[:cap]
        held = max(1, len(rows) // 5)
        parts[1].extend((int(row), label) for row in rows[:held])
        parts[0].extend((int(row), label) for row in rows[held:])
    train, held_out = (np.array(p, np.int64).reshape(-1, 2) for p in parts)
    return names, train, held_out


def measure_recognition(
    pipeline: Pipeline, corpus: Corpus, backbone: Eff0, config: EvaluateConfig
) -> dict[str, Any] | None:
    """Share of generated pictures of the largest photo classes that a classifier recognises."""
    photos = np.array([r for r in range(len(corpus)) if corpus.is_photo(r)], np.int64)
    rng = np.random.default_rng((config.seed, 3))
    names, train, held = split_photos(corpus.captions, photos, config.class_cap, rng)
    if not config.classes or len(names) < 2:
        return None
    judge = LinearClassifier.fit(
        corpus.features(train[:, 0], backbone), train[:, 1], classes=len(names)
    )
    right = judge.predict(corpus.features(held[:, 0], backbone)) == held[:, 1]
    by_class = [right[held[:, 1] == label].mean() for label in np.unique(held[:, 1])]
    asked = names[: config.classes]
    same = held[held[:, 1] < len(asked)]
    coded = backbone.many(reconstruct(pipeline, b) for b in corpus.tensors(same[:, 0]))
    prompts = [name for name in asked for _ in range(config.per_class)]
    made = backbone.many(generate(pipeline, prompts, config, first_seed=config.seed + 2_000_000))
    wanted = np.repeat(np.arange(len(asked)), config.per_class)
    hits = (judge.predict(made) == wanted).reshape(len(asked), config.per_class)
    return {
        "classes": len(names),
        "chance": 1 / len(names),
        "train_pictures": len(train),
        "held_out_pictures": len(held),
        "held_out_accuracy": float(right.mean()),
        "held_out_accuracy_by_class": float(np.mean(by_class)),
        "held_out_same_classes": float(right[held[:, 1] < len(asked)].mean()),
        "held_out_autoencoder": float((judge.predict(coded) == same[:, 1]).mean()),
        "images_per_class": config.per_class,
        "recognised": float(hits.mean()),
        "per_class": {name: float(row.mean()) for name, row in zip(asked, hits, strict=True)},
    }


def describe(pipeline: Pipeline, model: Path, corpus: Corpus) -> dict[str, Any]:
    """Parameter counts, size on disk, hash and sampler of the model."""
    counted = {"UNet": "unet", "text encoder": "text_encoder", "autoencoder": "vae"}
    return {
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
    device: str = "auto",
) -> dict[str, Any]:
    """Measure everything, write the three files into ``out`` and give the figures.

    ``unseen``: (``photo`` or ``drawing``, folder) pairs for the autoencoder; ``training``: what the
    card says of the training (names and values). Raises :class:`DatasetError`,
    :class:`siren_ext.errors.ModelError`, :class:`siren_ext.errors.MissingExtraError`.
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
        "model": describe(pipeline, model, corpus),
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
        device=args.device,
    )
    log.info("wrote %s", args.out / "MODEL_CARD.md")


if __name__ == "__main__":
    main()
