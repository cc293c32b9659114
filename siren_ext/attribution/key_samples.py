"""Chooses key samples: captions and images on which the source behaves as no other model does.

The published text names two strategies, detection-based and generation-based, and does not give
them. Both are reconstructions that other functions with the same result can replace: see
:data:`Strategy`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from siren_ext.attribution.distances import Distance, Floats
from siren_ext.attribution.key_queries import Asking, KeySample, nearest_of, picture_view
from siren_ext.attribution.source_config import DELTA
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.suspects.base import Suspect
from siren_ext.text import printable

NEAR_COPY = 0.95
"""Correlation of two small views from which on images count as copies, as in
:mod:`siren_ext.passive.image_facts`."""
FEWEST_KEYS = 2
NO_CAPTION = "an image"

_TIE = 2  # digits: source distances that are equal to so many are ranked by their stability
_THUMBNAIL = 32
_GENERATION_SEED = 500_000_000  # far from the seeds with which models are asked for key samples


@dataclass(frozen=True)
class Selection:
    """Key samples, best first, and how they were chosen.

    Attributes
    ----------
    keys : tuple of KeySample
        With the source's distance, and with the base model's if there is one.
    strategy : str
        detection, generation or random.
    candidates : int
        Pairs or captions that were looked at.
    copies, shared : int
        Candidates that were dropped as near copies of better ones, and because the base model
        reproduces them as well.
    notes : tuple of str
        Sentences that a report needs.
    """

    keys: tuple[KeySample, ...]
    strategy: str
    candidates: int
    copies: int = 0
    shared: int = 0
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Counts as plain values, without the key samples."""
        return {
            "strategy": self.strategy,
            "candidates": self.candidates,
            "copies": self.copies,
            "shared": self.shared,
        }


Strategy = Callable[[Asking, Suspect, "Suspect | None"], Selection]
"""From the way of asking, the source and the public base model (or None) to key samples."""


def detection(data: ImageSet) -> Strategy:
    """Key samples among the source's training images: those it reproduces best.

    Parameters
    ----------
    data : ImageSet
        The source's training images, with the captions it was trained with.

    Returns
    -------
    Strategy
        Tries at most ``scan`` images, drawn at random. They are ranked by the distance of the
        nearest of ``repeats`` answers, and where these are equal to two digits, by the mean plus
        one standard deviation over the answers.
    """

    def choose(asking: Asking, source: Suspect, base: Suspect | None) -> Selection:
        candidates = image_candidates(data, asking.config.scan, asking.config.seed)
        found = asking.answers("source", source, candidates)
        order = np.lexsort((_stability(found.distances), np.round(found.nearest, _TIE)))
        known = [int(row) for row in order if not np.isnan(found.nearest[row])]
        ranked = [replace(candidates[row], distance=float(found.nearest[row])) for row in known]
        return _best(ranked, "detection", len(candidates), asking, base)

    return choose


def generation(captions: Sequence[str]) -> Strategy:
    """Key samples among the source's own pictures: captions that give the same one again and again.

    Parameters
    ----------
    captions : sequence of str
        The owner's captions, or public ones.

    Returns
    -------
    Strategy
        Makes ``pictures`` of each caption. Those of one caption up to ``cluster`` apart are
        neighbours; the picture with most neighbours is the key image, and captions are ranked by
        the mean distance among it and its neighbours.

    References
    ----------
    Carlini et al. (2023), "Extracting training data from diffusion models" (arXiv 2301.13188),
    section 4.2, for memorised captions as clusters of generated pictures.
    """
    texts = list(dict.fromkeys(captions))

    def choose(asking: Asking, source: Suspect, base: Suspect | None) -> Selection:
        config = asking.config
        limit = config.cluster or config.delta or DELTA
        shifted = replace(asking, config=replace(config, seed=_other_seed(config.seed)))
        made = shifted.pictures("source", source, texts, config.pictures)
        ranked: list[tuple[float, KeySample]] = []
        asking.progress.stage("Comparing pictures", len(texts))
        for place, text in enumerate(texts):
            files = [file for file in made[place :: len(texts)] if file is not None]
            found = memorised(files, asking.distance, asking.size, limit)
            if found is not None:
                image, spread = found
                ranked.append((spread, KeySample(image, text, printable(text)[:80])))
            asking.progress.advance()
        keys = [key for _, key in sorted(ranked, key=lambda one: one[0])]
        if len(keys) < FEWEST_KEYS:
            raise ConfigError(
                f"Of {len(texts)} captions, {len(keys)} give pictures that are at most {limit:g} "
                f"apart; expected {FEWEST_KEYS} or more. Give more captions, if possible those "
                "that the source was trained with, or a larger cluster."
            )
        own = asking.answers("source", source, keys).nearest
        known = [
            replace(key, distance=float(value))
            for key, value in zip(keys, own, strict=True)
            if not np.isnan(value)
        ]
        return _best(known, "generation", len(texts), asking, base)

    return choose


def at_random(data: ImageSet) -> Strategy:
    """Training images of the source drawn at random: the paper's second baseline.

    Parameters
    ----------
    data : ImageSet
        The source's training images.
    """

    def choose(asking: Asking, source: Suspect, base: Suspect | None) -> Selection:
        keys = image_candidates(data, asking.config.keys, asking.config.seed)
        return Selection(tuple(keys), "random", len(data))

    return choose


