"""Generates the pictures of a plan with several workers, each with its own copy of the model."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siren_ext.errors import ConfigError
from siren_ext.files import is_present, locked, sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.scale.generate_worker import GenerateSetup, picture_name
from siren_ext.scale.places import Place, url_of
from siren_ext.scale.run import EngineName, check_numbers, run_crew, worker_facts
from siren_ext.scale.worker import Outcome
from siren_ext.scoring.score import PROVENANCE
from siren_ext.suspects.base import SAVE_SECONDS, PromptPlan, continued
from siren_ext.suspects.local import LocalSuspect
from siren_ext.suspects.provenance import PictureRecord, Provenance

FAR_SECONDS = 30.0
"""Seconds after which the record is sent to an object store again."""


@dataclass(frozen=True)
class Generated:
    """What a run made.

    Attributes
    ----------
    names : tuple[str, ...]
        File names of the pictures that exist, in rising order.
    missed : tuple[tuple[str, str], ...]
        File names of those that don't, and why.
    """

    names: tuple[str, ...]
    missed: tuple[tuple[str, str], ...]


def generate_with_workers(
    suspect: LocalSuspect,
    plan: PromptPlan,
    out: Path | str,
    *,
    processes: int = 1,
    engine: EngineName = "local",
    progress: Progress = NULL,
) -> Generated:
    """Do what :func:`siren_ext.suspects.base.generate_images` does, with several workers.

    A worker reports every picture as soon as it is written, and this process records it. After a
    kill of workers nothing that was reported is made again; after a kill of this process what was
    recorded in the last seconds is, and is the same. Batches begin at the same numbers as with one
    process, so the pictures are the same too.

    Parameters
    ----------
    suspect : LocalSuspect
        The model. With the engine ``ray`` its files have the same paths on all machines.
    plan : PromptPlan
        The pictures.
    out : Path | str
        Folder or URL.
    processes, engine
        As in :func:`siren_ext.scale.coat.coat_with_workers`.
    progress : Progress
        One unit per picture.

    Returns
    -------
    Generated
        What there is.

    Raises
    ------
    ConfigError
        ``out`` has pictures of another suspect or plan, the plan does not suit the suspect, a
        number is below 1, or workers end one after another.
    DatasetError
        ``out`` can't be used.
    MissingExtraError
        Ray, or the library of a store, is not installed.
    Cancelled
        The user stopped; finished pictures are kept.
    """
    check_numbers(processes=processes)
    far = url_of(out) is not None
    target = str(out) if far else str(Path(out).absolute())
    with nullcontext() if far else locked(Path(out)):
        described = suspect.describe()
        run = _Run(Place(target), far=far)
        run.recall(described, plan)
        names = [picture_name(index) for index in range(plan.count)]
        missing = run.missing(names)
        run.save()  # first, so that the next call can resume a stopped run
        setup = GenerateSetup(
            **worker_facts(engine, processes, str(suspect.device)),
            **_model_facts(suspect),
            plan=plan,
            target=target,
            described=described,
        )

        def report(index: int, outcome: Outcome) -> None:
            run.note(names[index], outcome)
            progress.advance(note=names[index])

        progress.stage("Generating", plan.count, plan.count - len(missing))
        try:
            work = _batches(missing, suspect.batch_size)
            run_crew(setup, work, report, engine=engine, processes=processes)
        finally:
            run.save()
        made = tuple(name for name in names if name in run.record.images)
        return Generated(made, tuple(run.record.missed.items()))


def _model_facts(suspect: LocalSuspect) -> dict[str, Any]:
    """What a worker needs to load the model, by names that all working folders know."""
    model, adapters = Path(suspect.model), suspect.adapters
    return {
        "model": str(model.absolute()) if is_present(model) else str(suspect.model),
        "adapters": tuple(
            dataclasses.replace(used, path=used.path.absolute()) for used in adapters
        ),
        "allow_partial": suspect.allow_partial,
        "dtype": str(suspect.dtype).removeprefix("torch."),
        "batch_size": suspect.batch_size,
    }


def _batches(indices: Sequence[int], size: int) -> list[list[int]]:
    """Numbers of pictures that one process would make in one batch."""
    found: dict[int, list[int]] = {}
    for index in indices:
        found.setdefault(index // size, []).append(index)
    return list(found.values())


class _Run:
    """The record of a run, and where it is."""

    record: Provenance

    def __init__(self, place: Place, *, far: bool) -> None:
        self._place, self._far = place, far
        self._there = {name for name in place.files() if "/" not in name}
        self._saved = float("-inf")

    def recall(self, described: dict[str, object], plan: PromptPlan) -> None:
        """Begin with what an earlier run finished."""
        earlier = None
        if PROVENANCE in self._there:
            with self._folder() as folder:
                self._place.fetch(PROVENANCE, folder / PROVENANCE)
                earlier = Provenance.load(folder)
        taken = any(name.endswith(".png") for name in self._there)
        self.record = continued(earlier, described, plan, out=self._place.url, taken=taken)

    def missing(self, names: Sequence[str]) -> list[int]:
        """Numbers of the pictures that are not there, or not as they were recorded."""
        return [index for index, name in enumerate(names) if not self._is_there(name)]

    def _is_there(self, name: str) -> bool:
        if name not in self._there or name not in self.record.images:
            return False
        # to fetch all pictures of a store again would take longer than to trust its list
        path = Path(self._place.root, name)
        if self._far or sha256_file(path) == self.record.images[name].sha256:
            return True
        del self.record.images[name]
        return False

    def note(self, name: str, outcome: Outcome) -> None:
        """Record a picture."""
        if isinstance(outcome, PictureRecord):
            self.record.images[name] = outcome
        elif outcome.full:
            raise ConfigError(f"{self._place.url} can't be written: {outcome.error}.")
        else:
            self.record.missed[name] = outcome.error
        if time.monotonic() - self._saved > (FAR_SECONDS if self._far else SAVE_SECONDS):
            self.save()

    def save(self) -> None:
        """Write the record."""
        with self._folder() as folder:
            self.record.save(folder)
            with self._place.writing(PROVENANCE) as path:
                path.write_bytes((folder / PROVENANCE).read_bytes())
        self._saved = time.monotonic()

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="siren-") as folder:
            yield Path(folder)
