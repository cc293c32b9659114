"""Makes decoys of a coater without a key: the same recipe with other seeds.

What decoys are for, and what is fixed beforehand, is said in :mod:`siren_ext.scoring.decoys`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import torch
from msgspec import Meta
from torch import Tensor

from siren_ext.data.images import quantise
from siren_ext.errors import CoaterError, ConfigError
from siren_ext.files import one_at_a_time, sibling, write_json
from siren_ext.progress import NULL, Named, Progress
from siren_ext.schema import convert, to_plain
from siren_ext.scoring.decoys import (
    COUNT,
    INDEX,
    MAX_DECOYS,
    Decoy,
    DecoyIndex,
    Ends,
    decoy_file,
    decoy_seed,
    load_decoy,
    read_index,
    recipe_of,
    require_decoy,
)
from siren_ext.training.config import TrainConfig
from siren_ext.training.stand_in import (
    found_surrogate,
    load_stand_in,
    stand_in_identity,
    surrogate_hash,
)

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet
    from siren_ext.training.surrogate import Surrogate

_SHOWN = 256
_BATCH = 16


class _Count(msgspec.Struct):
    """How many decoys are asked for."""

    count: Annotated[int, Meta(ge=1, le=MAX_DECOYS)]


def make_decoys(
    coater: Path,
    data: ImageSet,
    base: str | Path,
    out: Path,
    *,
    count: int = COUNT,
    surrogate: Path | None = None,
    device: str = "auto",
    progress: Progress = NULL,
) -> DecoyIndex:
    """Make decoys of a coater, or those that are missing.

    Parameters
    ----------
    coater : Path
        The true coater's file; not keyed and not adapted from another one.
    data : ImageSet
        The clean images that it was trained on.
    base : str | Path
        The base model that it was trained against.
    out : Path
        Folder for the decoys.
    count : int
        K, 1 to 9,999; p is at least 1 / (K + 1).
    surrogate : Path | None
        The LoRA of the stand-in model; None for the one that training left beside ``coater``.
    device : str
        ``auto`` or a torch device name.
    progress : Progress
        Reports the training of each decoy; may cancel.

    Returns
    -------
    DecoyIndex
        What is in ``out``, also written there.

    Raises
    ------
    CoaterError
        The coater can't have decoys, the images or the stand-in are not those of its training, or
        ``out`` holds decoys of another coater.
    ConfigError
        ``count`` is out of range.
    Cancelled
        The user stopped; the same call resumes.
    """
    from siren_ext.coater.coater import Coater
    from siren_ext.devices import pick_device
    from siren_ext.training.surrogate import DiffusionSurrogate

    coater, target = Path(coater), pick_device(device)
    true = Coater.load(coater, device=target)
    recipe_of(true)
    adapter = Path(surrogate) if surrogate is not None else found_surrogate(coater)
    _check_surrogate(adapter, true)
    data = data.checked(progress=progress)
    pipeline = load_stand_in(base, adapter, target)
    prompt = str(true.provenance.get("prompt") or "")
    captions, identity = data.captions(default=prompt), stand_in_identity(base, adapter)
    stand_in = DiffusionSurrogate(pipeline, prompt, captions, identity=identity)
    return decoys_against(true, data, stand_in, out, count=count, device=device, progress=progress)


def _check_surrogate(adapter: Path, coater: Coater) -> None:
    """Refuse a stand-in that is missing or is not the one of the coater's training."""
    if not (adapter / "model_index.json" if adapter.is_dir() else adapter).is_file():
        raise CoaterError(
            f"The stand-in model, or its LoRA, is not at {adapter}, where training saves it; give "
            "it with --surrogate, because decoys must be trained against the same one."
        )
    wanted = coater.provenance.get("surrogate_sha256")
    if wanted is not None and surrogate_hash(adapter) != wanted:
        raise CoaterError(
            f"{adapter} is not the stand-in that the coater was trained against (SHA-256 "
            f"{str(wanted)[:12]}). Give that file with --surrogate."
        )


