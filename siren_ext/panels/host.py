"""What a host lends its panels: limits, coaters, temporary folders and the Stop buttons' memory."""

from __future__ import annotations

import atexit
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from siren_ext.coater.bundled import BUNDLED_COATERS, coater_path
from siren_ext.coater.coater import Coater
from siren_ext.config import Config
from siren_ext.devices import pick_device
from siren_ext.errors import CoaterError
from siren_ext.panels.gradio_compat import upload_paths
from siren_ext.progress import Progress
from siren_ext.text import natural_key

_REDRAW_SECONDS = 0.2


@dataclass(frozen=True)
class UploadLimits(Config):
    """How much one request may bring.

    Attributes
    ----------
    files : int
        images.
    file_mb, total_mb : float
        megabytes of one file and of all together, after unpacking.
    megapixels : float
        of one image.
    folders : bool
        whether a folder of the machine may be named instead of an upload; for hosts whose
        visitors own the machine.
    """

    files: int = 2000
    file_mb: float = 100
    total_mb: float = 4000
    megapixels: float = 100
    folders: bool = False

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "files": (1, 1_000_000),
        "file_mb": (0.001, 10_000),
        "total_mb": (0.001, 1_000_000),
        "megapixels": (0.001, 200),
    }


def coater_is_bundled(name: str) -> bool:
    """Whether this installation holds the bundled coater of that name."""
    try:
        coater_path(name)
    except CoaterError:
        return False
    return True


class Shelf:
    """The coaters that a host offers by name: the bundled ones and those of a folder.

    Parameters
    ----------
    folder : Path | None
        where the owner keeps coater files; None for the bundled ones alone.
    device : str
        auto or a torch device name.
    """

    def __init__(self, folder: Path | None = None, *, device: str = "auto") -> None:
        self.folder, self.device = folder, device
        self._lock = threading.Lock()
        self._last: tuple[tuple[Path, float], Coater] | None = None

    def names(self) -> list[str]:
        """What can be chosen, the owner's files first."""
        own: list[str] = []
        if self.folder is not None and self.folder.is_dir():
            own = [path.name for path in self.folder.glob("*.safetensors") if path.is_file()]
        # the first is what a visitor begins with, who has no key
        order = sorted(BUNDLED_COATERS, key=lambda name: (name == "keyed", name))
        bundled = [name for name in order if coater_is_bundled(name)]
        return [*sorted(own, key=natural_key), *bundled]

    def load(self, name: str, upload: Any = None) -> Coater:
        """The coater of that name, or the uploaded file where there is one.

        Raises
        ------
        CoaterError
            the name is not one of :meth:`names`, or the file is not a coater.
        """
        uploads = upload_paths(upload)
        if uploads:
            path = uploads[0]
        elif name in BUNDLED_COATERS:
            path = coater_path(name)
        elif self.folder is not None and name in self.names():
            path = self.folder / name
        else:
            raise CoaterError(
                f"There is no coater named {str(name)[:80]!r}; choose one of the list or "
                "upload the file that your images were coated with."
            )
        with self._lock:
            key = (path, path.stat().st_mtime if path.exists() else 0.0)
            if self._last is None or self._last[0] != key:
                self._last = (key, Coater.load(path, device=pick_device(self.device)))
            return self._last[1]


class Jobs:
    """Temporary folders, deleted when nothing was written for a while and at the program's end."""

    def __init__(self, keep_minutes: float = 60) -> None:
        self.keep_minutes = keep_minutes
        self._open: set[Path] = set()
        atexit.register(self.close)

    def new(self, kind: str) -> Path:
        """A fresh folder, readable by this user alone."""
        folder = Path(tempfile.mkdtemp(prefix=f"siren_{kind}_"))
        self._open.add(folder)
        self._watch(folder)
        return folder

    def _watch(self, folder: Path) -> None:
        timer = threading.Timer(self.keep_minutes * 60, self._expire, [folder])
        timer.daemon = True
        timer.start()

    def _expire(self, folder: Path) -> None:
        """Delete the folder unless a long job still writes there."""
        try:
            newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
        except OSError:  # it is just being written or deleted
            newest = time.time() if folder.exists() else 0.0
        if time.time() - newest < self.keep_minutes * 60:
            self._watch(folder)
        else:
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._open.discard(folder)

    def close(self) -> None:
        """Delete all of them now."""
        for folder in list(self._open):
            self._remove(folder)


class Stops:
    """Which running jobs were asked to stop; a job is known by a word that its page keeps."""

    def __init__(self) -> None:
        self._asked: dict[str, float] = {}

    def arm(self, old: str = "") -> str:
        """A new job's word; whatever the page still runs is asked to stop."""
        self.ask(old)
        return secrets.token_hex(8)

    def ask(self, word: str) -> None:
        """Stop that job at its next step, or before its first if it still waits in the queue."""
        now = time.monotonic()
        self._asked = {key: when for key, when in self._asked.items() if now - when < 86_400}
        if word:
            self._asked[word] = now

    def asked(self, word: str) -> bool:
        """Whether that job was asked to stop."""
        return word in self._asked


class PanelProgress(Progress):
    """Draws on Gradio's progress bar, a few times a second, and stops when asked.

    Parameters
    ----------
    bar : Any
        a ``gr.Progress``, or anything callable as ``bar(share, desc=text)``.
    stops : Stops
        the host's memory of Stop buttons.
    word : str
        of this job.
    """

    def __init__(self, bar: Any, stops: Stops, word: str) -> None:
        super().__init__(lambda: stops.asked(word))
        self._bar, self._drawn = bar, 0.0
        self._label, self._done, self._total = "", 0, 0

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Begin a phase; also the moment at which a waiting job learns that it was stopped."""
        super().advance(0)
        self._label, self._done, self._total = label, done, total or 0
        self._draw()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count and draw; raises :class:`~siren_ext.errors.Cancelled` when asked to stop."""
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
class Desk:
    """Everything that panels of one host share.

    Attributes
    ----------
    limits : UploadLimits
        how much one request may bring.
    shelf : Shelf
        coaters by name.
    jobs : Jobs
        temporary folders.
    stops : Stops
        Stop buttons.
    outputs : Path | None
        folder for results that stay; None where nothing stays.
    alpha : float
        accepted risk of accusing an innocent model that the choice begins with.
    """

    limits: UploadLimits = field(default_factory=UploadLimits)
    shelf: Shelf = field(default_factory=Shelf)
    jobs: Jobs = field(default_factory=Jobs)
    stops: Stops = field(default_factory=Stops)
    outputs: Path | None = None
    alpha: float = 1e-6
