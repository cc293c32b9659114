"""A start coater: trained on many small image sets, so that it adapts to a new set in minutes.

Reptile (Nichol, Achiam and Schulman 2018, arXiv 1803.02999; SIREN, Algorithm 2, Eq. 9 and 10): the
weights adapt to one set for some steps, then the start moves part of the way towards them. The
surrogate is the base model itself, since nobody's images are known yet. Every term of the objective
counts from a task's first step, as it does when a coater is adapted; only a run that begins with
random weights learns detection first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from msgspec import Meta
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.config import Config
from siren_ext.errors import CoaterError
from siren_ext.progress import NULL, Progress
from siren_ext.training.config import BatchSize, ImageCount, Interval, StepCount, TrainConfig
from siren_ext.training.state import read_state, run_signature, write_state
from siren_ext.training.trainer import CoaterTrainer

if TYPE_CHECKING:
    from siren_ext.training.surrogate import Surrogate
    from siren_ext.training.tasks import Task, Tasks

Weights = dict[str, Tensor]

_MEMORY = 0.9
_LINEAR = "extractor.linear."


@dataclass(frozen=True)
class TaskConfig(TrainConfig):
    """How the coater is trained on each small set: :class:`TrainConfig`, short, no rehearsal.

    Denoised images matter most for a start coater: a coating is lost in the denoiser, whatever
    the images show, and denoised images have passed the autoencoder too.
    """

    steps: StepCount = 20
    batch_size: BatchSize = 8
    warmup: Interval = 0
    learn_images: ImageCount = 1
    round_trips: ImageCount = 0
    denoised: ImageCount = 2
    rehearse_every: Interval = 0


@dataclass(frozen=True)
class MetaConfig(Config):
    """How a start coater is trained; each task's own training is a :class:`TaskConfig`.

    Attributes
    ----------
    tasks : int
        Number of small sets to adapt to, one after the other.
    task_images : int
        Images in a set.
    meta_rate : float
        How far the start moves towards the adapted weights, 0 to 1 (epsilon in Eq. 9 and 10).
    variant : str
        ``default`` is Reptile: each task begins at the start, and the start is the result.
        ``official`` moves weights as SIREN's code does: the adapted ones are moved by as much as
        the start (except the extractor's last layer), the next task begins with them, and they
        are the result. The code's other settings are in docs/official_preset.md.
    plain_tasks : int
        Number of first tasks with detection alone when training begins with random weights.
    seed : int
        Seed of every draw.
    """

    tasks: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    task_images: Annotated[int, Meta(ge=2, le=100_000)] = 24
    meta_rate: Annotated[float, Meta(ge=0, le=1)] = 0.5
    variant: Literal["default", "official"] = "default"
    plain_tasks: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 0


def reptile(start: Weights, adapted: Weights, rate: float, variant: str) -> tuple[Weights, Weights]:
    """Move the start towards adapted weights (SIREN, Eq. 9 and 10).

    Parameters
    ----------
    start, adapted : Weights
        Trained weights by name, before and after a task.
    rate : float
        How far to move, 0 to 1.
    variant : str
        See :class:`MetaConfig`.

    Returns
    -------
    tuple of dict
        The moved start, and the weights with which the next task begins.
    """
    kept = _LINEAR if variant == "official" else "\0"
    change = {
        name: rate * (adapted[name] - value)
        for name, value in start.items()
        if not name.startswith(kept)
    }
    moved = start | {name: start[name] + step for name, step in change.items()}
    if variant != "official":
        return moved, moved
    return moved, adapted | {name: adapted[name] + step for name, step in change.items()}


def train_start(
    tasks: Tasks,
    surrogate: Callable[[Task], Surrogate],
    config: MetaConfig,
    inner: TrainConfig,
    *,
    coater: CoaterConfig | None = None,
    start: Coater | None = None,
    device: str = "auto",
    progress: Progress = NULL,
    resume: Path | None = None,
    minutes: float | None = None,
    identity: str = "",
) -> Coater:
    """Train a start coater on many small sets.

    Parameters
    ----------
    tasks : Tasks
        Source of the small sets.
    surrogate : Callable[[Task], Surrogate]
        Gives the base model with a task's prompt.
    config : MetaConfig
        Settings of the outer loop.
    inner : TrainConfig
        Settings of each task's training; its seed is replaced.
    coater : CoaterConfig | None
        Shape of a new coater; ignored with ``start``.
    start : Coater | None
        A trained coater to begin with; it is not changed.
    device : str
        ``auto`` or a torch device name.
    progress : Progress
        Reports tasks and is asked between steps whether to stop.
    resume : Path | None
        State file. A stopped run resumes after its last finished task; a finished run deletes
        it. It fits runs with any number of tasks.
    minutes : float | None
        Finish after the first task that ends later than this. The result equals that of a run
        with as many ``tasks`` as were finished.
    identity : str
        What tells the base model from others; a stopped run resumes only against the same.

    Returns
    -------
    Coater
        The start coater, with its provenance.

    Raises
    ------
    Cancelled
        The user stopped; the state file, if any, holds the finished tasks.
    ModelError
        The loss is no longer a finite number.
    CoaterError
        The state file is damaged or belongs to another run.
    """
    run = MetaRun(
        tasks, surrogate, config, inner, coater=coater, start=start, device=device,
        identity=identity,
    )  # fmt: skip
    if resume is not None:
        run.restore(resume)
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    progress.stage("Training the start coater", config.tasks, run.done)
    while run.done < config.tasks:
        note = run.adapt(progress)
        if resume is not None:
            run.save(resume)
        progress.advance(1, note)
        if ends is not None and time.monotonic() > ends:
            break
    result = run.finish()
    if resume is not None:
        resume.unlink(missing_ok=True)
    return result


class MetaRun:
    """The start and the weights of the next task; a task depends on (seed, number) alone."""

    def __init__(
        self,
        tasks: Tasks,
        surrogate: Callable[[Task], Surrogate],
        config: MetaConfig,
        inner: TrainConfig,
        *,
        coater: CoaterConfig | None,
        start: Coater | None,
        device: str,
        identity: str = "",
    ) -> None:
        self.tasks, self.surrogate, self.config, self.inner = tasks, surrogate, config, inner
        self.device, self.fresh = device, start is None
        self.done = 0
        self.average: dict[str, float] = {}
        self.tasks_hash = tasks.hash
        if start is None:
            # the trainer of the first task computes the centre of untrained coatings
            first = self._trainer(coater=coater)
            first.begin()
            self.coater = first.state.coater
        else:
            self.coater = Coater(start.config)
            self.coater.load_tensors(start.tensors())
        self.start = self.next = _trained(self.coater)
        self.begun = None if start is None else start.fingerprint
        settings = config.to_dict()
        del settings["tasks"]
        self.run = run_signature(
            settings,
            inner.to_dict(),
            self.coater.config.to_dict(),
            self.tasks_hash,
            self.begun,
            identity,
        )

    def _trainer(
        self, *, coater: CoaterConfig | None = None, start: Coater | None = None
    ) -> CoaterTrainer:
        sequence = np.random.SeedSequence([self.config.seed, self.done])
        task = self.tasks.draw(self.config.task_images, np.random.default_rng(sequence))
        settings = replace(self.inner, seed=int(sequence.generate_state(1)[0]))
        if self.fresh and self.done < self.config.plain_tasks:
            settings = replace(settings, warmup=settings.steps)
        if start is None:
            settings = replace(settings, seed=self.config.seed)
        return CoaterTrainer(
            task.pictures,
            self.surrogate(task),
            settings,
            coater=coater,
            start=start,
            device=self.device,
        )

    def adapt(self, progress: Progress = NULL) -> str:
        """Adapt to one task and move the start.

        Parameters
        ----------
        progress : Progress
            Asked between steps whether to stop; the unfinished task is then dropped.

        Returns
        -------
        str
            The running figures in a short line.
        """
        trainer = self._trainer(start=self._coater(self.next))
        while trainer.state.step < trainer.config.steps:
            trainer.advance()
            progress.advance(0)
        adapted = _trained(trainer.state.coater)
        self.start, self.next = reptile(
            self.start, adapted, self.config.meta_rate, self.config.variant
        )
        self.coater.center = trainer.state.coater.center.detach().cpu()
        for name, value in trainer.state.average.items():
            old = self.average.get(name, value)
            self.average[name] = _MEMORY * old + (1 - _MEMORY) * value
        self.done += 1
        return ", ".join(f"{name} {value:.3g}" for name, value in self.average.items())

    def _coater(self, weights: Weights) -> Coater:
        coater = Coater(self.coater.config)
        coater.load_tensors(self.coater.tensors() | weights)
        return coater

    def save(self, path: Path) -> None:
        """Write everything that the next task depends on."""
        state = {
            "done": self.done,
            "start": self.start,
            "next": self.next,
            "center": self.coater.center,
            "average": self.average,
        }
        write_state(path, self.run, state)

    def restore(self, path: Path) -> None:
        """Continue from a saved state of the same run; without a file nothing changes.

        Raises
        ------
        CoaterError
            The file is damaged, another run's, or has finished more tasks than are asked for.
        """
        state = read_state(path, self.run, self.coater.device)
        if state is None:
            return
        if state["done"] > self.config.tasks:
            raise CoaterError(
                f"{path} has already finished {state['done']} tasks; ask for at least that many."
            )
        self.done, self.average = state["done"], state["average"]
        self.start, self.next = state["start"], state["next"]
        self.coater.center = state["center"]

    def finish(self) -> Coater:
        """The start coater, with how it was made."""
        result = self._coater(self.next if self.config.variant == "official" else self.start)
        result.provenance = {
            "meta": self.config.to_dict() | {"tasks": self.done},
            "training": self.inner.to_dict(),
            "tasks_sha256": self.tasks_hash,
            "start_sha256": self.begun,
            "figures": {name: round(value, 5) for name, value in self.average.items()},
        }
        for network in (result.generator, result.extractor):
            network.requires_grad_(False)
        return result


def _trained(coater: Coater) -> Weights:
    """Copies of the parameters on the CPU, without the constant message and statistics."""
    parts = (("generator", coater.generator), ("extractor", coater.extractor))
    return {
        f"{part}.{name}": value.detach().cpu().clone()
        for part, network in parts
        for name, value in network.named_parameters()
    }
