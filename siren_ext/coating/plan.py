"""Plans a coating run: which images are coated, where they go, and in which batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siren_ext.coating.formats import Target, target_of
from siren_ext.coating.journal import CoatJournal
from siren_ext.coating.layouts import file_names
from siren_ext.coating.manifest import CoatConfig, CoatEntry
from siren_ext.coating.outputs import output_names
from siren_ext.data.dataset import ImageSet, Item
from siren_ext.data.images import picture_size, read_picture
from siren_ext.errors import SirenError
from siren_ext.files import is_file, sha256_file
from siren_ext.progress import Progress

# Bounds the memory of a batch: 8 megapixels take 96 MB per float copy, and about four are needed.
MAX_BATCH_PIXELS = 8_000_000

_Facts = tuple[str, tuple[int, int], Target]


@dataclass(frozen=True)
class CoatJob:
    """One image to write.

    Attributes
    ----------
    item : Item
        The source.
    output : str
        Name of the output, relative to the output folder.
    sha256 : str
        Hash of the source file.
    size : tuple[int, int]
        Width and height in pixels.
    target : Target
        Its file format.
    coated : bool
        False for an image that is copied without a coating.
    """

    item: Item
    output: str
    sha256: str
    size: tuple[int, int]
    target: Target
    coated: bool

    def files(self, layout: str) -> list[str]:
        """Names of all files of this image: the image, its captions and its mask.

        Parameters
        ----------
        layout : str
            One of :data:`~siren_ext.coating.layouts.LAYOUTS`.

        Returns
        -------
        list[str]
            Names relative to the output folder.
        """
        return file_names(self.item, self.output, layout)


def plan_jobs(
    data: ImageSet, config: CoatConfig, pool: ThreadPoolExecutor, progress: Progress
) -> tuple[list[CoatJob], dict[str, str]]:
    """Inspect the sources and choose the ones to coat.

    Parameters
    ----------
    data : ImageSet
        The images.
    config : CoatConfig
        Share, seed, layout and file format.
    pool : ThreadPoolExecutor
        Reads the files.
    progress : Progress
        Counts the images.

    Returns
    -------
    tuple[list[CoatJob], dict[str, str]]
        One job per usable image, and why the other images can't be used, by name.
    """
    progress.stage("Checking images", len(data.items))
    # to coat exactly round(share * n), every image must be decoded beforehand
    thorough = 0 < config.share < 1
    failures: dict[str, str] = {}
    found: list[_Facts | str] = []
    for item, fact in zip(
        data.items, pool.map(lambda item: _inspect(item, thorough, config), data.items), strict=True
    ):
        found.append(fact)
        if isinstance(fact, str):
            failures[item.name] = fact
        progress.advance(1, item.name)
    suffixes = [".png" if isinstance(fact, str) else fact[2].suffix for fact in found]
    usable = [
        (item, output, *fact)
        for item, output, fact in zip(
            data.items, output_names(data, config.layout, suffixes), found, strict=True
        )
        if not isinstance(fact, str)
    ]
    count = round(config.share * len(usable))
    order = np.random.default_rng(config.seed).permutation(len(usable))
    chosen = set(order[:count].tolist())
    return [CoatJob(*fact, coated=i in chosen) for i, fact in enumerate(usable)], failures


def _inspect(item: Item, thorough: bool, config: CoatConfig) -> _Facts | str:
    """Hash, size and format of a source, or why it can't be used."""
    try:
        size = read_picture(item.path).size if thorough else picture_size(item.path)
        return sha256_file(item.path), size, target_of(item.path, config)
    except SirenError as error:
        return str(error)
    except OSError as error:
        return f"can't be read: {error.strerror}."


def finished_entry(job: CoatJob, journal: CoatJournal, out: Path) -> CoatEntry | None:
    """The entry of an earlier run that did the same job, and scored it if this run does.

    Parameters
    ----------
    job : CoatJob
        The job.
    journal : CoatJournal
        Knows earlier runs.
    out : Path
        The output folder.

    Returns
    -------
    CoatEntry | None
        The entry, if its file is still as it was written.
    """
    entry = journal.known(job.item.name)
    if entry is None:
        return None
    done = (entry.source_sha256, entry.output, entry.quality, entry.coated)
    if done != (job.sha256, job.output, job.target.quality, job.coated):
        return None
    if entry.clean_score is None and journal.config.scores is not False:
        return None
    path = out / job.output
    try:
        same = is_file(path) and sha256_file(path) == entry.output_sha256
    except OSError:  # it is written again, which reports what is wrong
        same = False
    return entry if same else None


def batches(jobs: Sequence[CoatJob], batch_size: int) -> Iterator[list[CoatJob]]:
    """Group jobs of equal size and treatment.

    Parameters
    ----------
    jobs : Sequence[CoatJob]
        The jobs, in any order.
    batch_size : int
        Most images per batch. Batches of large images are smaller, to limit memory.

    Yields
    ------
    list[CoatJob]
        One batch.
    """
    batch: list[CoatJob] = []
    for job in sorted(jobs, key=lambda job: (job.size, job.coated)):
        limit = min(batch_size, max(1, MAX_BATCH_PIXELS // max(1, math.prod(job.size))))
        fits = batch and (batch[0].size, batch[0].coated) == (job.size, job.coated)
        if batch and (not fits or len(batch) >= limit):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch
