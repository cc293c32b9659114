"""Watches a folder and coats what is added to it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from siren_ext.coating.manifest import CoatConfig, CoatEntry, CoatManifest
from siren_ext.config import Config
from siren_ext.data.dataset import ImageSet, Item
from siren_ext.errors import Cancelled, DatasetError, NoImagesError
from siren_ext.files import is_folder, one_at_a_time
from siren_ext.progress import NULL, Progress
from siren_ext.service.changes import Changes
from siren_ext.service.growing import FullDiskError, GrowingFolder
from siren_ext.service.settle import Settling, Stamp, stamps

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

LOOK_SECONDS = 30.0
"""Seconds after which a folder is looked at even if the system tells of no change."""
SAVE_SECONDS = 30.0
"""Least seconds between two manifests; the journal is always up to date."""
AGAIN_SECONDS = 60.0
"""Seconds after which images that could not be coated are tried again, if the user does not stop:
a locked file, or one on a share that was away, can be read later without a change."""
FULL_SECONDS = 10.0
"""Seconds between two attempts to write to a full disk."""


@dataclasses.dataclass(frozen=True)
class WatchConfig(Config):
    """How a folder is watched.

    Attributes
    ----------
    interval : float
        Seconds between two looks at the folder, 0.1 to 3600.
    settle : float
        Seconds for which a file must not change before it is read, 0 to 3600.
    events : bool
        Use the operating system's events where the package ``watchfiles`` is installed.
    """

    interval: Annotated[float, Meta(ge=0.1, le=3600)] = 2.0
    settle: Annotated[float, Meta(ge=0, le=3600)] = 2.0
    events: bool = True


@one_at_a_time
def watch_folder(
    root: Path,
    coater: Coater,
    out: Path,
    config: CoatConfig | None = None,
    watching: WatchConfig | None = None,
    *,
    key: CoatingKey | None = None,
    once: bool = False,
    progress: Progress = NULL,
    stopped: Callable[[], bool] = lambda: False,
    coated: Callable[[CoatEntry], None] = lambda entry: None,
) -> CoatManifest:
    """Coat every image that is or will be in a folder, until the user stops it.

    Files, settings and records are those of :func:`siren_ext.coating.folder.coat_folder`. After a
    kill, a new call goes on; no image is coated twice. An image that can't be read is told once,
    and again if its file has changed; it is tried again every :data:`AGAIN_SECONDS`.

    Parameters
    ----------
    root : Path
        The folder; subfolders count too.
    coater : Coater
        Adds the residual and scores.
    out : Path
        Output folder; must not be, contain or be inside ``root``.
    config : CoatConfig | None
        Strength and file format; None for the defaults.
    watching : WatchConfig | None
        When a file is complete, and how often to look; None for the defaults.
    key : CoatingKey | None
        The key whose message a keyed coater writes.
    once : bool
        Coat what is complete, and return.
    progress : Progress
        Counts the images and shows what can't be coated.
    stopped : Callable[[], bool]
        Whether the user wants to stop.
    coated : Callable[[CoatEntry], None]
        Called for every image that was coated.

    Returns
    -------
    CoatManifest
        All images of this and earlier calls; also written to ``out``.

    Raises
    ------
    DatasetError
        ``root`` is no folder; ``out`` can't be used, has copies of other images, of twins or with
        another key or, with ``once``, is full.
    ConfigError
        The settings need a whole set, or another run writes ``out``.
    CoaterError
        The key does not fit the coater.
    """
    if not is_folder(root):
        raise DatasetError(f"{root} is not a folder; expected the folder to watch.")
    config, watching = config or CoatConfig(), watching or WatchConfig()
    grown = GrowingFolder(Path(root), coater, Path(out), config, key)
    return _Watch(grown, watching, progress, stopped, coated).run(once)


class _Watch:
    """The state of one call of :func:`watch_folder`."""

    def __init__(
        self,
        grown: GrowingFolder,
        watching: WatchConfig,
        progress: Progress,
        stopped: Callable[[], bool],
        coated: Callable[[CoatEntry], None],
    ) -> None:
        self.grown, self.watching, self.root = grown, watching, grown.root
        self.progress, self.stopped, self.coated = progress, stopped, coated
        self.settling = Settling(watching.settle)
        self.done: dict[str, list[Stamp]] = {}
        self.told: dict[str, str] = {}
        self.problems: dict[str, str] = {}  # of files that are no images, which is no passing state
        self.handled: dict[Path, Stamp] | None = None
        self.waiting = self.gone = self.unsaved = self.full = False
        self.reached = False  # every image of the last look; not before the first one
        self.looked = self.saved = self.tried = time.monotonic()
        self.full_until = 0.0

    def run(self, once: bool) -> CoatManifest:
        """Look at the folder until the user stops, or once."""
        changes = Changes(
            self.root, self.watching.interval, self.stopped, events=self.watching.events
        )
        try:
            if once:
                self._once()
            else:
                self._watch(changes)
        except Cancelled:
            pass
        finally:
            changes.close()
            self.grown.close()
            # a commitment to a folder with images still to come would leave them out
            manifest = self.grown.save(complete=self.reached and not self.waiting)
        return manifest

    def _watch(self, changes: Changes) -> None:
        changed = True
        while not self.stopped():
            overdue = time.monotonic() - self.looked >= LOOK_SECONDS
            if changed or self.waiting or overdue:
                self._look(patient=True)
            changed = changes.wait()

    def _once(self) -> None:
        """Coat what is complete now, or becomes so by not changing for a while."""
        self._look(patient=False)
        end = time.monotonic() + self.watching.settle + 0.1
        while self.waiting and not self.stopped() and time.monotonic() < end:
            time.sleep(min(0.1, self.watching.settle))
            self._look(patient=False)
        if self.waiting:
            self.progress.notice("Some files are still being written; run the command again.")

    def _look(self, *, patient: bool) -> None:
        """Find what is new and complete, and coat it; ``patient`` waits where a disk is full."""
        self.looked = time.monotonic()
        if self.looked < self.full_until:
            return
        try:
            found = stamps(self.root)
        except OSError as error:
            if not self.gone:
                self.progress.notice(f"{self.root} can't be listed: {error.strerror}; waiting.")
            self.gone = True
            return
        self.gone = False
        complete = self.settling.complete(found)
        self.waiting = len(complete) < len(found)
        try:
            self._work(complete)
        except FullDiskError as error:
            if not patient:
                raise
            if not self.full:
                self.progress.notice(f"{error} Trying again every {FULL_SECONDS:.0f} seconds.")
            self.full = self.waiting = True
            self.full_until = time.monotonic() + FULL_SECONDS
        else:
            if self.full:
                self.progress.notice("There is enough space again.")
            self.full = False

    def _work(self, complete: dict[Path, Stamp]) -> None:
        """Coat what is new, and write the manifest now and then."""
        if self.full:  # the last line of the journal may be torn
            self.grown.resume()
        failed = bool(self.grown.failures.keys() - self.problems.keys())
        again = failed and self.looked - self.tried >= AGAIN_SECONDS
        if complete != self.handled or again or not self.reached:
            if again or not failed:  # other images do not put it off
                self.tried = self.looked
            self.reached = False
            self._coat(complete, again=again)
            self.handled, self.reached = complete, True
        elif self.unsaved and self.looked - self.saved >= SAVE_SECONDS:
            self.grown.save(complete=True, go_on=True)
            self.saved, self.unsaved = time.monotonic(), False

    def _coat(self, complete: dict[Path, Stamp], *, again: bool) -> None:
        """Coat the complete images that were not reached as they are now; ``again``: or failed."""
        try:
            data = ImageSet.from_folder(self.root)
        except DatasetError as error:  # no image yet, or the folder has just gone
            found = error if isinstance(error, NoImagesError) else NoImagesError(error)
            data = ImageSet((), self.root, self.root.name, found.problems, notices=found.notices)
        there = {item.name for item in data.items}
        self.done = {name: marks for name, marks in self.done.items() if name in there}
        for name in self.grown.failures.keys() - there:
            del self.grown.failures[name]
        self.problems = dict(data.problems)
        self.grown.failures |= self.problems  # as 'coat' records them
        pending: list[tuple[Item, list[Stamp]]] = []
        failed: list[tuple[Item, list[Stamp]]] = []
        for item in data.items:
            files = [item.path, *item.caption_files, *([item.mask] if item.mask else [])]
            marks = [complete[path] for path in files if path in complete]
            if self.done.get(item.name) == marks:
                if again and item.name in self.grown.failures:
                    failed.append((item, marks))
            elif len(marks) == len(files):
                self.told.pop(item.name, None)
                pending.append((item, marks))
        self._tell(self.problems)
        if self.handled is None:
            for line in data.notices:
                self.progress.notice(line)
        if pending:
            self.progress.stage("Coating", len(pending))
        for item, marks in pending:
            self._add(item)
            self.done[item.name] = marks
            self.progress.advance(1, item.name)
        for item, marks in failed:
            del self.done[item.name]  # if the disk is full now
            self._add(item)
            self.done[item.name] = marks

    def _add(self, item: Item) -> None:
        """Coat one image, or tell why not."""
        if (entry := self.grown.add(item)) is not None:
            self.unsaved = True
            self.coated(entry)
        if why := self.grown.failures.get(item.name):
            self._tell({item.name: why})

    def _tell(self, problems: dict[str, str]) -> None:
        """Show each reason for leaving something out, once."""
        for name, why in problems.items():
            if self.told.get(name) != why:
                self.told[name] = why
                self.progress.notice(f"Left out: {why if name in why else f'{name} {why}'}")
