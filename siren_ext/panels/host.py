"""What a host gives its panels: limits, coaters, temporary folders and the Stop buttons' state."""

from __future__ import annotations

import atexit
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from siren_ext.coater.bundled import BUNDLED_COATERS, coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coater.torch_files import SUFFIXES, import_advice
from siren_ext.config import Config
from siren_ext.devices import pick_device
from siren_ext.errors import CoaterError
from siren_ext.panels.gradio_compat import upload_paths
from siren_ext.panels.temporary import own_folder
from siren_ext.progress import Progress
from siren_ext.text import natural_key

_REDRAW_SECONDS = 0.2


@dataclass(frozen=True)
class UploadLimits(Config):
    """How much one request may upload.

    Attributes
    ----------
    files : int
        Number of images.
    file_mb, total_mb : float
        Megabytes (1e6 bytes) of one file and of all files together, after unpacking.
    megapixels : float
        Size of one image in megapixels.
    folders : bool
        Whether a folder on the host's machine may be named instead of an upload. Only for hosts
        whose visitors own the machine.
    """

    files: Annotated[int, Meta(ge=1, le=1_000_000)] = 2000
    file_mb: Annotated[float, Meta(ge=0.001, le=10_000)] = 100
    total_mb: Annotated[float, Meta(ge=0.001, le=1_000_000)] = 4000
    megapixels: Annotated[float, Meta(ge=0.001, le=200)] = 100
    folders: bool = False


def coater_is_bundled(name: str) -> bool:
    """Whether this installation includes the bundled coater of that name.

    Parameters
    ----------
    name : str
        Name without the file suffix, such as ``samples``.

    Returns
    -------
    bool
        True if the coater's file is there.
    """
    try:
        coater_path(name)
    except CoaterError:
        return False
    return True


class CoaterLibrary:
    """The coaters that a host offers by name: the bundled ones and those in a folder.

    Parameters
    ----------
    folder : Path | None
        Folder with the owner's coater files; None for the bundled coaters only.
    device : str
        ``auto`` or a torch device name.
    """

    def __init__(self, folder: Path | None = None, *, device: str = "auto") -> None:
        self.folder, self.device = folder, device
        self._lock = threading.Lock()
        self._last: tuple[tuple[Path, float], Coater] | None = None

    def names(self) -> list[str]:
        """Names to choose from.

        Returns
        -------
        list[str]
            The owner's files in natural order, then the bundled coaters.
        """
        there = self.folder is not None and self.folder.is_dir()
        found = list(self.folder.glob("*.safetensors")) if self.folder and there else []
        # a coater's surrogate is kept next to it and is not a coater
        own = [path.name for path in found if path.is_file() and ".surrogate." not in path.name]
        # the first name is preselected, and a new visitor has no key: keyed comes last
        order = sorted(BUNDLED_COATERS, key=lambda name: (name == "keyed", name))
        bundled = [name for name in order if coater_is_bundled(name)]
        return [*sorted(own, key=natural_key), *bundled]

    def load(self, name: str, upload: Any = None) -> Coater:
        """Load a coater. The last one loaded is kept in memory.

        Parameters
        ----------
        name : str
            One of :meth:`names`; ignored if a file is uploaded.
        upload : Any
            Value of a Gradio file component, or None.

        Returns
        -------
        Coater
            The coater, on the library's device.

        Raises
        ------
        CoaterError
            The name is not one of :meth:`names`, or the file is not a coater.
        """
        path = self.file(name, upload)
        with self._lock:
            key = (path, path.stat().st_mtime if path.exists() else 0.0)
            if self._last is None or self._last[0] != key:
                self._last = (key, Coater.load(path, device=pick_device(self.device)))
            return self._last[1]

    def file(self, name: str, upload: Any = None) -> Path:
        """The file of a coater; takes and raises what :meth:`load` does.

        Returns
        -------
        Path
            The file, not yet read.
        """
        uploads = upload_paths(upload)
        if uploads:
            return uploads[0]
        if name in BUNDLED_COATERS:
            return coater_path(name)
        if self.folder is not None and name in self.names():
            return self.folder / name
        if Path(str(name)).suffix.lower() in SUFFIXES:
            raise CoaterError(import_advice(str(name)[:80]))
        raise CoaterError(
            f"There is no coater named {str(name)[:80]!r}. Choose one from the list, or upload the "
            "file that your images were coated with."
        )


