"""What a run of coater training carries from step to step, and the file that keeps it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.data.images import quantise
from siren_ext.devices import pick_device, pick_dtype
from siren_ext.errors import CoaterError, ConfigError, ModelError
from siren_ext.files import atomic
from siren_ext.ranks import current
from siren_ext.training.config import TrainConfig
from siren_ext.training.rehearsal import Rehearsal
from siren_ext.training.schedule import Radius, Schedule
from siren_ext.training.surrogate import Surrogate, at_once_with_gradient

_MEMORY = 0.95


class Pictures(Protocol):
    """What training needs of an image set; :class:`ImageSet` is one."""

    @property
    def hash(self) -> str:
        """SHA-256 of the pictures."""

    def tensors(self, size: int) -> Iterator[Tensor]:
        """Each picture, 1 x 3 x size x size float in [0,1], in order."""


class TrainerState:
    """Images, networks, optimisers and schedule of a run.

    Parameters
    ----------
    data : Pictures
        The owner's clean images.
    surrogate : Surrogate
        The model to train against.
    config : TrainConfig
        Settings of the run.
    coater : Coater
        The networks to train, changed in place.
    device : str
        ``auto`` or a torch device name.

    Attributes
    ----------
    images : Tensor
        N x 3 x H x W bytes, at the surrogate's resolution.
    optimisers : tuple of torch.optim.AdamW
        Of the generator and of the extractor.
    rehearsal : Rehearsal or None
        Twins of the surrogate that learn the coating meanwhile.
    step : int
        Finished optimisation steps.
    average : dict
        Running averages of the figures that a step notes.
    loss : float
        Value of the objective so far in the present step.
    together : int
        Images that pass the surrogate together where a gradient is kept.
    ranks : Ranks
        The processes that share the run.

    Raises
    ------
    ConfigError
        Several processes can't train this coater.
    """

    def __init__(
        self,
        data: Pictures,
        surrogate: Surrogate,
        config: TrainConfig,
        coater: Coater,
        *,
        device: str,
    ) -> None:
        self.config, self.surrogate, self.ranks = config, surrogate, current()
        if self.ranks.size > 1 and coater.config.norm == "running":
            raise ConfigError(
                "This coater has norm = 'running', which needs whole batches, but training was "
                f"started in {self.ranks.size} processes; expected norm = 'image'. Use one process."
            )
        self.device = pick_device(device)
        self.data_hash = data.hash
        views = data.tensors(surrogate.resolution)
        self.images = torch.cat([(255 * view).round().to(torch.uint8) for view in views])
        self.coater = coater.to(self.device)
        half = pick_dtype(self.device) == torch.bfloat16
        self._low_precision = self.device.type == "cpu" and half
        self.optimisers = (
            torch.optim.AdamW(coater.generator.parameters(), lr=config.learning_rate),
            torch.optim.AdamW(coater.extractor.parameters(), lr=config.extractor_rate),
        )
        self.rehearsal: Rehearsal | None = None
        self.step = 0
        self.schedule = Schedule()
        self.radius = Radius(config.nu)
        self.average: dict[str, float] = {}
        self.loss = 0.0
        self._shares: dict[str, float] = {}
        together = at_once_with_gradient(surrogate.resolution, self.device)
        # parts decide which numbers are drawn, so all processes must make the same ones
        self.together = min(self.ranks.gather(together))

    # -- images ----------------------------------------------------------------------------------

    @property
    def seen(self) -> int:
        """Images that the finished steps have used."""
        return self.step * self.config.batch_size

    @property
    def epoch_steps(self) -> int:
        """Steps in which every image is used once."""
        return max(1, math.ceil(len(self.images) / self.config.batch_size))

    def step_picks(self, generator: torch.Generator) -> Tensor:
        """Numbers of the images that the present step takes, in the order of the settings."""
        if self.config.order == "random":
            return self.random_picks(generator, self.config.batch_size)
        count = len(self.images)
        places = torch.arange(self.seen, self.seen + self.config.batch_size)
        if self.config.order == "listed":
            return places % count
        epochs = (places // count).tolist()
        shuffled = {epoch: self._shuffled(epoch) for epoch in set(epochs)}
        rows = zip(epochs, (places % count).tolist(), strict=True)
        return torch.stack([shuffled[epoch][place] for epoch, place in rows])

    def _shuffled(self, epoch: int) -> Tensor:
        """The order of all images in an epoch; each epoch has one of its own."""
        return torch.randperm(len(self.images), generator=self.generator(epoch))

    def generator(self, number: int) -> torch.Generator:
        """The draws of the step or epoch with that number."""
        seed = (self.config.seed * 1_000_003 + number) % 2**63  # torch takes no larger one
        return torch.Generator().manual_seed(seed)

    def random_picks(self, generator: torch.Generator, count: int) -> Tensor:
        """``count`` random numbers of images, with replacement."""
        return torch.randint(len(self.images), (count,), generator=generator)

    def batch(self, picks: Tensor, generator: torch.Generator) -> Tensor:
        """Images by number, B x 3 x H x W in [0,1]; half of them mirrored, at random."""
        batch = self.images[picks].float() / 255
        if self.config.mirror:
            mirror = torch.rand(len(picks), generator=generator) < 0.5
            batch[mirror] = batch[mirror].flip(3)
        return batch.to(self.device)

    # -- several processes -----------------------------------------------------------------------

    def own(self, rows: slice) -> slice:
        """The share that this process has of the rows of a batch from a start to a stop."""
        return self.ranks.own(rows.start, rows.stop)

    def split(self, rows: slice, compute: Callable[..., Tensor]) -> Tensor | None:
        """This process' share of what a random computation gives for a part of a batch.

        Parameters
        ----------
        rows : slice
            The part.
        compute : callable
            Draws numbers for all rows of the part. Of several processes it is called with
            ``rows``, a slice of the part, and computes these only.

        Returns
        -------
        Tensor or None
            None if this process has no share; the numbers are drawn all the same.
        """
        if self.ranks.size == 1:
            return compute()
        own = self.own(rows)
        if own.start >= own.stop:
            with torch.no_grad():
                compute(rows=slice(0, 1))
            return None
        return compute(rows=slice(own.start - rows.start, own.stop - rows.start, own.step))

    def exchange(self) -> None:
        """Add up what the processes found in this step: gradients, and shares of figures.

        A weight without a gradient in any of them keeps none, as the optimiser passes it over.
        """
        if self.ranks.size == 1:
            return
        pair = (self.coater.generator, self.coater.extractor)
        weights = [weight for network in pair for weight in network.parameters()]
        found = torch.tensor([weight.grad is not None for weight in weights]).to(weights[0])
        figures = torch.tensor([*self._shares.values(), self.loss]).to(weights[0])
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in weights]
        self.ranks.add(found, figures, *gradients)
        for weight, gradient, some in zip(weights, gradients, found.tolist(), strict=True):
            weight.grad = gradient if some else None
        *shares, self.loss = figures.tolist()
        for name, value in zip(self._shares, shares, strict=True):
            self.note(name, value)

    def merged(self, found: list[tuple[slice, Tensor]], count: int) -> Tensor:
        """All rows of features of which this process computed some, count x k."""
        if self.ranks.size == 1:
            return torch.cat([part for _, part in found])
        center = self.coater.center
        whole = torch.zeros(count, center.shape[1], device=center.device)
        for rows, part in found:
            whole[rows] = part
        self.ranks.add(whole)
        return whole

    def agree(self) -> None:
        """Give all processes the main one's networks."""
        if self.ranks.size > 1:
            own = {name: tensor.cpu() for name, tensor in self.coater.tensors().items()}
            self.coater.load_tensors(self.ranks.first(lambda: own))

    # -- the pair --------------------------------------------------------------------------------

    def fast(self) -> AbstractContextManager[Any]:
        """The number format in which the pair computes fastest."""
        return torch.autocast("cpu", torch.bfloat16) if self._low_precision else nullcontext()

    def rounded(self, coated: Tensor) -> Tensor:
        """Coated images as a file of eight bits holds them, where the settings ask for it."""
        return quantise(coated) if self.config.rounding else coated

    def coated(self, clean: Tensor, message: Tensor | None = None) -> Tensor:
        """Coated images; no gradient is kept."""
        with torch.no_grad(), self.fast():
            return self.rounded(clean + self.coater.residual(clean, message))

    def features(self, images: Tensor) -> Tensor:
        """B x k features of B x 3 x H x W images in [0,1], never in half precision."""
        with self.fast():
            features = self.coater.features(images)
        return features.float() if self._low_precision else features

    # -- gradients and figures -------------------------------------------------------------------

    def clear_gradients(self) -> None:
        """Begin a step: no gradients, and no loss yet."""
        self.loss, self._shares = 0.0, {}
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)

    def add(self, loss: Tensor, *into: Tensor) -> None:
        """Add a term to the objective: its gradient goes to the extractor and to ``into``.

        Raises
        ------
        ModelError
            The term is not a finite number.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(f"The loss became {value} at step {self.step}; lower learning_rate.")
        self.loss += value
        torch.autograd.backward([loss], inputs=[*self.coater.extractor.parameters(), *into])

    def note(self, name: str, value: float, memory: float = _MEMORY) -> None:
        """Take a figure into its running average."""
        old = self.average.get(name, value)
        self.average[name] = memory * old + (1 - memory) * value

    def note_share(self, name: str, value: float) -> None:
        """Take in this process' share of a figure that is a sum over the batch."""
        if self.ranks.size == 1:
            self.note(name, value)
        else:
            self._shares[name] = value

    # -- the file --------------------------------------------------------------------------------

    def save(self, path: Path, run: str) -> None:
        """Write everything that the next step depends on; the main process does it for all."""
        if not self.ranks.main:
            return
        state = {
            "step": self.step,
            "weights": self.coater.tensors(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "rehearsal": self.rehearsal.state() if self.rehearsal else None,
            "schedule": self.schedule.state(),
            "radius": self.radius.state(),
            "average": self.average,
        }
        write_state(path, run, state)

    def restore(self, path: Path, run: str) -> None:
        """Continue from a saved state of run ``run``; without a file nothing changes.

        Raises
        ------
        CoaterError
            The file is damaged or another run's.
        """
        state = read_state(path, run, self.device)
        if state is None:
            return
        self.step = state["step"]
        self.coater.load_tensors(state["weights"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        if self.rehearsal is not None and state["rehearsal"] is not None:
            self.rehearsal.restore(state["rehearsal"])
        self.schedule.restore(state["schedule"])
        self.radius.restore(state["radius"])
        self.average = state["average"]


def run_signature(*parts: Any) -> str:
    """Hash of everything that decides a run's result; ``parts`` are JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_state(path: Path, run: str, state: dict[str, Any]) -> None:
    """Write ``state`` (numbers, texts, tensors and containers of these), never half a file."""
    with atomic(path) as temporary:
        torch.save({"run": run, "state": state}, temporary)


def read_state(path: Path, run: str, device: torch.device) -> dict[str, Any] | None:
    """The state of run ``run``, or None when there is no file.

    Raises
    ------
    CoaterError
        The file is damaged or another run's.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, weights_only=True, map_location=device)
        found, state = saved["run"], dict(saved["state"])
    except Exception as error:  # a damaged pickle raises nearly anything
        raise CoaterError(f"{path} is not a training state: {error}. Delete it.") from error
    if found != run:
        raise other_run_error(path)
    return state


def other_run_error(path: Path) -> CoaterError:
    """What to say of the state of another run.

    Parameters
    ----------
    path : Path
        The file.
    """
    return CoaterError(
        f"{path} belongs to a run with other images, settings, start or model, or with an "
        "earlier version. Use the same ones again, or delete the file to start from the "
        "beginning."
    )
