"""Measurements of the pocket model: reconstruction, distances to real pictures, recognition."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from siren_ext.config import Config
from siren_ext.data.images import quantise
from siren_ext.diffusion.load import Pipeline
from siren_ext.diffusion.pipelines import decode_latents, encode_latents, native_size
from siren_ext.metrics.quality import psnr
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
    """How much is measured; the defaults take about half an hour on two cores.

    Attributes
    ----------
    generated : int
        Pictures to generate for the distances.
    reference : int
        Corpus pictures to compare with; 0 for all others.
    classes, per_class : int
        Photo classes to generate for the classifier, and pictures of each.
    class_cap : int
        Most photos of a class for training the classifier, so that two large classes do not
        dominate.
    reconstruct : int
        Pictures of each set for the autoencoder.
    steps, guidance : int, float
        Sampling steps and guidance scale.
    batch : int
        Pictures per batch.
    seed : int
        Seed of all random numbers.
    """

    generated: Annotated[int, Meta(ge=4, le=100_000)] = 1000
    reference: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    classes: Annotated[int, Meta(ge=0, le=1000)] = 20
    per_class: Annotated[int, Meta(ge=1, le=1000)] = 20
    class_cap: Annotated[int, Meta(ge=5, le=100_000)] = 150
    reconstruct: Annotated[int, Meta(ge=1, le=100_000)] = 100
    steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    guidance: Annotated[float, Meta(ge=0, le=50)] = 4.0
    batch: Annotated[int, Meta(ge=1, le=1000)] = 20
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


@torch.no_grad()
def generate(
    pipeline: Pipeline, prompts: Sequence[str], config: EvaluateConfig, *, first_seed: int
) -> Iterator[Tensor]:
    """Generate a picture for each prompt.

    Parameters
    ----------
    pipeline : Pipeline
        The model.
    prompts : sequence of str
        One per picture.
    config : EvaluateConfig
        Gives the batch size, steps and guidance.
    first_seed : int
        Picture i has the seed ``first_seed + i``.

    Yields
    ------
    Tensor
        B x 3 x H x W in [0,1], rounded to 8 bits.
    """
    side = pipeline.unet.config.sample_size
    channels = pipeline.unet.config.in_channels
    for first in range(0, len(prompts), config.batch):
        chunk = list(prompts[first : first + config.batch])
        drawn = [torch.Generator().manual_seed(first_seed + first + i) for i in range(len(chunk))]
        noise = [torch.randn((channels, side, side), generator=one) for one in drawn]
        latents = pipeline(
            chunk,
            latents=torch.stack(noise).to(pipeline.unet.device, pipeline.unet.dtype),
            generator=drawn,  # of what some samplers add in their steps
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
    """Encode and decode pictures.

    Parameters
    ----------
    pipeline : Pipeline
        The model.
    images : Tensor
        B x 3 x H x W in [0,1].

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1], rounded to 8 bits.
    """
    return quantise(decode_latents(pipeline, encode_latents(pipeline, images))).cpu()


def reconstruction_row(pipeline: Pipeline, batches: Iterable[Tensor], kind: str) -> dict[str, Any]:
    """PSNR of encoding and decoding a set.

    Parameters
    ----------
    pipeline : Pipeline
        The model.
    batches : iterable of Tensor
        B x 3 x H x W in [0,1].
    kind : {"photo", "drawing"}
        What the pictures are.

    Returns
    -------
    dict
        ``kind``, ``pictures``, and mean and 10 % quantile in dB as ``psnr_db`` and
        ``psnr_db_p10``.
    """
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
    """PSNR of the autoencoder on the corpus, the bundled samples and further folders.

    Parameters
    ----------
    pipeline : Pipeline
        The model.
    corpus : Corpus
        The corpus.
    unseen : sequence of (str, Path)
        ``photo`` or ``drawing``, and a folder.
    config : EvaluateConfig
        Gives the number of pictures and the seed.

    Returns
    -------
    dict
        A :func:`reconstruction_row` by name of the set.
    """
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
    """Distances of feature sets to a reference.

    Parameters
    ----------
    reference : array
        m x d.
    sets : dict of str to array
        Each n x d.

    Returns
    -------
    dict
        For each set ``fid_pca64`` (in the reference's 64 principal directions), ``fid`` and
        ``kid``.
    """
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
    """Distances of generated, reconstructed and real pictures to other real pictures.

    All three sets have the same captions.

    Parameters
    ----------
    pipeline : Pipeline
        The model.
    corpus : Corpus
        The corpus.
    backbone : Eff0
        Gives the features.
    config : EvaluateConfig
        Gives the numbers of pictures and the seed.

    Returns
    -------
    dict
        Figures of :func:`compare` for ``all``, ``photos`` and ``drawings``.
    """
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
    """Split photos for a classifier whose classes are their captions.

    Parameters
    ----------
    captions : sequence of str
        Captions of the whole corpus.
    photos : int array
        Rows of the photos.
    cap : int
        Most pictures of a class; a fifth of them are held out.
    rng : numpy.random.Generator
        Chooses them.

    Returns
    -------
    names : list of str
        Classes, the largest first.
    train, held_out : int array, shape (n, 2)
        Row and class of each picture.
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
    """Share of generated pictures whose class a classifier recognises.

    Parameters
    ----------
    pipeline : Pipeline
        The model.
    corpus : Corpus
        The corpus.
    backbone : Eff0
        Gives the features.
    config : EvaluateConfig
        Gives the numbers of classes and pictures and the seed.

    Returns
    -------
    dict or None
        Accuracies in [0,1]; None if there are fewer than two classes.
    """
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