def image_candidates(data: ImageSet, most: int, seed: int) -> list[KeySample]:
    """Images of a set with their captions, drawn at random.

    Parameters
    ----------
    data : ImageSet
        The set.
    most : int
        Draw at most so many.
    seed : int
        Of the draw.
    """
    order = np.random.default_rng((seed, 19)).permutation(len(data))[:most]
    captions = data.captions(NO_CAPTION)
    return [
        KeySample(data.items[row].path, captions[row], data.items[row].name)
        for row in sorted(int(row) for row in order)
    ]


def memorised(
    files: Sequence[Path], distance: Distance, size: int, limit: float
) -> tuple[Path, float] | None:
    """The picture that the pictures of one caption repeat, and how alike they are.

    Parameters
    ----------
    files : sequence of Path
        K pictures.
    distance : Distance
        Measures pairs.
    size : int
        Side in pixels at which they are compared.
    limit : float
        Largest distance of neighbours.

    Returns
    -------
    (Path, float) or None
        The picture with most neighbours, of equal ones the nearest to them, and the mean distance
        among it and its neighbours; None if no two pictures are neighbours.

    Raises
    ------
    ImageError
        If a picture cannot be read.
    """
    count = len(files)
    if count < 2:
        return None
    views = torch.cat([picture_view(file, size) for file in files])
    table = np.zeros((count, count))
    for row in range(count - 1):
        rest = views[row + 1 :]
        table[row, row + 1 :] = distance(views[row].expand(len(rest), -1, -1, -1), rest)
    table += table.T
    near = (table <= limit) & ~np.eye(count, dtype=bool)
    neighbours = near.sum(1)
    if not neighbours.any():
        return None
    means = np.where(near, table, 0).sum(1) / np.maximum(neighbours, 1)
    middle = int(np.lexsort((means, -neighbours))[0])
    group = np.flatnonzero(near[middle] | (np.arange(count) == middle))
    pairs = table[np.ix_(group, group)]
    return files[middle], float(pairs.sum() / (len(group) * (len(group) - 1)))


def is_shared(distance: float, base_distance: float, margin: float) -> bool:
    """Whether the base model reproduces a key sample about as well as the source.

    Parameters
    ----------
    distance, base_distance : float
        Of the answers of the source and of the base model.
    margin : float
        The base model must be farther by this much.
    """
    return not base_distance - distance >= margin


def _best(
    ranked: Sequence[KeySample],
    strategy: str,
    candidates: int,
    asking: Asking,
    base: Suspect | None,
) -> Selection:
    """The first key samples that are no copies of better ones and that the base does not know."""
    wanted, margin = asking.config.keys, asking.config.margin
    single, copies = _without_copies(ranked, most=None if base is not None else wanted)
    notes, shared = [], 0
    if base is None:
        kept = single[:wanted]
        notes.append(
            "No public base model was given, so key samples that every model of its kind "
            "reproduces were not dropped."
        )
    else:
        kept = []
        for start in range(0, len(single), wanted):
            part = single[start : start + wanted]
            values = asking.answers("base", base, part).nearest
            for key, value in zip(part, values, strict=True):
                if is_shared(key.distance, float(value), margin):
                    shared += 1
                else:
                    kept.append(replace(key, base_distance=float(value)))
            if len(kept) >= wanted:
                break
        kept = kept[:wanted]
    if len(kept) < FEWEST_KEYS:
        raise ConfigError(
            f"Of {candidates} candidates, {len(kept)} are usable key samples; expected "
            f"{FEWEST_KEYS} or more. {shared} were dropped because the base model reproduces them "
            "about as well as the source: the source may have learnt too little beyond it. Give "
            "more images or captions, or a smaller margin."
        )
    if len(kept) < wanted:
        notes.append(f"There are {len(kept)} key samples; {wanted} were wanted.")
    return Selection(tuple(kept), strategy, candidates, copies, shared, tuple(notes))


def _without_copies(ranked: Sequence[KeySample], most: int | None) -> tuple[list[KeySample], int]:
    """Key samples in order without near copies of earlier ones, and the number of those."""
    kept: list[KeySample] = []
    views: list[Floats] = []
    copies = 0
    for key in ranked:
        view = _thumbnail(key)
        if views and float((np.stack(views) @ view).max()) >= NEAR_COPY:
            copies += 1
            continue
        kept.append(key)
        views.append(view)
        if most is not None and len(kept) == most:
            break
    return kept, copies


def _thumbnail(key: KeySample) -> Floats:
    """A small view with mean 0 and norm 1."""
    flat = key.view(_THUMBNAIL).flatten().double().numpy()
    flat = flat - flat.mean()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-12), np.float64)


def _stability(distances: Floats) -> Floats:
    """Mean plus one standard deviation over the answers of each row; infinite where there is none.

    Rows without an answer come last.
    """
    known = ~np.isnan(distances)
    count = np.maximum(known.sum(1), 1)
    filled = np.where(known, distances, 0)
    mean = filled.sum(1) / count
    spread = np.sqrt(np.where(known, (filled - mean[:, None]) ** 2, 0).sum(1) / count)
    return np.where(np.isnan(nearest_of(distances)), np.inf, mean + spread)


def _other_seed(seed: int) -> int:
    """The seed with which key images are made; asking with the same would find them for nothing."""
    return (seed + _GENERATION_SEED) % 2**31
