"""Do attribution scores predict what training without some images would change?

The linear datamodelling score: small LoRAs are trained on random halves of a set, and for every
picture the summed scores of each half are compared with how well its LoRA denoises the picture
(Spearman's rank correlation over the halves, mean over pictures). D-TRAK and TRAK are compared with
similarities that need no LoRA, and with random scores. A stopped study resumes; ``--models`` may be
raised later.

References
----------
Park et al. (2023), "TRAK" (arXiv 2303.14186), Definition 2.3. Zheng et al. (2024), "Intriguing
properties of data attribution on diffusion models" (arXiv 2311.00500), section 3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from siren_ext.attribution.config import AttributionConfig
from siren_ext.attribution.gradients import measure_gradients
from siren_ext.attribution.influence import influence
from siren_ext.cli.common import say, watched
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import Denoiser, denoiser
from siren_ext.diffusion.patches import descriptors, patch_similarity
from siren_ext.experiments.attribution_models import HalfSets
from siren_ext.experiments.layout import open_log
from siren_ext.experiments.options import StudyImages
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.study import open_set, spread_evenly
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.suspects.local import LocalSuspect

Floats = NDArray[np.float64]

RIDGES = (0.01, 0.1, 1.0, 10.0)
REPEATS = 500
TIMES = 10  # noise levels of each gradient
_RANDOM = 200  # draws of random scores
_TAILS = (2.5, 97.5)


def datamodelling(
    scores: Floats, members: NDArray[np.bool_], losses: Floats, *, seed: int = 0
) -> tuple[float, float, float]:
    """The linear datamodelling score, with a 95 % bootstrap interval.

    Parameters
    ----------
    scores : array, shape (q, n)
        Scores of n images for q pictures.
    members : array, shape (m, n)
        Which images each of m models was trained on.
    losses : array, shape (m, q)
        Loss of each model on each picture.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    value, low, high : float
        Mean over pictures of Spearman's correlation, from -1 to 1, between the summed scores of a
        model's images and its negative loss. The bootstrap draws models and pictures anew.
    """
    # summed in one order for all models, so that equal sets of images are ties on any processor
    predicted = np.einsum("mn,qn->mq", np.asarray(members, dtype=np.float64), scores)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(REPEATS):
        models = rng.integers(len(members), size=len(members))
        pictures = rng.integers(len(scores), size=len(scores))
        drawn.append(_spearman(predicted[models], -losses[models])[pictures].mean())
    low, high = np.percentile(drawn, _TAILS)
    return float(_spearman(predicted, -losses).mean()), float(low), float(high)


def _spearman(one: Floats, other: Floats) -> Floats:
    """Rank correlation of each column; 0 where a column is constant."""
    from scipy.stats import rankdata

    ranks = [rankdata(part, axis=0) for part in (one, other)]
    first, second = (part - part.mean(axis=0) for part in ranks)
    size = np.sqrt((first**2).sum(axis=0) * (second**2).sum(axis=0))
    return np.asarray((first * second).sum(axis=0) / np.where(size > 0, size, 1.0))


def similarities(model: LocalSuspect, pictures: ImageSet, data: ImageSet) -> dict[str, Floats]:
    """Scores that need no LoRA, each of shape (pictures, images).

    Parameters
    ----------
    model : LocalSuspect
        The base model, in float32.
    pictures, data : ImageSet
        The pictures, and the images.

    Returns
    -------
    dict[str, array]
        ``patches``; ``pixels``, the negative mean squared difference; ``latents``, the cosine of
        the autoencoder's latents; ``features``, the cosine of the denoiser's deepest activations,
        as a stand-in for an embedding such as CLIP's, which is not bundled.
    """
    pipeline = model.pipeline
    size = denoiser(pipeline).native_size
    patches = patch_similarity(*(descriptors(pipeline, x, size) for x in (pictures, data)))
    pixels, latents, features = [], [], []
    for images in (pictures, data):
        views = torch.cat(list(images.tensors(size)))
        with torch.no_grad():
            coded = torch.cat([pipelines.encode_latents(pipeline, view[None]) for view in views])
        pixels.append(views.flatten(1))
        latents.append(coded.flatten(1).cpu())
        features.append(_deepest(denoiser(pipeline), coded, size))
    return {
        "patches": patches.mean(axis=1),
        "pixels": -torch.cdist(pixels[0], pixels[1]).square().double().numpy(),
        "latents": _cosine(*latents),
        "features": _cosine(*features),
    }


def _cosine(one: Tensor, other: Tensor) -> Floats:
    """Cosines of rows, after the mean of the second set was subtracted."""
    centre = other.mean(0)
    first, second = (functional.normalize(part - centre, dim=1) for part in (one, other))
    found: Floats = (first @ second.T).double().numpy()
    return found


@torch.no_grad()
def _deepest(model: Denoiser, latents: Tensor, size: int) -> Tensor:
    """Means over the places of what the middle of the UNet makes of clean latents, B x width."""
    found: list[Tensor] = []
    handle = model.network.mid_block.register_forward_hook(
        lambda _module, _inputs, output: found.append(output.mean((2, 3)).cpu())
    )
    try:
        model.noise_in(latents, 0, model.condition([""] * len(latents), size))
    finally:
        handle.remove()
    return found[0]


def gradient_scores(
    study: HalfSets, config: AttributionConfig
) -> dict[str, dict[float, dict[str, Floats]]]:
    """Scores by D-TRAK and TRAK, by ridge and kind of pictures.

    Parameters
    ----------
    study : HalfSets
        Gives the LoRA of the whole set, images and pictures.
    config : AttributionConfig
        How gradients are measured; the output is both of its values in turn.

    Returns
    -------
    dict
        ``found[method][ridge][kind]``, an array of shape (pictures, images).
    """
    model = LocalSuspect(study.base, study.adapter, device=study.device, dtype=torch.float32)
    found: dict[str, dict[float, dict[str, Floats]]] = {}
    for name, output in (("D-TRAK", "norm"), ("TRAK", "loss")):
        chosen = AttributionConfig.from_dict(config.to_dict() | {"output": output})
        means = {
            kind: measure_gradients(
                model,
                pictures,
                chosen,
                cache=study.out / f"gradients_{output}.safetensors",
                progress=study.progress,
            ).values.mean(axis=1)
            for kind, pictures in study.pictures.items()
        }
        found[name] = {
            ridge: {
                kind: influence(asked.astype(np.float64), means["own"].astype(np.float64), ridge)
                for kind, asked in means.items()
            }
            for ridge in RIDGES
        }
    return found


def rows_of(
    scores: Mapping[str, Mapping[str, Floats]],
    members: NDArray[np.bool_],
    losses: Mapping[str, Floats],
) -> list[dict[str, Any]]:
    """The table: a row per method and kind of pictures.

    Parameters
    ----------
    scores : Mapping[str, Mapping[str, array]]
        ``scores[method][kind]``, of shape (pictures, images).
    members : array, shape (m, n)
        Which images each model was trained on.
    losses : Mapping[str, array]
        By kind, of shape (m, pictures).
    """
    rows = []
    for kind, lost in losses.items():
        for method, found in scores.items():
            value, low, high = datamodelling(found[kind], members, lost)
            rows.append(_row(method, kind, value, low, high, lost))
        rng = np.random.default_rng(1)
        shape = (_RANDOM, lost.shape[1], members.shape[1])
        values = [_spearman(members @ one.T, -lost).mean() for one in rng.standard_normal(shape)]
        low, high = np.percentile(values, _TAILS)
        rows.append(_row("random", kind, float(np.mean(values)), float(low), float(high), lost))
    return rows


def _row(
    method: str, kind: str, value: float, low: float, high: float, lost: Floats
) -> dict[str, Any]:
    return {
        "method": method,
        "pictures": kind,
        "score": round(value, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "models": lost.shape[0],
        "count": lost.shape[1],
    }


def open_study(data: ImageSet, images: int, others: int, **options: Any) -> HalfSets:
    """A study of some images of a set, and other images of it that no model is trained on.

    Parameters
    ----------
    data : ImageSet
        The set.
    images, others : int
        How many of it are the owner's, and how many of the rest are held out; evenly spread.
    **options
        The other fields of :class:`~siren_ext.experiments.attribution_models.HalfSets`.
    """
    own = spread_evenly(list(data.items), images)
    left = spread_evenly([item for item in data.items if item not in own], others)
    first, second = (dataclasses.replace(data, items=tuple(part)) for part in (own, left))
    return HalfSets(first, second, **options)


app = typer.Typer(add_completion=False)


@app.command()
def attribution_scores(
    out: Annotated[Path, typer.Option("--out", help="Folder of the study.")],
    data: StudyImages = "samples",
    base: Annotated[str, typer.Option("--base", help="Base model.")] = "pocket",
    images: Annotated[int, typer.Option("--images", min=4, help="Images of the set.")] = 16,
    others: Annotated[int, typer.Option("--others", min=1, help="Held-out images.")] = 6,
    models: Annotated[int, typer.Option("--models", min=4, help="LoRAs of half sets.")] = 64,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Training steps of each.")] = 80,
    noises: Annotated[int, typer.Option("--noises", min=2, help="Noises per image.")] = 5,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    table: Annotated[
        Path | None, typer.Option("--table", help="CSV table; by default in the folder.")
    ] = None,
) -> None:
    """Train LoRAs on half sets, and test how well scores of attribution predict their losses."""
    known = open_set(data)
    identity = {"data": known.hash, "base": base, "images": images, "others": others}
    open_log(out, identity | {"steps": steps})
    training = PersonalizeConfig(
        steps=steps,
        batch_size=4,
        rank=8,
        alpha=8.0,
        conv_rank=0,
        learning_rate=2e-3,
        flip=False,
    )
    with watched(False) as progress:
        study = open_study(
            known,
            images,
            others,
            base=base,
            out=out,
            training=training,
            device=device,
            progress=progress,
        )
        lost = [study.losses(number) for number in range(models)]
        members = np.zeros((models, images), dtype=bool)
        for number in range(models):
            members[number, study.chosen(number)] = True
        scores: dict[str, dict[str, Floats]] = {}
        for method, by_ridge in gradient_scores(
            study, AttributionConfig(times=TIMES, noises=noises)
        ).items():
            for ridge, found in by_ridge.items():
                scores[f"{method}, ridge {ridge:g}"] = found
        plain = LocalSuspect(base, device=device, dtype=torch.float32)
        for kind, pictures in study.pictures.items():
            for method, values in similarities(plain, pictures, study.data).items():
                scores.setdefault(method, {})[kind] = values
    losses = {kind: np.array([one[kind] for one in lost]) for kind in study.pictures}
    rows = rows_of(scores, members, losses)
    write_rows(rows, table or out / "attribution.csv")
    for row in rows:
        say(
            f"{row['pictures']}, {row['method']}: {row['score']:.3f} ({row['low']:.3f} to "
            f"{row['high']:.3f}), {row['models']} models, {row['count']} pictures"
        )


if __name__ == "__main__":
    app()
