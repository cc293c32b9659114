"""Watching a folder: what is coated when, full disks, stops and kills."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.fake_coater import FakeCoater
from support.noise_files import noise

import siren_ext.service.growing as growing
import siren_ext.service.watch as module
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatEntry, CoatManifest
from siren_ext.data.images import Picture
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.progress import Progress
from siren_ext.service.growing import FullDiskError
from siren_ext.service.watch import WatchConfig, watch_folder

QUICK = WatchConfig(interval=0.1, settle=0.3)


class Notices(Progress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def notice(self, text: str) -> None:
        self.lines.append(text)


class Watching:
    """A watch in a thread."""

    def __init__(self, folder: Path, watching: WatchConfig = QUICK) -> None:
        self.coater, self.progress, self.stop = FakeCoater(), Notices(), threading.Event()
        self.coated: list[str] = []
        self.manifest: CoatManifest | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(folder, watching), daemon=True)
        self.thread.start()

    def _run(self, folder: Path, watching: WatchConfig) -> None:
        def coated(entry: CoatEntry) -> None:
            self.coated.append(entry.source)

        coater: Any = self.coater
        try:
            self.manifest = watch_folder(
                folder,
                coater,
                folder.parent / "out",
                CoatConfig(),
                watching,
                progress=self.progress,
                stopped=self.stop.is_set,
                coated=coated,
            )
        except BaseException as error:
            self.error = error

    def until(self, *names: str) -> None:
        """Wait until these images are coated."""
        wait_for(lambda: set(names) <= set(self.coated), f"{names} of {self.coated}")

    def end(self) -> CoatManifest:
        self.stop.set()
        self.thread.join(30)
        assert self.error is None, self.error
        assert self.manifest is not None
        return self.manifest


def wait_for(condition: Any, what: str = "") -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.02)


@contextmanager
def watching(folder: Path, how: WatchConfig = QUICK) -> Iterator[Watching]:
    one = Watching(folder, how)
    try:
        yield one
    finally:
        one.end()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("events", [False, True])
def test_what_is_added_is_coated(source: Path, events: bool) -> None:
    with watching(source, WatchConfig(interval=0.1, settle=0.2, events=events)) as one:
        noise(source / "a.png", size=(20, 16))
        one.until("a.png")
        noise(source / "sub" / "b.jpg", size=(20, 16))
        noise(source / ".hidden.png")
        noise(source / "c.part.png")
        one.until("sub/b.jpg")
        (source / "c.part.png").rename(source / "c.png")
        one.until("c.png")
    manifest = one.manifest
    assert manifest is not None
    assert manifest == CoatManifest.load(source.parent / "out" / MANIFEST_NAME)
    assert manifest.complete
    assert [entry.source for entry in manifest.entries] == ["a.png", "c.png", "sub/b.jpg"]
    assert one.coated == ["a.png", "sub/b.jpg", "c.png"]


def test_a_file_that_is_being_written_is_waited_for(source: Path, tmp_path: Path) -> None:
    whole = noise(tmp_path / "a.png", size=(60, 60)).read_bytes()
    with watching(source) as one, (source / "a.png").open("wb") as stream:
        for start in range(0, len(whole), len(whole) // 8 + 1):
            stream.write(whole[start : start + len(whole) // 8 + 1])
            stream.flush()
            time.sleep(0.1)
            assert one.coated == []
        one.until("a.png")
    assert one.coated == ["a.png"]
    assert one.progress.lines == []


def test_a_bad_file_is_told_once_and_again_when_it_has_changed(source: Path) -> None:
    with watching(source) as one:
        (source / "bad.png").write_text("this is a text")
        wait_for(lambda: one.progress.lines)
        noise(source / "good.png")
        one.until("good.png")
        noise(source / "more.png")
        one.until("more.png")
        assert len(one.progress.lines) == 1
        assert one.progress.lines[0].startswith("Left out: bad.png is not an image")
        (source / "bad.png").write_text("this is another text")
        wait_for(lambda: len(one.progress.lines) == 2)
        noise(source / "bad.png")
        one.until("bad.png")
        (source / "gone.png").write_text("a text that is removed again")
        wait_for(lambda: len(one.progress.lines) == 3)
        (source / "gone.png").unlink()
        noise(source / "last.png")
        one.until("last.png")
    assert one.manifest is not None
    assert one.manifest.failures == ()


def lock(monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """Let ``locked.png`` fail so often, and look often; returns the names of what was read."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.5)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.2)
    tries: list[str] = []
    read = growing.read_picture

    def locked(path: Path) -> Picture:
        tries.append(path.name)
        if path.name == "locked.png" and tries.count("locked.png") <= times:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    monkeypatch.setattr(growing, "read_picture", locked)
    return tries


