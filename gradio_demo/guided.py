"""The guided demo: a shorter version of ``siren-ext demo``, quick enough for a visitor to wait.

Coats images with a new key, trains a suspicious model on the coated images, generates images with
it, and tests whether they carry the key's message. The steps are those of the command-line demo,
without its innocent model and with fewer generated images. With less training the message was not
found.
"""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, SirenError
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.panels.actions import (
    Coated,
    Tiles,
    Verification,
    before_after,
    coat_step,
    verify_step,
)
from siren_ext.panels.host import PanelHost
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.progress import Progress
from siren_ext.samples.folder import sample_set
from siren_ext.suspects.base import PromptPlan
from siren_ext.training.prompts import surrogate_prompt
from siren_ext.workflows.experiment_run import ExperimentModel, spread_captions

STEPS = (
    "Draw a secret key and coat the images with it",
    "Train a suspicious model on the coated images",
    "Generate images with the suspicious model",
    "Score the images, test the key and write the report",
)


@dataclass(frozen=True)
class Length:
    """Amounts of a guided run.

    Attributes
    ----------
    images : int
        Images that are coated and trained on.
    training_steps, training_batch : int
        Training steps of the model, and images per step.
    suspect_images : int
        Images generated with the model.
    sampling_steps : int
        Sampling steps per image.
    alpha : float
        Accepted risk of a false alarm: the share of random keys that may fit as well.
    """

    images: int = 96
    training_steps: int = 250
    training_batch: int = 12
    suspect_images: int = 80
    sampling_steps: int = 20
    alpha: float = 1e-3


@dataclass
class RunState:
    """What the page shows of a run at one moment.

    Attributes
    ----------
    step : int
        Index of the current step; ``len(STEPS)`` when finished.
    note : str
        Progress of the current step.
    examples : Tiles | None
        Pictures of the coating, once there are any.
    coated : Coated | None
        The coated images, once finished.
    verification : Verification | None
        The verdict, once finished.
    error : str
        Why the run failed, or "".
    stopped : bool
        Whether the visitor stopped the run.
    """

    step: int = 0
    note: str = ""
    examples: Tiles | None = None
    verification: Verification | None = None
    coated: Coated | None = None
    error: str = ""
    stopped: bool = False

    def lines(self) -> list[tuple[str, str, str]]:
        """State of every step, for :func:`~siren_ext.panels.html.story_card`.

        Returns
        -------
        list[tuple[str, str, str]]
            ``done``, ``now`` or ``wait``, the description and a note.
        """
        states = ["done" if i < self.step else "wait" for i in range(len(STEPS))]
        if self.step < len(STEPS) and not self.error and not self.stopped:
            states[self.step] = "now"
        notes = [self.note if i == self.step else "" for i in range(len(STEPS))]
        return list(zip(states, STEPS, notes, strict=True))


class Guided:
    """Guided runs of one host.

    Parameters
    ----------
    host : PanelHost
        Temporary folders, coaters and Stop buttons.
    length : Length | None
        Amounts; None for the defaults.
    """

    def __init__(self, host: PanelHost, length: Length | None = None) -> None:
        self.host, self.length = host, length or Length()

    def run(self, images: Path | None, noun: str, job_id: str) -> Iterator[RunState]:
        """Run all steps, in a thread so that the page can be updated during long steps.

        Parameters
        ----------
        images : Path | None
            Folder of images, deleted at the end; None for the sample images.
        noun : str
            What the visitor's images show.
        job_id : str
            Id of the job, for Stop.

        Yields
        ------
        RunState
            The state after each change. Errors are reported in it, not raised.
        """
        states: queue.Queue[RunState | None] = queue.Queue()
        state = RunState()

        def update(**changes: Any) -> None:
            nonlocal state
            state = replace(state, **changes)
            states.put(state)

        def work() -> None:
            try:
                with self.host.jobs.working("guided") as job:
                    self._run_steps(images, noun, job_id, job, update)
            except Cancelled:
                update(stopped=True)
            except SirenError as error:
                update(error=str(error))
            except Exception as error:  # every failure has to be visible on the page
                update(error=f"Something unexpected went wrong ({type(error).__name__}): {error}")
            finally:
                if images is not None:
                    shutil.rmtree(images, ignore_errors=True)
                states.put(None)

        yield state
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (latest := states.get()) is not None:
                yield latest
        finally:
            self.host.stops.request(job_id)  # the visitor has left

    def _run_steps(
        self, images: Path | None, noun: str, job_id: str, job: Path, update: Callable[..., None]
    ) -> None:
        length = self.length
        data = sample_set() if images is None else ImageSet.open(images)
        data = _first(data, length.images)
        prompt = None if images is None else surrogate_prompt(noun)
        coater = self.host.coaters.load("keyed")
        key = CoatingKey.draw(coater.config.message_bits)
        coated = coat_step(data, coater, job, key=key, progress=self._progress(update, 0, job_id))
        update(step=1, note="", coated=coated, examples=before_after(coated, data, job))
        prompts = (prompt,) if prompt else spread_captions(data)
        suspect = self._suspect(job, prompts, prompt)
        suspect.train(ImageSet.open(coated.folder), self._progress(update, 1, job_id))
        update(step=2, note="")
        suspect.generate(self._progress(update, 2, job_id))
        update(step=3, note="")
        watched = self._progress(update, 3, job_id)
        verification = verify_step(
            suspect.images, None, coater, job, alpha=length.alpha, key=key, progress=watched
        )
        update(step=len(STEPS), note="", verification=verification)

    def _progress(self, update: Callable[..., None], step: int, job_id: str) -> Progress:
        return _StateProgress(update, step, lambda: self.host.stops.requested(job_id))

    def _suspect(self, job: Path, prompts: tuple[str, ...], caption: str | None) -> ExperimentModel:
        """The suspicious model."""
        length = self.length
        return ExperimentModel(
            base="pocket",
            plan=PromptPlan(
                prompts=prompts, count=length.suspect_images, seed=100_000,
                steps=length.sampling_steps,
            ),
            images=job / "suspect_pictures",
            training=PersonalizeConfig(
                steps=length.training_steps,
                batch_size=length.training_batch,
                seed=1,
                prompt=caption,
            ),
            adapter=job / "suspect.safetensors",
        )  # fmt: skip


class _StateProgress(Progress):
    """Writes the progress of a step into the state, about 20 times per step."""

    def __init__(
        self, update: Callable[..., None], step: int, cancelled: Callable[[], bool]
    ) -> None:
        super().__init__(cancelled)
        self._update, self._step = update, step
        self._label, self._done, self._total, self._shown = "", 0, 0, -1

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        super().advance(0)
        self._label, self._done, self._total, self._shown = label, done, total or 0, -1

    def advance(self, units: int = 1, note: str = "") -> None:
        self._done += units
        share = 20 * self._done // self._total if self._total else 0
        if self._total and share != self._shown:
            self._shown = share
            self._update(step=self._step, note=f"{self._label}: {self._done} of {self._total}")
        super().advance(units, note)


def _first(data: ImageSet, count: int) -> ImageSet:
    return replace(data, items=data.items[:count])
