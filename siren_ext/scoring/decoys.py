"""Decoys of a coater without a key: coaters of the same recipe with other random patterns.

A coater without a key has one pattern for all images, and nothing to test it against but other
models. Decoys replace the random keys that a keyed coater is tested against: K further coaters that
were made in the same way and differ in their seed alone. The suspect's pictures are scored by all
of them, and the true coater's rank is tested (:mod:`siren_ext.verdict.decoys`).

Everything is fixed before a picture is seen. The seed of decoy i follows from the fingerprint of
the true coater and i, so nobody can choose decoys. The statistic of a coater is :func:`way_of`
the pictures, from the owner's clean images (0) to the same images coated by it (1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from siren_ext.errors import CoaterError, ScoreError
from siren_ext.formats import Sha256, read_format
from siren_ext.progress import NULL, Named, Progress
from siren_ext.schema import convert, to_plain
from siren_ext.scoring.score_set import MAX_IMAGES, ScoreSet

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

INDEX = "decoys.json"
"""The file that lists the decoys of a folder."""
MAX_DECOYS = 9_999
COUNT = 19
"""The usual number of decoys, with which p can be 0.05."""
SOURCE = "decoys"
"""The name in a score set's ``source`` under which the scores by decoys are kept."""
SMALLEST_WAY = 1e-6
"""The least way from clean to coated scores that :func:`way_of` divides by."""

_AGAIN = "Make the decoys again with 'siren-ext decoys'."
_Score = Annotated[float, Meta(ge=-1e30, le=1e30)]
_Number = Annotated[int, Meta(ge=1, le=MAX_DECOYS)]


class Ends(Struct, forbid_unknown_fields=True, frozen=True):
    """Mean scores of the owner's clean images, and of the same images coated, by one coater."""

    clean: _Score
    coated: _Score


class Decoy(Struct, forbid_unknown_fields=True, frozen=True):
    """One decoy of a folder; its file is :func:`decoy_file`."""

    number: _Number
    coater: Sha256
    ends: Ends


class DecoyIndex(Struct, forbid_unknown_fields=True, kw_only=True):
    """The content of :data:`INDEX`."""

    format: Literal["siren_ext.decoys"] = "siren_ext.decoys"
    version: Literal[1] = 1
    coater: Sha256
    recipe: Sha256
    ends: Ends
    decoys: Annotated[list[Decoy], Meta(max_length=MAX_DECOYS)] = []


class ScoredDecoy(Struct, forbid_unknown_fields=True):
    """What a score set keeps of one decoy: scores in the order of its pictures."""

    number: _Number
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    coater: Sha256
    ends: Ends
    scores: Annotated[list[_Score], Meta(min_length=1, max_length=MAX_IMAGES)]


class ScoredDecoys(Struct, forbid_unknown_fields=True):
    """What a score set keeps of all decoys, under :data:`SOURCE`."""

    recipe: Sha256
    ends: Ends
    decoys: Annotated[list[ScoredDecoy], Meta(min_length=1, max_length=MAX_DECOYS)]


def decoy_seed(coater: str, number: int) -> int:
    """The training seed of a decoy.

    Parameters
    ----------
    coater : str
        Fingerprint of the true coater.
    number : int
        Which decoy, from 1.

    Returns
    -------
    int
        The first 63 bits of a SHA-256 of both.
    """
    digest = hashlib.sha256(f"siren_ext.decoy.1 {coater} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def decoy_file(folder: Path, number: int) -> Path:
    """The file of a decoy.

    Parameters
    ----------
    folder : Path
        The folder of all decoys.
    number : int
        Which decoy, from 1.

    Returns
    -------
    Path
        Such as ``decoy-0001.safetensors``.
    """
    return folder / f"decoy-{number:04d}.safetensors"


def recipe_of(coater: Coater) -> str:
    """The hash of how a coater was made, without its seed.

    Parameters
    ----------
    coater : Coater
        A trained coater.

    Returns
    -------
    str
        SHA-256 of its settings, those of its training but the seed, the hash of the images, the
        prompt, and the hash of the stand-in model if it is recorded.

    Raises
    ------
    CoaterError
        The coater is keyed, was adapted from another one, or does not say how it was made.
    """
    made = coater.provenance
    if coater.keyed:
        raise CoaterError(
            "This coater is keyed, so it needs no decoys: its key is tested against all other keys "
            "('siren-ext verify --key')."
        )
    if made.get("start") is not None:
        raise CoaterError(
            "This coater was adapted from another one, so all decoys would share that one's "
            "pattern; expected a coater that was trained from scratch ('siren-ext train --preset "
            "coarse')."
        )
    training = made.get("training")
    if not isinstance(training, Mapping) or not isinstance(made.get("images_sha256"), str):
        raise CoaterError(
            "This coater does not say how it was trained, so no decoys can be made in the same "
            "way; expected a coater that 'siren-ext train' made."
        )
    recipe = {
        "coater": coater.config.to_dict(),
        "training": {name: value for name, value in training.items() if name != "seed"},
        "images": made["images_sha256"],
        "prompt": made.get("prompt"),
        "surrogate": made.get("surrogate_sha256"),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def read_index(folder: Path, coater: Coater) -> DecoyIndex:
    """Read the list of a folder's decoys.

    Parameters
    ----------
    folder : Path
        The folder that 'siren-ext decoys' wrote.
    coater : Coater
        The true coater.

    Returns
    -------
    DecoyIndex
        Of decoys 1 to K.

    Raises
    ------
    CoaterError
        There is no such list, it is damaged, or it belongs to another coater.
    """
    path = Path(folder) / INDEX
    index = read_format(path, DecoyIndex, error=CoaterError, advice=_AGAIN)
    own, recipe = coater.fingerprint, recipe_of(coater)
    if (index.coater, index.recipe) != (own, recipe):
        raise CoaterError(
            f"{path} lists decoys of another coater ({index.coater[:12]}, recipe "
            f"{index.recipe[:12]}); expected those of {own[:12]}, recipe {recipe[:12]}. {_AGAIN}"
        )
    if [one.number for one in index.decoys] != list(range(1, len(index.decoys) + 1)):
        raise CoaterError(f"{path} does not list decoys 1, 2, 3 and so on. {_AGAIN}")
    return index


def load_decoy(folder: Path, entry: Decoy, coater: Coater) -> Coater:
    """Read a decoy and check that it is one.

    Parameters
    ----------
    folder : Path
        The folder of all decoys.
    entry : Decoy
        What the list says of it.
    coater : Coater
        The true coater.

    Returns
    -------
    Coater
        The decoy, on the device of the true coater.

    Raises
    ------
    CoaterError
        The file can't be read, is not the listed one, or was trained otherwise than the true
        coater.
    """
    from siren_ext.coater.coater import Coater

    path = decoy_file(Path(folder), entry.number)
    decoy = Coater.load(path, device=coater.device)
    if decoy.fingerprint != entry.coater:
        raise CoaterError(f"{path} is not the coater that {INDEX} lists. {_AGAIN}")
    require_decoy(decoy, coater, entry.number, str(path))
    return decoy


def require_decoy(decoy: Coater, coater: Coater, number: int, name: str) -> None:
    """Refuse a coater that is not decoy ``number`` of another one.

    Parameters
    ----------
    decoy, coater : Coater
        The decoy and the true coater.
    number : int
        Which decoy, from 1.
    name : str
        What messages call the decoy.

    Raises
    ------
    CoaterError
        It was trained otherwise, or with another seed.
    """
    found, expected = recipe_of(decoy), recipe_of(coater)
    if found != expected:
        raise CoaterError(
            f"{name} was not trained in the same way as the coater: its recipe is {found[:12]}; "
            f"expected {expected[:12]}. {_AGAIN}"
        )
    seed = decoy.provenance["training"].get("seed", 0)
    wanted = decoy_seed(coater.fingerprint, number)
    if seed != wanted:
        raise CoaterError(
            f"{name} was trained with the seed {seed}; decoy {number} of this coater has {wanted}. "
            f"{_AGAIN}"
        )


def score_decoys(
    suspect: ScoreSet,
    pictures: Path,
    coater: Coater,
    folder: Path,
    *,
    batch_size: int = 16,
    progress: Progress = NULL,
) -> ScoreSet:
    """Score the suspect's pictures by every decoy too.

    Parameters
    ----------
    suspect : ScoreSet
        Their scores by the true coater.
    pictures : Path
        The folder of the pictures.
    coater : Coater
        The true coater.
    folder : Path
        The folder of the decoys.
    batch_size : int
        Pictures scored at once.
    progress : Progress
        One unit per picture and decoy.

    Returns
    -------
    ScoreSet
        ``suspect`` with the scores by the decoys in its ``source``.

    Raises
    ------
    CoaterError
        There are no decoys, or one of them is not of this coater.
    ScoreError
        The pictures are not those of ``suspect``.
    Cancelled
        The user stopped.
    """
    from siren_ext.scoring.score import score_folder

    index = read_index(folder, coater)
    if not index.decoys:
        raise CoaterError(f"{folder} has no finished decoy in it. {_AGAIN}")
    scored = []
    for entry in index.decoys:
        decoy = load_decoy(folder, entry, coater)
        watched = Named(progress, f"decoy {entry.number} of {len(index.decoys)}")
        found = score_folder(pictures, decoy, batch_size=batch_size, progress=watched)
        if (found.names, found.hashes) != (suspect.names, suspect.hashes):
            raise ScoreError(
                f"The pictures in {pictures} changed while they were scored; score them again."
            )
        seed = decoy_seed(coater.fingerprint, entry.number)
        scored.append(
            ScoredDecoy(entry.number, seed, entry.coater, entry.ends, found.scores.tolist())
        )
    kept = to_plain(ScoredDecoys(index.recipe, index.ends, scored))
    return replace(suspect, source={**suspect.source, SOURCE: kept})


def decoys_of(pool: ScoreSet) -> ScoredDecoys | None:
    """The scores by decoys that a score set holds.

    Parameters
    ----------
    pool : ScoreSet
        The scores.

    Returns
    -------
    ScoredDecoys | None
        None if it holds none.

    Raises
    ------
    ScoreError
        They are malformed, or not by decoys of the pool's coater.
    """
    if SOURCE not in pool.source:
        return None
    again = "Score the pictures again with 'siren-ext score --decoys'."
    found = convert(
        pool.source[SOURCE], ScoredDecoys, name="The scores by decoys", error=ScoreError,
        advice=again,
    )  # fmt: skip
    prints = {one.coater for one in found.decoys} | {pool.coater}
    right = len(prints) == 1 + len(found.decoys)
    for number, one in enumerate(found.decoys, start=1):
        seed = decoy_seed(pool.coater, number)
        right &= (one.number, one.seed, len(one.scores)) == (number, seed, len(pool))
    if not right:
        raise ScoreError(
            f"The scores by decoys are not those of decoys 1 to {len(found.decoys)} of this "
            f"coater, one score for each of {len(pool)} pictures. {again}"
        )
    return found


def way_of(scores: NDArray[np.float64] | Sequence[float], ends: Ends) -> float:
    """How far scores lie on the way from clean images to coated ones.

    Parameters
    ----------
    scores : array, shape (n,)
        Of pictures, by one coater; n of 1 or more.
    ends : Ends
        Mean scores of the owner's images by the same coater.

    Returns
    -------
    float
        0 where the mean score is that of the clean images, 1 where it is that of the coated ones.
        A coater that does not tell them apart counts as if they were :data:`SMALLEST_WAY` apart.
    """
    way = max(ends.clean - ends.coated, SMALLEST_WAY)
    return (ends.clean - float(np.mean(scores))) / way
