"""Coats a folder with several workers; files and manifest are those of one process."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from siren_ext.coating.apply import message_of
from siren_ext.coating.folder import FolderRun, open_run
from siren_ext.coating.manifest import CoatConfig, CoatEntry, CoatManifest
from siren_ext.coating.plan import CoatJob, batches
from siren_ext.errors import Cancelled, ConfigError
from siren_ext.files import one_at_a_time
from siren_ext.progress import NULL, Progress
from siren_ext.scale.crew import Crew
from siren_ext.scale.processes import ProcessEngine, threads_for
from siren_ext.scale.worker import Setup

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet
    from siren_ext.keys.coating_key import CoatingKey

EngineName = Literal["local", "ray"]


@one_at_a_time
def coat_with_workers(
    data: ImageSet,
    coater: Coater,
    coater_file: Path,
    out: Path,
    config: CoatConfig | None = None,
    *,
    processes: int,
    engine: EngineName = "local",
    key: CoatingKey | None = None,
    batch_size: int = 8,
    device: str = "cpu",
    progress: Progress = NULL,
) -> CoatManifest:
    """Do what :func:`siren_ext.coating.folder.coat_folder` does, with several workers.

    This process plans the run and keeps the journal; a worker reports every image as soon as it is
    written. After any kill, of workers or of this process, the images in the journal are not coated
    again. An image whose worker was killed before it reported it is coated again from its source.

    Parameters
    ----------
    data, coater, out, config, key, batch_size, progress
        As in :func:`~siren_ext.coating.folder.coat_folder`. With the engine ``ray``, the folders
        have the same paths on all machines.
    coater_file : Path
        The file of ``coater``, from which each worker loads its own.
    processes : int
        Number of workers.
    engine : str
        ``local``: processes of this machine; ``ray``: of a Ray cluster.
    device : str
        Where the networks of the workers run.

    Returns
    -------
    CoatManifest
        What was done, also written to ``out``.

    Raises
    ------
    DatasetError, CoaterError, Cancelled
        As in :func:`~siren_ext.coating.folder.coat_folder`.
    ConfigError
        A number is below 1, or workers end one after another.
    MissingExtraError
        Ray is not installed.
    """
    if processes < 1:
        raise ConfigError(f"processes is {processes}; expected 1 or more.")
    run = open_run(data, coater, out, config, key=key, batch_size=batch_size, progress=progress)
    message = message_of(key)
    setup = Setup(
        coater=Path(coater_file).resolve(),
        fingerprint=coater.fingerprint,
        config=run.config,
        out=run.out.resolve(),
        message=None if message is None else tuple(message.tolist()),
        device=device,
        threads=threads_for(processes) if engine == "local" else 1,
    )
    try:
        with ThreadPoolExecutor(max_workers=processes) as pool:
            jobs = run.plan(pool)
        work = [[_absolute(job) for job in batch] for batch in batches(jobs, batch_size)]
        processes = min(processes, max(1, len(work)))
        with closing(engine_for(engine, setup, processes)) as started:
            _coat(run, work, started, processes)
    finally:
        manifest = run.close()
    return manifest


def engine_for(name: EngineName, setup: Setup, processes: int) -> Any:
    """What starts the workers.

    Parameters
    ----------
    name : str
        ``local`` or ``ray``.
    setup : Setup
        What each worker needs.
    processes : int
        Number of workers.

    Returns
    -------
    Engine
        To be closed after use.

    Raises
    ------
    MissingExtraError
        Ray is not installed.
    ConfigError
        Its cluster can't be reached, or is too small.
    """
    if name == "local":
        return ProcessEngine(setup)
    from siren_ext.scale.cluster import RayEngine

    return RayEngine(setup, processes)


def _absolute(job: CoatJob) -> CoatJob:
    """The same job for a process with another working folder."""
    item = job.item
    files = tuple(path.absolute() for path in item.caption_files)
    mask = None if item.mask is None else item.mask.absolute()
    moved = dataclasses.replace(item, path=item.path.absolute(), caption_files=files, mask=mask)
    return dataclasses.replace(job, item=moved)


def _coat(run: FolderRun, work: list[list[CoatJob]], engine: Any, processes: int) -> None:
    """Coat everything, and record it as it comes."""
    run.begin_coating(sum(map(len, work)))
    crew: Crew[CoatJob] = Crew(engine, processes, work)
    stopped: Cancelled | None = None
    with closing(crew.results()) as results:
        for job, outcome in results:
            if isinstance(outcome, CoatEntry):
                run.journal.add(outcome)
            elif outcome.full:
                raise run.full(outcome.error)
            try:
                if isinstance(outcome, CoatEntry):
                    run.progress.advance(1, job.item.name)
                else:
                    run.fail(job, outcome.error)
            except Cancelled as error:  # what was begun is finished and recorded
                crew.stop()
                stopped = error
    if stopped is not None:
        raise stopped
    run.complete = True
