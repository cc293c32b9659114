"""Coats all images of a place, such as a bucket, into another place."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from siren_ext.coating.apply import check_key
from siren_ext.coating.manifest import CoatConfig, CoatEntry, CoatManifest
from siren_ext.coating.outputs import output_names
from siren_ext.data.dataset import ImageSet
from siren_ext.data.lossy import SUFFIXES
from siren_ext.data.survey import CAPTION_SUFFIXES, Survey, sort_files, unknown_files
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.progress import NULL, Progress
from siren_ext.scale.places import Found, Place
from siren_ext.scale.run import (
    EngineName,
    check_numbers,
    coater_facts,
    coating_facts,
    run_crew,
    worker_facts,
)
from siren_ext.scale.store_records import StoreRecords
from siren_ext.scale.store_worker import StoreSetup, StoreTask
from siren_ext.scale.worker import Outcome
from siren_ext.text import natural_key, printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey


def coat_places(
    source: str,
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
    progress: Progress = NULL,
) -> CoatManifest:
    """Coat every image of a place into another one.

    Names, subfolders and captions (``.txt``, ``.caption``) are kept; notices tell what is left out,
    such as masks and tables of captions. A call resumes an earlier one: an image is coated again
    only if its source, the coater or the settings have changed, or its coated file is missing. Two
    runs must not write the same place at the same time, which an object store can't prevent.

    Parameters
    ----------
    source, out : str
        URLs or folders; none may be in the other.
    coater, config, key, progress
        As in :func:`siren_ext.coating.folder.coat_folder`.
    coater_file, processes, engine, device
        As in :func:`siren_ext.scale.coat.coat_with_workers`.
    batch_size : int
        Images that a worker fetches at once.

    Returns
    -------
    CoatManifest
        What was done, also written to ``out``.

    Raises
    ------
    ConfigError
        A number is below 1, or a setting needs the whole set.
    DatasetError
        A place can't be used, or ``out`` has files that no earlier run wrote.
    CoaterError
        The key does not fit the coater.
    Cancelled
        The user stopped the run.
    """
    check_numbers(processes=processes, batch_size=batch_size)
    check_plain(config := config or CoatConfig(), "the images of a URL are not read in advance")
    check_key(coater, key)
    begun, target = separate_places(source, out)
    found, there = begun.files(), target.files()
    mark = "" if key is None else key.fingerprint()
    records = StoreRecords(target, there, coater.fingerprint, config, mark)
    survey = _survey(found, progress)
    tasks = _tasks(found, survey, source, config)
    left = [task for task in tasks if not _finished(task, records, found, there)]
    progress.stage("Coating", len(tasks), len(tasks) - len(left))
    work = [left[start : start + batch_size] for start in range(0, len(left), batch_size)]
    facts = worker_facts(engine, processes, device) | coater_facts(coater, coater_file)
    facts |= coating_facts(config, key)
    setup = StoreSetup(**facts, out=Path(), source=source, target=out)
    failures, complete = {printable(path): why for path, why in survey.unread}, False

    def report(task: StoreTask, outcome: Outcome) -> None:
        name = printable(task.source)
        if isinstance(outcome, CoatEntry):
            records.add(outcome, found[task.source].stamp)
        else:
            failures[name] = outcome.error
        progress.advance(1, name)

    try:
        run_crew(setup, work, report, engine=engine, processes=processes)
        complete = True
    finally:
        order = [printable(task.source) for task in tasks]
        manifest = records.finish(order, failures, complete=complete)
    return manifest


def separate_places(source: str, out: str) -> tuple[Place, Place]:
    """Both places.

    Parameters
    ----------
    source, out : str
        URLs or folders.

    Raises
    ------
    DatasetError
        One is in the other, or can't be used.
    """
    begun, target = Place(source), Place(out)
    if begun.inside(target) or target.inside(begun):
        raise DatasetError(f"{out} is, contains or is inside {source}; choose a separate place.")
    return begun, target


def _finished(
    task: StoreTask, records: StoreRecords, found: dict[str, Found], there: dict[str, Found]
) -> bool:
    """Whether an earlier run has coated an image as it is now."""
    stamp = found[task.source].stamp
    return records.finished(printable(task.source), task.output, stamp, there)


def check_plain(config: CoatConfig, why: str) -> None:
    """Refuse settings that need the whole set.

    Parameters
    ----------
    config : CoatConfig
        The settings.
    why : str
        Why they can't be had.

    Raises
    ------
    ConfigError
        There is such a setting.
    """
    if config.share != 1 or config.layout not in ("plain", "same"):
        raise ConfigError(
            f"share is {config.share:g} and layout {config.layout!r}; expected 1 and 'plain', "
            f"because {why}. Copy them into a folder first."
        )


def _survey(found: dict[str, Found], progress: Progress) -> Survey:
    """The files by what becomes of them; tells which are left out.

    Names alone decide, because no file is opened beforehand.
    """
    names = [name for name in found if not {"", ".", ".."} & set(name.split("/"))]
    survey = sort_files(map(PurePosixPath, names), lambda path: b"", advice={})
    used = {name for path in survey.pictures for name in _captions(path.as_posix(), found)}
    idle = [path for path in survey.captions if path.as_posix() not in used]
    for entry in [*survey.left_out, *unknown_files([*idle, *survey.tables], {})]:
        progress.notice(entry.line)
    return survey


def _tasks(
    found: dict[str, Found], survey: Survey, source: str, config: CoatConfig
) -> list[StoreTask]:
    """The images in natural order, with their captions and distinct output names."""
    images = sorted((path.as_posix() for path in survey.pictures), key=natural_key)
    if not images:
        raise DatasetError(f"{source} contains no images; expected files such as .png or .jpg.")
    bare = [StoreTask(name, (), name) for name in images]
    alone = ImageSet(tuple(task.item for task in bare), Path(), "")
    outputs = output_names(alone, config.layout, [_ending(name, config) for name in images])
    return [
        StoreTask(name, _captions(name, found), output)
        for name, output in zip(images, outputs, strict=True)
    ]


def _ending(name: str, config: CoatConfig) -> str:
    """The suffix of an output, as :func:`siren_ext.coating.formats.target_of` will choose it."""
    suffix = PurePosixPath(name).suffix
    kinds = {"jpeg": ("JPEG",), "webp": ("WEBP",), "keep": ("JPEG", "WEBP")}
    wanted = kinds.get(str(config.format), ())
    if any(suffix.lower() in SUFFIXES[kind] for kind in wanted):
        return suffix if suffix.isupper() else suffix.lower()
    return SUFFIXES[wanted[0] if len(wanted) == 1 else "PNG"][0]


def _captions(name: str, found: dict[str, Found]) -> tuple[str, ...]:
    stem = name.removesuffix(PurePosixPath(name).suffix)
    return tuple(f"{stem}{suffix}" for suffix in CAPTION_SUFFIXES if f"{stem}{suffix}" in found)
