"""The guided demo: the chain of ``siren-ext demo``, shortened so that a visitor can wait for it.

Coat, train a suspicious model on the coated images and a reference on the clean ones, ask both for
pictures, score, verify. Only amounts are smaller than in the command-line demo; the steps are the
package's own.
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
from siren_ext.panels.actions import Coated, Verification, Tiles, before_after, coat_step, verify_step
from siren_ext.panels.host import PanelHost, JobFolders
from siren_ext.progress import Progress
from siren_ext.samples import sample_set
from siren_ext.training.prompts import surrogate_prompt

STEPS = (
    "Coat the images",
    "Train a suspicious model on the coated images",
    "Train a reference model on the clean originals",
    "Ask the suspicious model for pictures",
    "Ask the reference model for pictures",
    "Score all pictures, test and write the report",
)

_A_MONTH = 30 * 24 * 60.0


@dataclass(frozen=True)
class Length:
    """How much a guided run does; the command-line demo does more of everything."""

    images: int = 40
    training_steps: int = 120
    training_batch: int = 8
    suspect_images: int = 30
    reference_images: int = 50
    sampling_steps: int = 12
    alpha: float = 1e-4


@dataclass
class Story:
    """What a page shows of a run at some moment."""

    step: int = 0
    note: str = ""
    looks: Tiles | None = None
    verification: Verification | None = None
    coated: Coated | None = None
    error: str = ""
    stopped: bool = False

    def lines(self) -> list[tuple[str, str, str]]:
        """(state, text, note) of every step, for a story card."""
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
        temporary folders, coaters and Stop buttons.
    length : Length | None
        how much a run does.
    """

    def __init__(self, host: PanelHost, length: Length | None = None) -> None:
        self.host, self.length = host, length or Length()
        # the reference of the sample set is the same for every visitor: made once, then kept
        self._reference: Path | None = None
        self._home = JobFolders(keep_minutes=_A_MONTH)
        self._lock = threading.Lock()

    def run(self, images: Path | None, noun: str, word: str) -> Iterator[Story]:
        """Run the chain on a folder of images (None: the samples), telling the story as it goes.

        The chain works in a thread of its own, so that the page hears from it during long steps.
        A folder that was given is deleted at the end.
        """
        told: queue.Queue[Story | None] = queue.Queue()
        story = Story()

        def tell(**changes: Any) -> None:
            nonlocal story
            story = replace(story, **changes)
            told.put(story)

        def work() -> None:
            try:
                self._chain(images, noun, word, tell)
            except Cancelled:
                tell(stopped=True)
            except SirenError as error:
                tell(error=str(error))
            except Exception as error:  # the page has to hear of every end
                tell(error=f"An unexpected {type(error).__name__}: {error}")
            finally:
                if images is not None:
                    shutil.rmtree(images, ignore_errors=True)
                told.put(None)

        yield story
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (latest := told.get()) is not None:
                yield latest
        finally:
            self.host.stops.request(word)  # the visitor left: stop working for nobody

    def _chain(self, images: Path | None, noun: str, word: str, tell: Callable[..., None]) -> None:
        length, job = self.length, self.host.jobs.new("guided")
        data = sample_set() if images is None else ImageSet.open(images)
        data = _first(data, length.images)
        prompt = None if images is None else surrogate_prompt(noun)
        coater = self.host.coaters.load("samples")
        coated = coat_step(data, coater, job, progress=self._watch(tell, 0, word))
        tell(step=1, note="", coated=coated, looks=before_after(coated, data, job))
        adapters = {name: job / f"{name}.safetensors" for name in ("suspect", "reference")}
        protected = ImageSet.open(coated.folder)
        self._train(protected, prompt, adapters["suspect"], 1, self._watch(tell, 1, word))
        ready = self._reference if images is None else None
        tell(step=2, note="kept from an earlier run" if ready else "")
        if ready is None:
            self._train(data, prompt, adapters["reference"], 2, self._watch(tell, 2, word))
        prompts = (prompt,) if prompt else _captions(data)
        tell(step=3, note="")
        suspect = job / "suspect_pictures"
        self._draw(prompts, adapters["suspect"], suspect, length.suspect_images, 1,
                   self._watch(tell, 3, word))  # fmt: skip
        tell(step=4, note="kept from an earlier run" if ready else "")
        reference = ready or job / "reference_pictures"
        if ready is None:
            self._draw(prompts, adapters["reference"], reference, length.reference_images, 2,
                       self._watch(tell, 4, word))  # fmt: skip
            if images is None:
                self._keep(reference)
        tell(step=5, note="")
        verification = verify_step(
            suspect, reference, coater, job, alpha=length.alpha, progress=self._watch(tell, 5, word)
        )
        tell(step=6, note="", verification=verification)

    def _watch(self, tell: Callable[..., None], step: int, word: str) -> Progress:
        return _Telling(tell, step, lambda: self.host.stops.requested(word))

    def _train(
        self, data: ImageSet, prompt: str | None, out: Path, seed: int, progress: Progress
    ) -> None:
        from siren_ext.personalize.config import PersonalizeConfig
        from siren_ext.personalize.run import personalize

        length = self.length
        config = PersonalizeConfig(
            steps=length.training_steps, batch_size=length.training_batch, seed=seed, prompt=prompt
        )
        personalize(data, "pocket", config, out, progress=progress)

    def _draw(
        self, prompts: tuple[str, ...], adapter: Path, out: Path, count: int, place: int,
        progress: Progress,
    ) -> None:  # fmt: skip
        from siren_ext.suspects.base import PromptPlan, generate_images
        from siren_ext.suspects.local import LocalSuspect

        plan = PromptPlan(
            prompts=prompts, count=count, seed=place * 100_000, steps=self.length.sampling_steps
        )
        generate_images(LocalSuspect("pocket", adapter), plan, out, progress=progress)

    def _keep(self, pictures: Path) -> None:
        with self._lock:
            if self._reference is None:
                home = self._home.new("reference") / "pictures"
                shutil.copytree(pictures, home)
                self._reference = home


class _Telling(Progress):
    """Puts counts into the story, a few times a second at most."""

    def __init__(self, tell: Callable[..., None], step: int, cancelled: Callable[[], bool]) -> None:
        super().__init__(cancelled)
        self._tell, self._step = tell, step
        self._label, self._done, self._total, self._shown = "", 0, 0, -1

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        super().advance(0)
        self._label, self._done, self._total, self._shown = label, done, total or 0, -1

    def advance(self, units: int = 1, note: str = "") -> None:
        self._done += units
        share = 20 * self._done // self._total if self._total else 0
        if self._total and share != self._shown:
            self._shown = share
            self._tell(step=self._step, note=f"{self._label}: {self._done} of {self._total}")
        super().advance(units, note)


def _first(data: ImageSet, count: int) -> ImageSet:
    return replace(data, items=data.items[:count])


def _captions(data: ImageSet) -> tuple[str, ...]:
    """Ten captions spread evenly over the set: 30 and 50 pictures repeat them alike."""
    captions = list(dict.fromkeys(data.captions("an image")))
    count = min(10, len(captions))
    return tuple(captions[i * len(captions) // count] for i in range(count))
