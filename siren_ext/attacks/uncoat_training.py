"""Trains a network that removes coatings, on pairs of coated and clean images."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor

from siren_ext.attacks.uncoat import MAX_LEVELS, MAX_WIDTH, Uncoater, read_facts
from siren_ext.config import Config
from siren_ext.data.dataset import ImageSet
from siren_ext.devices import pick_device
from siren_ext.errors import ConfigError, DatasetError, ModelError
from siren_ext.files import is_present, one_at_a_time, real_path, sibling
from siren_ext.personalize.loop import read_state, run_steps
from siren_ext.progress import NULL, Progress

MAX_PIXELS = 1 << 31
"""Largest number of pixels of all pairs together: they are kept in memory, 6 GiB at most."""
_MEMORY = 0.95  # weight of the past in the running mean of the loss


@dataclasses.dataclass(frozen=True)
class UncoatConfig(Config):
    """Shape and training of the network.

    Attributes
    ----------
    width, levels : int
        As in :class:`~siren_ext.attacks.uncoat.Uncoater`. A width of 16 trains in minutes on a CPU.
    size : int
        Side in pixels of the square views of the images.
    crop : int
        Side of the random part of a view that a step sees; the whole view if it is smaller.
    epochs : int
        How often each pair is seen; 500 in the paper.
    batch_size : int
        Pairs of a step.
    learning_rate : float
        Of Adam.
    loss : {"mse", "l1"}
        Squared or absolute error.
    seed : int
        Of weights, order and parts.

    Notes
    -----
    The paper states the epochs. The other settings were chosen here.
    """

    width: Annotated[int, Meta(ge=1, le=MAX_WIDTH)] = 64
    levels: Annotated[int, Meta(ge=1, le=MAX_LEVELS)] = 4
    size: Annotated[int, Meta(ge=16, le=4096)] = 512
    crop: Annotated[int, Meta(ge=16, le=4096)] = 256
    epochs: Annotated[int, Meta(ge=1, le=1_000_000)] = 500
    batch_size: Annotated[int, Meta(ge=1, le=1024)] = 8
    learning_rate: Annotated[float, Meta(gt=0.0, le=1.0)] = 1e-4
    loss: Literal["mse", "l1"] = "mse"
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0

    def __post_init__(self) -> None:
        """Check every field; raises :class:`ConfigError`."""
        super().__post_init__()
        if self.part < 1 << self.levels:
            name = "crop" if self.crop <= self.size else "size"
            raise ConfigError(
                f"UncoatConfig.{name} is {self.part} pixels, too few for {self.levels} levels; "
                f"expected at least {1 << self.levels}."
            )

    @property
    def part(self) -> int:
        """Side in pixels of what a step sees."""
        return min(self.crop, self.size)


def matched(coated: ImageSet, clean: ImageSet) -> tuple[ImageSet, ImageSet]:
    """The images that both sets have, in the same order.

    Parameters
    ----------
    coated, clean : ImageSet
        Two sets in which an image has the same name; the ending may differ.

    Returns
    -------
    coated, clean : ImageSet
        As many images each.

    Raises
    ------
    DatasetError
        If they have no name in common, or are one folder.
    """
    if real_path(coated.root) == real_path(clean.root):
        raise DatasetError(
            f"{coated.root} was given twice; expected the coated and the clean images in two "
            "folders, under the same names."
        )
    by_name: dict[str, list[int]] = {}
    for place, item in enumerate(clean.items):
        for name in {item.relative.as_posix(), item.relative.with_suffix("").as_posix()}:
            by_name.setdefault(name, []).append(place)
    first, second = [], []
    for item in coated.items:
        whole, short = item.relative.as_posix(), item.relative.with_suffix("").as_posix()
        places = by_name.get(whole) or by_name.get(short) or ()
        if len(places) == 1:  # two images of one name could be either
            first.append(item)
            second.append(clean.items[places[0]])
    if not first:
        raise DatasetError(
            f"No image in {coated.root} has the same name as one in {clean.root}; expected the "
            "coated and the clean images in two folders, under the same names."
        )
    return (
        dataclasses.replace(coated, items=tuple(first)),
        dataclasses.replace(clean, items=tuple(second)),
    )


class UncoatTrainer:
    """Network, optimiser and step counter of a run.

    Parameters
    ----------
    coated, clean : Tensor
        n x 3 x size x size bytes.
    config : UncoatConfig
        The settings.
    device : torch.device
        Where to train.
    """

    def __init__(
        self, coated: Tensor, clean: Tensor, config: UncoatConfig, device: torch.device
    ) -> None:
        self.coated, self.clean, self.config, self.device = coated, clean, config, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = Uncoater(config.width, config.levels).to(device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), config.learning_rate)
        self.step, self.mean_loss, self.updating = 0, 0.0, False

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.config.epochs * self._per_epoch

    @property
    def _per_epoch(self) -> int:
        return -(-len(self.coated) // self.config.batch_size)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Coated and clean parts of the next step, b x 3 x c x c in [0,1].

        They depend only on seed and step, so that a resumed run is the same.
        """
        config, count = self.config, len(self.coated)
        epoch, place = divmod(self.step, self._per_epoch)
        order = np.random.default_rng((config.seed, 1, epoch)).permutation(count)
        rows = order[place * config.batch_size : (place + 1) * config.batch_size]
        room = self.coated.shape[2] - config.part + 1
        places = np.random.default_rng((config.seed, 2, self.step)).integers(room, size=(count, 2))
        parts = []
        for images in (self.coated, self.clean):
            cut = [
                images[row, :, top : top + config.part, left : left + config.part]
                for row, (top, left) in zip(rows.tolist(), places.tolist(), strict=False)
            ]
            parts.append(torch.stack(cut).to(self.device).float() / 255)
        return parts[0], parts[1]

    def advance(self) -> None:
        """Make one step.

        Raises
        ------
        ModelError
            If the loss is not finite.
        """
        coated, clean = self.batch()
        self.updating = True  # from here on: a pass changes the running means of the network
        self.network.train()
        made = self.network(coated)
        squared = self.config.loss == "mse"
        loss = F.mse_loss(made, clean) if squared else F.l1_loss(made, clean)
        if not math.isfinite(found := float(loss.detach())):
            raise ModelError(
                f"The loss became {found} at step {self.step}; lower learning_rate "
                f"({self.config.learning_rate:g})."
            )
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.mean_loss = (
            found if not self.step else _MEMORY * self.mean_loss + (1 - _MEMORY) * found
        )
        self.step += 1
        self.updating = False

    def snapshot(self) -> dict[str, Any]:
        """Everything that the next step depends on, for :meth:`restore`."""
        return {
            "step": self.step,
            "mean_loss": self.mean_loss,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a :meth:`snapshot`."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.mean_loss = int(state["step"]), float(state["mean_loss"])


@one_at_a_time
def train_uncoater(
    coated: ImageSet,
    clean: ImageSet,
    config: UncoatConfig,
    out: Path,
    *,
    device: str = "auto",
    progress: Progress = NULL,
) -> Path:
    """Train a network on the images that two sets have in common, and write it.

    A stopped run is resumed from ``<out>.state``; a finished one with the same images and settings
    is not repeated.

    Parameters
    ----------
    coated, clean : ImageSet
        Coated images, and the same images without a coating.
    config : UncoatConfig
        Shape and training.
    out : Path
        A new file, ending in ``.safetensors``.
    device : str
        Where to train; ``auto`` as in :func:`siren_ext.devices.pick_device`.
    progress : Progress
        One unit per step.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ConfigError
        If ``out`` is another file already, ``<out>.state`` belongs to another run, or the images
        need too much memory.
    DatasetError
        If the sets have no image in common.
    ImageError
        If an image can't be read.
    ModelError
        If the loss is not finite.
    Cancelled
        If the user stopped; the state is saved.

    References
    ----------
    SIREN (arXiv 2410.10437), Table VII: 500 epochs.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise ConfigError(
            f"{out} can't be the network's file; expected a name ending in .safetensors."
        )
    coated, clean = matched(coated, clean)
    if 2 * len(coated) * config.size**2 > MAX_PIXELS:
        raise ConfigError(
            f"{len(coated)} pairs of {config.size} pixels need more memory than the 6 GiB allowed "
            "here; give fewer images or a smaller size."
        )
    run = _signature(coated, clean, config)
    if is_present(out):
        if _run_of(out) == run:
            return out
        raise ConfigError(f"{out} already exists and was not overwritten; choose another name.")
    state = sibling(out, ".state")
    saved = read_state(state, run)
    views = [_bytes(images, config.size, progress) for images in (coated, clean)]
    trainer = UncoatTrainer(views[0], views[1], config, pick_device(device))
    if saved is not None:
        trainer.restore(saved)
    run_steps(trainer, trainer.steps, state, run, progress, label="Training the network")
    facts = {"settings": config.to_dict(), "pairs": len(coated), "loss": trainer.mean_loss}
    trainer.network.save(out, facts | {"run": run})
    state.unlink(missing_ok=True)
    return out


def _signature(coated: ImageSet, clean: ImageSet, config: UncoatConfig) -> str:
    """Hash of everything that determines the network."""
    parts = [coated.hash, clean.hash, [item.name for item in coated.items], config.to_dict()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _run_of(path: Path) -> str:
    """The run that wrote a network; empty for other files."""
    try:
        return str(json.loads(read_facts(path)["training"])["run"])
    except (ModelError, KeyError, TypeError, ValueError):
        return ""


def _bytes(images: ImageSet, size: int, progress: Progress) -> Tensor:
    """Square views of all images, n x 3 x size x size."""
    progress.stage("Reading images", len(images))
    found = torch.empty(len(images), 3, size, size, dtype=torch.uint8)
    for place, image in enumerate(images.tensors(size)):
        found[place] = (255 * image[0]).round().to(torch.uint8)
        progress.advance()
    return found
