"""Scores a folder, a place or shards with several workers."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from siren_ext.data.image_files import image_suffixes
from siren_ext.errors import ScoreError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.scale.places import Place, url_of
from siren_ext.scale.run import EngineName, check_numbers, coater_facts, run_crew, worker_facts
from siren_ext.scale.score_journal import ScoreJournal
from siren_ext.scale.score_worker import Scored, ScoreSetup, ScoreTask
from siren_ext.scale.shards import Shards
from siren_ext.scale.worker import Outcome, Step
from siren_ext.scoring.score import PROVENANCE, folder_images, folder_source, nothing_scored
from siren_ext.scoring.score_set import MAX_TEXT, ScoreSet, StoredFailure, StoredScores
from siren_ext.text import natural_key, printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater


@dataclass(frozen=True)
class _Given:
    """What is scored: tasks with the stamps of their content, and what the set says about them.

    A stamp is "" for a file of this machine, which is known by its hash.
    """

    tasks: dict[ScoreTask, str]
    source: dict[str, Any]
    lost: Sequence[tuple[str, str]] = ()
    place: str = ""
    shards: bool = False


def score_with_workers(
    given: Path | str | Shards,
    coater: Coater,
    coater_file: Path,
    journal: Path,
    *,
    processes: int = 1,
    engine: EngineName = "local",
    batch_size: int = 16,
    device: str = "cpu",
    column: str = "",
    progress: Progress = NULL,
) -> ScoreSet:
    """Do what :func:`siren_ext.scoring.score.score_folder` does, with several workers.

    A worker reports every image as soon as it is scored, and this process records it. After any
    kill, of workers or of this process, recorded images are not scored again. Of shards the same
    holds for each shard.

    Parameters
    ----------
    given : Path | str | Shards
        A folder, the URL of one, or shards (:func:`siren_ext.scale.shards.shards_at`). Subfolders
        are not searched. Images in shards are called by the shard's name and their own.
    coater, progress
        As in :func:`~siren_ext.scoring.score.score_folder`.
    coater_file, processes, engine, device
        As in :func:`siren_ext.scale.coat.coat_with_workers`.
    journal : Path
        A file for finished scores, from which a stopped run is resumed. The caller deletes it when
        the scores are saved.
    batch_size : int
        Images scored at once by a worker. With the same number the scores are those of one process.
    column : str
        The column of images in Parquet files; "" finds it.

    Returns
    -------
    ScoreSet
        The scores, in natural order of the names.

    Raises
    ------
    ScoreError, DatasetError
        There is no such folder, no image in it could be scored, the journal can't be written, or
        a place can't be used.
    ConfigError
        A number is below 1, or workers end one after another.
    MissingExtraError, Cancelled
        Ray or pyarrow is not installed; the user stopped.
    """
    check_numbers(processes=processes, batch_size=batch_size)
    images, records = _images(given), ScoreJournal(journal, coater.fingerprint, column)
    done = _known(images, records)
    facts = worker_facts(engine, processes, device) | coater_facts(coater, coater_file)
    facts |= {"place": images.place, "shards": images.shards}
    setup = ScoreSetup(**facts, column=column, batch_size=batch_size)
    failures: dict[ScoreTask, str] = {}

    def report(task: ScoreTask, outcome: Outcome) -> None:
        if isinstance(outcome, Step):
            progress.advance(1, outcome.note)
            return
        if isinstance(outcome, Scored):
            done[task] = outcome
            if outcome.rows:  # an image that could not be read is tried again
                stamp = images.tasks[task] or outcome.rows[0].sha256
                records.add(task.name, stamp, outcome)
        else:
            failures[task] = outcome.error
        if not images.shards:
            progress.advance(1, task.name)

    work = _batches(images, done, batch_size)
    total = None if images.shards else len(images.tasks)
    progress.stage("Scoring images", total, sum(len(one.rows) for one in done.values()))
    run_crew(setup, work, report, engine=engine, processes=processes, at_once=images.shards)
    return _joined(coater, images, done, failures)


def _batches(
    images: _Given, done: dict[ScoreTask, Scored], batch_size: int
) -> list[list[ScoreTask]]:
    """What is left to do; a shard is a batch."""
    left = [task for task in images.tasks if task not in done]
    size = 1 if images.shards else batch_size
    return [left[start : start + size] for start in range(0, len(left), size)]


def _joined(
    coater: Coater,
    images: _Given,
    done: dict[ScoreTask, Scored],
    failures: dict[ScoreTask, str],
) -> ScoreSet:
    """All scores in the order of the tasks."""
    lost = list(images.lost)
    for task in images.tasks:
        lost += done[task].failures if task in done else [(task.name, failures[task])]
    rows = [row for task in images.tasks if task in done for row in done[task].rows]
    if not rows:
        raise nothing_scored(lost)
    stored = StoredScores(
        coater=coater.fingerprint,
        source=images.source,
        images=rows,
        failures=[StoredFailure(name[:MAX_TEXT], why[:MAX_TEXT]) for name, why in lost],
    )
    return ScoreSet.from_stored(stored)


def _known(images: _Given, records: ScoreJournal) -> dict[ScoreTask, Scored]:
    """What a stopped run recorded of images that are as they were; other records are dropped."""

    def same(task: ScoreTask) -> Scored | None:
        if (found := records.known(task.name)) is None:
            return None
        stamp, scored = found
        try:
            return (
                scored if stamp == (images.tasks[task] or sha256_file(Path(task.where))) else None
            )
        except OSError:  # it is read again, which reports what is wrong
            return None

    with ThreadPoolExecutor(max_workers=2) as pool:
        found = zip(images.tasks, pool.map(same, images.tasks), strict=True)
        done = {task: scored for task, scored in found if scored is not None}
    records.begin(task.name for task in done)
    return done


def _images(given: Path | str | Shards) -> _Given:
    """What is to be scored."""
    if isinstance(given, Shards):
        tasks = {ScoreTask(printable(name), name): f.stamp for name, f in given.found.items()}
        return _Given(tasks, folder_source(given.name, None), place=given.place, shards=True)
    if (url := url_of(given)) is not None:
        return _in_place(url)
    paths, lost, source = folder_images(Path(given))
    tasks = {ScoreTask(name, str(path.absolute())): "" for name, path in paths}
    return _Given(tasks, source, lost)


def _in_place(url: str) -> _Given:
    """The images directly in a place."""
    place = Place(url)
    found = {name: facts for name, facts in place.files().items() if "/" not in name}
    names = [
        name
        for name in sorted(found, key=natural_key)
        if not name.startswith(".") and PurePosixPath(name).suffix.lower() in image_suffixes()
    ]
    if not names:
        raise ScoreError(f"{url} contains no images; expected a folder of images.")
    last = url.rpartition("/")[2]
    if PROVENANCE in found:
        with place.reading(PROVENANCE) as path:
            source = folder_source(last, path)
    else:
        source = folder_source(last, None)
    return _Given({ScoreTask(printable(n), n): found[n].stamp for n in names}, source, place=url)
