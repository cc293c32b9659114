"""Coats a folder with several workers; files and manifest are those of one process."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.coating.folder import FolderRun, open_run
from siren_ext.coating.manifest import CoatConfig, CoatEntry, CoatManifest
from siren_ext.coating.plan import CoatJob, batches
from siren_ext.files import one_at_a_time
from siren_ext.progress import NULL, Progress
from siren_ext.scale.coat_worker import CoatSetup
from siren_ext.scale.run import (
    EngineName,
    check_numbers,
    coater_facts,
    coating_facts,
    run_crew,
    worker_facts,
)
from siren_ext.scale.worker import Outcome

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet
    from siren_ext.keys.coating_key import CoatingKey


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
    check_numbers(processes=processes)
    run = open_run(data, coater, out, config, key=key, batch_size=batch_size, progress=progress)
    setup = CoatSetup(
        **worker_facts(engine, processes, device),
        **coater_facts(coater, coater_file),
        **coating_facts(run.config, key),
        out=run.out.resolve(),
    )
    try:
        with ThreadPoolExecutor(max_workers=processes) as pool:
            jobs = run.plan(pool)
        run.begin_coating(len(jobs))
        work = [[_absolute(job) for job in batch] for batch in batches(jobs, batch_size)]
        run_crew(setup, work, partial(_report, run), engine=engine, processes=processes)
        run.complete = True
    finally:
        manifest = run.close()
    return manifest


def _absolute(job: CoatJob) -> CoatJob:
    """The same job for a process with another working folder."""
    item = job.item
    files = tuple(path.absolute() for path in item.caption_files)
    mask = None if item.mask is None else item.mask.absolute()
    moved = dataclasses.replace(item, path=item.path.absolute(), caption_files=files, mask=mask)
    return dataclasses.replace(job, item=moved)


def _report(run: FolderRun, job: CoatJob, outcome: Outcome) -> None:
    """Record an image."""
    if isinstance(outcome, CoatEntry):
        run.journal.add(outcome)
        run.progress.advance(1, job.item.name)
    elif outcome.full:
        raise run.full(outcome.error)
    else:
        run.fail(job, outcome.error)
