"""Coats shards, each into one of the same name in another place."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.coating.apply import check_key
from siren_ext.coating.manifest import CoatConfig, CoatManifest
from siren_ext.data.survey import examples
from siren_ext.errors import DatasetError
from siren_ext.files import locked
from siren_ext.progress import NULL, Progress
from siren_ext.scale.places import Place, url_of
from siren_ext.scale.run import (
    EngineName,
    check_numbers,
    coater_facts,
    coating_facts,
    run_crew,
    worker_facts,
)
from siren_ext.scale.shard_records import ShardRecords
from siren_ext.scale.shard_worker import ShardDone, ShardSetup
from siren_ext.scale.shards import Shards
from siren_ext.scale.store import check_plain, separate_places
from siren_ext.scale.worker import Outcome, Step
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey


def coat_shards(
    shards: Shards,
    coater: Coater,
    coater_file: Path,
    out: str,
    config: CoatConfig | None = None,
    *,
    processes: int = 1,
    engine: EngineName = "local",
    key: CoatingKey | None = None,
    batch_size: int = 8,
    device: str = "cpu",
    column: str = "",
    progress: Progress = NULL,
) -> CoatManifest:
    """Coat the images in shards.

    A new shard has the samples of the old one in their order, with all that is not an image. A
    sample whose image can't be coated is left out, and a damaged shard is not written. A shard
    appears when it is whole, so a stopped or killed run goes on with those that are missing. A
    finished one is coated again only if its source, the coater or the settings have changed.

    Parameters
    ----------
    shards : Shards
        See :func:`siren_ext.scale.shards.shards_at`.
    out : str
        URL or folder.
    coater, config, key, progress
        As in :func:`siren_ext.coating.folder.coat_folder`.
    coater_file, processes, engine, device
        As in :func:`siren_ext.scale.coat.coat_with_workers`; a worker coats a shard at a time.
    batch_size : int
        Most images that a worker has in memory at once.
    column : str
        The column of images in Parquet files; "" finds it.

    Returns
    -------
    CoatManifest
        What was done, also written to ``out``. Names are those of the shards, with those of the
        images below them.

    Raises
    ------
    ConfigError
        A number is below 1, or a setting needs the whole set.
    DatasetError
        A place can't be used, ``out`` has a file that would be replaced and that no earlier run
        wrote, or no shard could be coated.
    CoaterError
        The key does not fit the coater.
    Cancelled
        The user stopped the run.
    """
    check_numbers(processes=processes, batch_size=batch_size)
    check_plain(config := config or CoatConfig(), "shards are not read in advance")
    check_key(coater, key)
    target = Place(out)
    if shards.single:
        if target.inside(source := Place(shards.place)) and source.inside(target):
            raise DatasetError(f"{out} is the folder of {shards.name}; choose another one.")
    else:
        separate_places(shards.place, out)
    with locked(Path(out)) if url_of(out) is None else nullcontext():
        mark = "" if key is None else key.fingerprint()
        records = ShardRecords(target, shards.found, coater.fingerprint, config, mark, column)
        records.begin()
        setup = ShardSetup(
            **worker_facts(engine, processes, device),
            **coater_facts(coater, coater_file),
            **coating_facts(config, key),
            out=Path(),
            source=shards.place,
            target=out,
            column=column,
            batch_size=batch_size,
        )
        return _coat(setup, records, engine, processes, progress)


def _coat(
    setup: ShardSetup,
    records: ShardRecords,
    engine: EngineName,
    processes: int,
    progress: Progress,
) -> CoatManifest:
    """Coat the shards that are left."""
    failures: dict[str, str] = {}

    def report(name: str, outcome: Outcome) -> None:
        if isinstance(outcome, Step):
            progress.advance(1, outcome.note)
        elif isinstance(outcome, ShardDone):
            records.add(name, outcome)
        elif outcome.full:
            raise DatasetError(
                f"{setup.target} can't be written: {outcome.error}. Free some space, then run the "
                "same command again to resume."
            )
        else:
            failures[printable(name)] = outcome.error

    complete = False
    progress.stage("Coating images of shards", None, records.images)
    try:
        work = [[name] for name in records.left]
        run_crew(setup, work, report, engine=engine, processes=processes, at_once=True)
        complete = True
    finally:
        manifest = records.finish(list(failures.items()), complete=complete)
    if failures and not manifest.files:
        first = next(iter(failures.values()))
        raise DatasetError(
            f"None of {len(failures)} shards could be coated. The first error: {first}"
        )
    if copied := records.copied:
        progress.notice(
            f"{len(copied)} pictures were copied without a coating ({examples(copied)}): their "
            "names have endings such as .mask.png, so they belong to another image with the same "
            "key. Rename them if they are images to publish."
        )
    return manifest
