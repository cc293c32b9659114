"""Where the signal is lost on its way from the coated files to the guilty model's images.

Three questions, each answered by an area under the curve: does the coating *survive* the resizing,
autoencoder and noise of training (coated against clean images, processed by the clean model); has
the guilty model *learnt* it (clean images denoised by the guilty against the innocent model, from
the same noise); and is it *seen* in generated images (the study's main result)?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.experiments.measures import area
from siren_ext.progress import Progress
from siren_ext.training.surrogate import DiffusionSurrogate

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

Pair = tuple[Path, Path]
Change = Callable[[Tensor, torch.Generator], Tensor]

AS_WRITTEN = "as written"
RESIZED = "resized for the model"
ROUND_TRIP = "autoencoder round trip"
_BATCH = 8


def denoised(level: int) -> str:
    """Name of the stage at a noise step.

    Parameters
    ----------
    level : int
        noise step.

    Returns
    -------
    str
        for tables.
    """
    return f"noise to t = {level}, one-step denoise"


def load_surrogate(base: str | Path, adapter: Path, prompt: str, device: str) -> DiffusionSurrogate:
    """Load a frozen model for one prompt.

    Parameters
    ----------
    base : str | Path
        base model.
    adapter : Path
        LoRA to merge into it.
    prompt : str
        the prompt of all its predictions.
    device : str
        auto or a torch device name.

    Returns
    -------
    DiffusionSurrogate
        the model.
    """
    from siren_ext.suspects.local import LocalSuspect

    return DiffusionSurrogate(LocalSuspect(base, adapter, device=device).pipeline, prompt)


def usable_levels(surrogate: DiffusionSurrogate, levels: Sequence[int]) -> tuple[int, ...]:
    """Keep the noise steps that a model's schedule has.

    Parameters
    ----------
    surrogate : DiffusionSurrogate
        the model.
    levels : Sequence[int]
        wanted noise steps.

    Returns
    -------
    tuple[int, ...]
        those below the length of the schedule.
    """
    return tuple(level for level in levels if level < len(surrogate.kept))


@torch.no_grad()
def survival(
    pairs: Sequence[Pair],
    surrogate: DiffusionSurrogate,
    coater: Coater,
    levels: Sequence[int],
    *,
    seed: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Compare coated with clean images after each stage, with equal noise.

    Parameters
    ----------
    pairs : Sequence[Pair]
        (original, coated file) paths.
    surrogate : DiffusionSurrogate
        a model that never saw a coated image.
    coater : Coater
        measures the images.
    levels : Sequence[int]
        noise steps of the one-step denoising.
    seed : int
        of the noise.
    progress : Progress
        receives every pair; may cancel.

    Returns
    -------
    list[dict[str, Any]]
        for each stage its name, ``auc`` with standard error ``se``, and ``kept``: the share of the
        coating's amplitude that is left, by regression on the coating that was added (1: all; None
        before the first change).
    """
    changes: dict[str, Change] = {
        RESIZED: lambda images, _: images,
        ROUND_TRIP: lambda images, _: surrogate.round_trip(images),
        **_denoisers(surrogate, levels),
    }
    scores: dict[str, tuple[list[float], list[float]]] = {
        name: ([], []) for name in (AS_WRITTEN, *changes)
    }
    left, power = dict.fromkeys(changes, 0.0), 0.0
    progress.stage("Measuring signal loss", len(pairs))
    for first in range(0, len(pairs), _BATCH):
        views = []
        for which in (0, 1):
            images = [_read(pair[which], coater.device) for pair in pairs[first : first + _BATCH]]
            scores[AS_WRITTEN][which].extend(float(coater.score(image)[0]) for image in images)
            views.append(torch.cat([crop_view(image, surrogate.resolution) for image in images]))
        added = views[1] - views[0]
        power += float(added.square().sum())
        for name, change in changes.items():
            # Equal noise for both, so that only the coating differs.
            after = [change(view, _generator(seed, first)) for view in views]
            left[name] += float(((after[1] - after[0]) * added).sum())
            for which in (0, 1):
                scores[name][which].extend(coater.score(after[which]).tolist())
        progress.advance(len(views[0]))
    return [
        {
            "stage": name,
            **_area_row(coated, clean),
            "kept": left[name] / power if name in left and power else None,
        }
        for name, (clean, coated) in scores.items()
    ]


@torch.no_grad()
def denoised_scores(
    images: Sequence[Path],
    surrogate: DiffusionSurrogate,
    coater: Coater,
    levels: Sequence[int],
    *,
    seed: int,
    progress: Progress,
) -> dict[str, list[float]]:
    """Score clean images that a model denoised in one step.

    Parameters
    ----------
    images : Sequence[Path]
        clean files.
    surrogate : DiffusionSurrogate
        the model.
    coater : Coater
        measures the images.
    levels : Sequence[int]
        noise steps.
    seed : int
        of the noise, which is the same for the same images and seed.
    progress : Progress
        receives every image; may cancel.

    Returns
    -------
    dict[str, list[float]]
        a score per image, by stage.
    """
    changes = _denoisers(surrogate, levels)
    scores: dict[str, list[float]] = {name: [] for name in changes}
    progress.stage("Denoising clean images", len(images))
    for first in range(0, len(images), _BATCH):
        paths = images[first : first + _BATCH]
        views = [crop_view(_read(path, coater.device), surrogate.resolution) for path in paths]
        batch = torch.cat(views)
        for name, change in changes.items():
            after = change(batch, _generator(seed, first))
            scores[name] += coater.score(after).tolist()
        progress.advance(len(batch))
    return scores


def learnt(
    guilty: dict[str, list[float]], innocent: dict[str, list[float]]
) -> list[dict[str, Any]]:
    """Measure how well the guilty model's denoised images differ from the innocent one's.

    Parameters
    ----------
    guilty, innocent : dict[str, list[float]]
        of :func:`denoised_scores`.

    Returns
    -------
    list[dict[str, Any]]
        ``auc`` and its standard error ``se``, by stage.
    """
    return [{"stage": name, **_area_row(guilty[name], innocent[name])} for name in guilty]


def _denoisers(surrogate: DiffusionSurrogate, levels: Sequence[int]) -> dict[str, Change]:
    def at(level: int) -> Change:
        return lambda images, generator: surrogate.renoise(
            images, level, level + 1, generator=generator
        )

    return {denoised(level): at(level) for level in levels}


def _generator(seed: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + number)


def _area_row(low: Sequence[float], high: Sequence[float]) -> dict[str, float]:
    found = area(low, high)
    return {"auc": found.value, "se": found.error}


def _read(path: Path, device: torch.device) -> Tensor:
    return to_tensor(read_picture(path).rgb).to(device)