def test_what_failed_is_tried_again_without_a_change(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = lock(monkeypatch, 3)
    noise(source / "good.png")
    noise(source / "locked.png")
    with watching(source) as one:
        one.until("good.png", "locked.png")
        told = list(one.progress.lines)
    assert one.coated.count("good.png") == tries.count("good.png") == 1
    assert tries.count("locked.png") == 4
    assert sum("locked.png" in line for line in told) == 1
    assert one.manifest is not None
    assert one.manifest.failures == ()


def test_retries_are_not_put_off_by_other_images_and_survive_a_full_disk(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, write = lock(monkeypatch, 2), growing.write_entry
    monkeypatch.setattr(module, "FULL_SECONDS", 0.3)

    def written(job: Any, *rest: Any) -> Any:
        if job.item.name == "locked.png" and tries.count("locked.png") == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(job, *rest)

    monkeypatch.setattr(growing, "write_entry", written)
    noise(source / "locked.png")
    with watching(source) as one:
        for number in range(12):  # the folder is never quiet
            noise(source / f"{number}.png")
            time.sleep(0.15)
        one.until("locked.png", "11.png")
    assert tries.count("locked.png") == 4
    assert one.manifest is not None
    assert (one.manifest.failures, one.manifest.complete) == ((), True)


def test_a_second_watch_of_the_same_output_is_refused(source: Path, tmp_path: Path) -> None:
    other: Any = FakeCoater()
    with watching(source) as one:
        noise(source / "a.png")
        one.until("a.png")
        with pytest.raises(ConfigError, match="being written by another run"):
            watch_folder(source, other, tmp_path / "out", once=True)
        # another output is another matter
        assert len(watch_folder(source, other, tmp_path / "two", once=True).entries) == 1


def test_a_full_disk_is_waited_out(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = threading.Event()
    full.set()
    monkeypatch.setattr(module, "FULL_SECONDS", 0.2)
    write = module.GrowingFolder.add

    def add(self: Any, item: Any) -> Any:
        if full.is_set():
            error = OSError(errno.ENOSPC, "No space left on device")
            self._failed(item, error)
        return write(self, item)

    monkeypatch.setattr(module.GrowingFolder, "add", add)
    with watching(source) as one:
        noise(source / "a.png")
        wait_for(lambda: one.progress.lines)
        time.sleep(0.6)
        assert len(one.progress.lines) == 1
        assert "No space left on device" in one.progress.lines[0]
        full.clear()
        one.until("a.png")
    assert one.progress.lines[1:] == ["There is enough space again."]
    full.set()
    noise(source / "b.png")
    with pytest.raises(FullDiskError):
        watch_folder(source, FakeCoater(), source.parent / "out", once=True)  # type: ignore[arg-type]


def test_once_waits_for_files_to_settle(source: Path, tmp_path: Path) -> None:
    noise(source / "a.png")
    os.utime(source / "a.png", (0, 0))
    noise(source / "new.png")
    coater, progress = FakeCoater(), Notices()
    how = WatchConfig(settle=0.5)
    manifest = watch_folder(
        source, coater, tmp_path / "out", watching=how, once=True, progress=progress
    )  # type: ignore[arg-type]
    assert [entry.source for entry in manifest.entries] == ["a.png", "new.png"]
    assert manifest.complete
    assert progress.lines == []
    assert not list(tmp_path.glob(".*")), "no lock is left"


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("after", [0, 1])
def test_a_stop_leaves_an_unfinished_manifest(
    source: Path, tmp_path: Path, once: bool, after: int
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        noise(source / name)
        os.utime(source / name, (0, 0))
    coated: list[CoatEntry] = []

    def stopped() -> bool:
        return len(coated) >= after

    call: dict[str, Any] = {"watching": QUICK, "once": once, "coated": coated.append}
    coater: Any = FakeCoater()
    given = {"progress": Progress(stopped), "stopped": stopped}
    manifest = watch_folder(source, coater, tmp_path / "out", **call, **given)
    assert len(manifest.entries) < 3
    assert not manifest.complete
    manifest = watch_folder(source, coater, tmp_path / "out", **(call | {"once": True}))
    assert len(manifest.entries) == 3
    assert manifest.complete


def test_files_of_other_types_are_failures_as_by_coat(source: Path, tmp_path: Path) -> None:
    noise(source / "a.png")
    (source / "b.svg").write_text("<svg/>")
    coater, progress = FakeCoater(), Notices()
    call: dict[str, Any] = {"watching": QUICK, "once": True, "progress": progress}
    manifest = watch_folder(source, coater, tmp_path / "out", **call)  # type: ignore[arg-type]
    assert [one.source for one in manifest.failures] == ["b.svg"]
    assert sum("b.svg" in line for line in progress.lines) == 1
    (source / "b.svg").unlink()
    manifest = watch_folder(source, coater, tmp_path / "out", **call)  # type: ignore[arg-type]
    assert manifest.failures == ()


def test_files_of_other_types_alone_are_named_too(source: Path, tmp_path: Path) -> None:
    (source / "b.svg").write_text("<svg/>")
    (source / "c.pdf").write_text("a page")
    coater, progress = FakeCoater(), Notices()
    call: dict[str, Any] = {"watching": QUICK, "once": True, "progress": progress}
    manifest = watch_folder(source, coater, tmp_path / "out", **call)  # type: ignore[arg-type]
    assert [one.source for one in manifest.failures] == ["b.svg"]
    assert sum("b.svg" in line for line in progress.lines) == 1
    assert sum("c.pdf" in line for line in progress.lines) == 1


def test_once_names_what_still_grows(source: Path, tmp_path: Path) -> None:
    noise(source / "a.png")
    stop = threading.Event()

    def grow() -> None:
        while not stop.wait(0.05):
            with (source / "b.png").open("ab") as stream:
                stream.write(b"more")

    thread = threading.Thread(target=grow)
    thread.start()
    progress, coater = Notices(), FakeCoater()
    try:
        how = WatchConfig(settle=0.5)
        manifest = watch_folder(
            source, coater, tmp_path / "out", watching=how, once=True, progress=progress
        )  # type: ignore[arg-type]
    finally:
        stop.set()
        thread.join()
    assert [entry.source for entry in manifest.entries] == ["a.png"]
    assert not manifest.complete
    assert "still being written" in progress.lines[-1]


def test_a_folder_that_goes_away_and_comes_back(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.2)
    with watching(source) as one:
        noise(source / "first.png")
        one.until("first.png")
        source.rename(source.parent / "away")
        wait_for(lambda: one.progress.lines)
        (source.parent / "away").rename(source)
        noise(source / "a.png")
        one.until("a.png")
    assert len(one.progress.lines) == 1
    assert "can't be listed" in one.progress.lines[0]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected the folder to watch"):
        watch_folder(tmp_path / "none", FakeCoater(), tmp_path / "out")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="interval is 0; expected"):
        WatchConfig(interval=0)
