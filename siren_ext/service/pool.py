"""A bounded queue before a fixed number of workers."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from siren_ext.coating.manifest import CoatConfig, CoatEntry
from siren_ext.service.records import ServiceJournal
from siren_ext.service.upload import UploadCoater

_MOST_SECONDS = 60
_MEMORY = 0.2  # weight of the latest image in the mean time


@dataclass(frozen=True)
class Coated:
    """One finished image.

    Attributes
    ----------
    entry : CoatEntry
        What was done; it is in the journal.
    file : Path
        The coated file.
    waited, worked : float
        Seconds in the queue, and seconds of the worker.
    """

    entry: CoatEntry
    file: Path
    waited: float
    worked: float


class CoatingPool:
    """Coats uploads in threads, and admits only as many requests as fit.

    Parameters
    ----------
    uploads : UploadCoater
        Coats a file.
    journal : ServiceJournal
        Gets a line for every image, before it is sent.
    workers : int
        Images that are coated at the same time.
    queue : int
        Further requests that are admitted.
    """

    def __init__(
        self, uploads: UploadCoater, journal: ServiceJournal, workers: int, queue: int
    ) -> None:
        self._uploads, self._journal = uploads, journal
        self._workers, self._places = workers, workers + queue
        self._inside = 0
        self._mean = 1.0  # seconds of a worker for an image
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="coat")

    @property
    def inside(self) -> int:
        """Number of admitted requests."""
        return self._inside

    def enter(self) -> bool:
        """Admit a request if there is a place; it has to :meth:`leave` when it is answered."""
        with self._lock:
            if self._inside >= self._places:
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        """Give the place of an answered request back."""
        with self._lock:
            self._inside -= 1

    def retry_after(self) -> int:
        """Seconds until a place should be free, 1 to 60, from the time of recent images."""
        seconds = self._mean * self._inside / self._workers / 2
        return max(1, min(_MOST_SECONDS, math.ceil(seconds)))

    def submit(self, file: Path, number: str, config: CoatConfig) -> Future[Coated]:
        """Queue an upload.

        Parameters
        ----------
        file : Path
            The upload.
        number : str
            Of the request.
        config : CoatConfig
            Strength, format and quality.

        Returns
        -------
        Future[Coated]
            Can be cancelled until a worker has begun. Its errors are those of
            :meth:`siren_ext.service.upload.UploadCoater.coat`, and OSError if the journal can't be
            written: what is not recorded is not sent.
        """
        return self._threads.submit(self._coat, file, number, config, time.monotonic())

    def _coat(self, file: Path, number: str, config: CoatConfig, queued: float) -> Coated:
        begun = time.monotonic()
        entry, coated = self._uploads.coat(file, number, config)
        self._journal.add(number, entry)
        worked = time.monotonic() - begun
        self._mean += _MEMORY * (worked - self._mean)
        return Coated(entry, coated, begun - queued, worked)

    def close(self) -> None:
        """Finish what was queued, and end the threads."""
        self._threads.shutdown(wait=True)