@one_at_a_time
def decoys_against(
    coater: Coater,
    data: ImageSet,
    surrogate: Surrogate,
    out: Path,
    *,
    count: int = COUNT,
    device: str = "auto",
    progress: Progress = NULL,
) -> DecoyIndex:
    """Make decoys against a stand-in model that is loaded already.

    Parameters
    ----------
    coater : Coater
        The true coater.
    data, out, count, device, progress
        As in :func:`make_decoys`.
    surrogate : Surrogate
        The stand-in that ``coater`` was trained against.

    Returns
    -------
    DecoyIndex
        What is in ``out``, also written there.

    Raises
    ------
    CoaterError, ConfigError, Cancelled
        As in :func:`make_decoys`.
    """
    convert({"count": count}, _Count, name="The number of decoys", error=ConfigError)
    recipe, own, out = recipe_of(coater), coater.fingerprint, Path(out)
    if data.hash != coater.provenance["images_sha256"]:
        raise CoaterError(
            f"{data.name} does not have the images, captions and order that the coater was "
            "trained on; expected exactly the same ones, because decoys are made in the same way."
        )
    views = _views(data, surrogate.resolution)
    if (out / INDEX).exists():
        index = read_index(out, coater)
    else:
        index = DecoyIndex(coater=own, recipe=recipe, ends=ends_of(coater, views))
        write_json(out / INDEX, to_plain(index))
    for number in range(1, count + 1):
        if number <= len(index.decoys):
            load_decoy(out, index.decoys[number - 1], coater)
            continue
        watched = Named(progress, f"decoy {number} of {count}")
        made = _made(coater, data, surrogate, out, number, device, watched)
        index.decoys.append(Decoy(number, made.fingerprint, ends_of(made, views)))
        write_json(out / INDEX, to_plain(index))
    return index


def _made(
    coater: Coater,
    data: ImageSet,
    surrogate: Surrogate,
    out: Path,
    number: int,
    device: str,
    progress: Progress,
) -> Coater:
    """Train one decoy, or read it if a stopped run finished it."""
    from siren_ext.coater.coater import Coater
    from siren_ext.training.train import train_coater

    file = decoy_file(out, number)
    if file.exists():
        made = Coater.load(file, device=coater.device)
        require_decoy(made, coater, number, str(file))
        return made
    settings = {**coater.provenance["training"], "seed": decoy_seed(coater.fingerprint, number)}
    made = train_coater(
        data,
        surrogate,
        TrainConfig.from_dict(settings),
        coater=coater.config,
        device=device,
        progress=progress,
        resume=sibling(file, ".state"),
    )
    if "surrogate_sha256" in coater.provenance:
        made.provenance["surrogate_sha256"] = coater.provenance["surrogate_sha256"]
    made.provenance["decoy"] = {
        "of": coater.fingerprint, "number": number, "recipe": recipe_of(made)
    }  # fmt: skip
    require_decoy(made, coater, number, str(file))
    made.save(file)
    return made


def _views(data: ImageSet, resolution: int) -> Tensor:
    """Up to 256 of the owner's images, spread over the set, N x 3 x H x W in [0,1]."""
    views = torch.cat(list(data.tensors(resolution)))
    step = -(-len(views) // _SHOWN)
    return views[::step]


@torch.no_grad()
def ends_of(coater: Coater, images: Tensor) -> Ends:
    """Mean scores of clean images, and of the same images coated.

    Parameters
    ----------
    coater : Coater
        A coater without a key.
    images : Tensor
        N x 3 x H x W in [0,1].

    Returns
    -------
    Ends
        Both means.
    """
    sums = torch.zeros(2, dtype=torch.float64)
    for part in torch.split(images, _BATCH):
        clean = part.to(coater.device)
        coated = quantise(clean + coater.residual(clean))
        sums += torch.stack([coater.score(one).double().sum().cpu() for one in (clean, coated)])
    clean_mean, coated_mean = (sums / len(images)).tolist()
    return Ends(clean_mean, coated_mean)