class JobFolders:
    """Temporary folders, deleted some time after their last use and when the program ends.

    One thread deletes them; it starts with the first folder and ends with the last.

    Parameters
    ----------
    keep_minutes : float
        How long a folder is kept after the last write to it and the end of the work in it.
    """

    def __init__(self, keep_minutes: float = 60) -> None:
        self.keep_minutes = keep_minutes
        self._due: dict[Path, float] = {}
        self._used: set[Path] = set()
        self._changed = threading.Condition()
        self._sweeper: threading.Thread | None = None
        atexit.register(self.close)

    def new(self, kind: str) -> Path:
        """Create a folder that only this user can read.

        Parameters
        ----------
        kind : str
            Part of the folder's name, such as ``coat``.

        Returns
        -------
        Path
            The empty folder.
        """
        folder = own_folder(kind)
        with self._changed:
            self._due[folder] = time.monotonic() + self.keep_minutes * 60
            if self._sweeper is None:
                self._sweeper = threading.Thread(
                    target=self._sweep, name="siren-folders", daemon=True
                )
                self._sweeper.start()
        return folder

    @contextmanager
    def working(self, kind: str) -> Iterator[Path]:
        """Create a folder that stays as long as the block runs, and some time after.

        A long training may read its files without ever writing to it.

        Parameters
        ----------
        kind : str
            As for :meth:`new`.

        Yields
        ------
        Path
            The empty folder.
        """
        folder = self.new(kind)
        self._used.add(folder)
        try:
            yield folder
        finally:
            self._used.discard(folder)
            self._postpone(folder)

    def _postpone(self, folder: Path) -> None:
        with self._changed:
            if folder in self._due:
                self._due[folder] = time.monotonic() + self.keep_minutes * 60

    def remove(self, folder: Path) -> None:
        """Delete a folder now.

        Parameters
        ----------
        folder : Path
            One that :meth:`new` made.
        """
        with self._changed:
            self._due.pop(folder, None)
            self._changed.notify_all()
        shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Delete folders as they fall due, until there are none."""
        while True:
            with self._changed:
                if not self._due:
                    self._sweeper = None
                    return
                folder, due = min(self._due.items(), key=lambda item: item[1])
                wait = due - time.monotonic()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
            self._expire(folder)

    def _expire(self, folder: Path) -> None:
        """Delete the folder unless a long job is still using it or writing to it."""
        try:
            newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
        except OSError:  # a file was created or deleted meanwhile
            newest = time.time() if folder.exists() else 0.0
        if folder in self._used or time.time() - newest < self.keep_minutes * 60:
            self._postpone(folder)
        else:
            self.remove(folder)

    def close(self) -> None:
        """Delete all folders now."""
        for folder in list(self._due):
            self.remove(folder)


class StopRequests:
    """Which jobs were asked to stop. A page knows its running job by a random id."""

    def __init__(self) -> None:
        self._stopped: dict[str, float] = {}

    def new_job(self, old_id: str = "") -> str:
        """Create the id of a new job, and stop the job that the page is still running.

        Parameters
        ----------
        old_id : str
            Id of the page's previous job, "" if there is none.

        Returns
        -------
        str
            A new random id.
        """
        self.request(old_id)
        return secrets.token_hex(8)

    def request(self, job_id: str) -> None:
        """Ask a job to stop at its next step, or before its first one if it is still queued.

        Parameters
        ----------
        job_id : str
            The job; "" does nothing.
        """
        now = time.monotonic()
        self._stopped = {key: when for key, when in self._stopped.items() if now - when < 86_400}
        if job_id:
            self._stopped[job_id] = now

    def requested(self, job_id: str) -> bool:
        """Whether a job was asked to stop.

        Parameters
        ----------
        job_id : str
            The job.

        Returns
        -------
        bool
            True after :meth:`request` (for a day at least).
        """
        return job_id in self._stopped


class PanelProgress(Progress):
    """Progress drawn on Gradio's progress bar a few times a second, with a Stop button.

    Parameters
    ----------
    bar : Any
        A ``gr.Progress``, or anything callable as ``bar(share, desc=text)``.
    stops : StopRequests
        The host's stop requests.
    job_id : str
        Id of this job.
    """

    def __init__(self, bar: Any, stops: StopRequests, job_id: str) -> None:
        super().__init__(lambda: stops.requested(job_id))
        self._bar, self._drawn = bar, 0.0
        self._label, self._done, self._total = "", 0, 0

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Begin a phase. Also stops a job that was cancelled while it was queued.

        Raises
        ------
        Cancelled
            The job was asked to stop.
        """
        super().advance(0)
        self._label, self._done, self._total = label, done, total or 0
        self._draw()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count finished work and draw the bar.

        Raises
        ------
        Cancelled
            The job was asked to stop.
        """
        self._done += units
        if time.monotonic() - self._drawn > _REDRAW_SECONDS:
            self._draw()
        super().advance(units, note)

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        count = f": {self._done} of {self._total}" if self._total else ""
        share = min(1.0, self._done / self._total) if self._total else 0.0
        self._bar(share, desc=self._label + count)


@dataclass(frozen=True)
class PanelHost:
    """Everything that the panels of one host share.

    Attributes
    ----------
    limits : UploadLimits
        How much one request may upload.
    coaters : CoaterLibrary
        Coaters by name.
    jobs : JobFolders
        Temporary folders.
    stops : StopRequests
        State of the Stop buttons.
    outputs : Path | None
        Folder for results that are kept; None if the host keeps nothing.
    alpha : float
        Preselected risk of accusing an innocent model.
    """

    limits: UploadLimits = field(default_factory=UploadLimits)
    coaters: CoaterLibrary = field(default_factory=CoaterLibrary)
    jobs: JobFolders = field(default_factory=JobFolders)
    stops: StopRequests = field(default_factory=StopRequests)
    outputs: Path | None = None
    alpha: float = 1e-6
