"""Coaters by name, temporary folders, Stop."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from siren_ext.errors import Cancelled, CoaterError
from siren_ext.panels.host import CoaterLibrary, JobFolders, PanelHost, PanelProgress, StopRequests
from siren_ext.training.stand_in import surrogate_file


def test_names_are_the_owners_first(host: PanelHost) -> None:
    assert host.coaters.names()[0] == "mine.safetensors"
    assert "samples" in host.coaters.names()
    assert CoaterLibrary().names() == ["samples", "start", "keyed"]
    assert host.coaters.load("mine.safetensors").config.channels == 8


def test_what_training_leaves_beside_a_coater_is_not_offered(
    host: PanelHost, coater_file: Path
) -> None:
    before = host.coaters.names()
    surrogate_file(coater_file).write_bytes(b"a LoRA")
    assert host.coaters.names() == before


def test_a_changed_file_is_loaded_anew(host: PanelHost, coater_file: Path) -> None:
    first = host.coaters.load("mine.safetensors")
    assert host.coaters.load("mine.safetensors") is first
    stamp = coater_file.stat().st_mtime + 5
    os.utime(coater_file, (stamp, stamp))
    assert host.coaters.load("mine.safetensors") is not first


@pytest.mark.parametrize("name", ["../coaters/mine.safetensors", "other", "", "/etc/passwd"])
def test_only_listed_names_are_loaded(host: PanelHost, name: str) -> None:
    with pytest.raises(CoaterError, match="no coater named"):
        host.coaters.load(name)


def test_an_upload_takes_the_place_of_the_name(host: PanelHost, coater_file: Path) -> None:
    coaters = CoaterLibrary(device="cpu")
    assert coaters.load("no such name", str(coater_file)).config.channels == 8


def test_an_upload_that_is_no_coater(host: PanelHost, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\x00" * 64)
    with pytest.raises(CoaterError):
        host.coaters.load("samples", str(bad))


def test_folders_are_private_and_go(tmp_path: Path) -> None:
    jobs = JobFolders(keep_minutes=0.001)
    folder = jobs.new("t")
    (folder / "a").write_text("x")
    assert folder.stat().st_mode & 0o077 == 0
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not folder.exists()
    kept = JobFolders(keep_minutes=5)
    other = kept.new("t")
    kept.close()
    assert not other.exists()


def test_one_thread_deletes_all_folders() -> None:
    def sweepers() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "siren-folders"}

    before = sweepers()  # those of other tests may end at any time
    jobs = JobFolders(keep_minutes=5)
    folders = [jobs.new("t") for _ in range(50)]
    assert len(sweepers() - before) == 1
    jobs.remove(folders[0])
    assert not folders[0].exists()
    assert folders[1].exists()
    jobs.close()
    assert not any(folder.exists() for folder in folders)
    deadline = time.monotonic() + 5
    while sweepers() - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not sweepers() - before
    jobs.keep_minutes = 0.001  # a new folder starts the thread again
    last = jobs.new("t")
    while last.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not last.exists()


def test_a_folder_that_is_written_to_stays(tmp_path: Path) -> None:
    jobs = JobFolders(keep_minutes=10)
    folder = jobs.new("t")
    inner = folder / "pictures" / "a"
    inner.parent.mkdir()
    inner.write_text("x")
    long_ago = time.time() - 3600
    for path in (folder, inner.parent):
        os.utime(path, (long_ago, long_ago))
    jobs._expire(folder)  # what the sweeper does after ten minutes
    assert inner.exists()
    os.utime(inner, (long_ago, long_ago))
    jobs._expire(folder)
    assert not folder.exists()
    jobs.close()


def test_a_folder_stays_while_the_work_in_it_runs() -> None:
    def wait_for_the_end_of(folder: Path) -> None:
        deadline = time.monotonic() + 5
        while folder.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not folder.exists()

    jobs = JobFolders(keep_minutes=0.001)
    with jobs.working("t") as folder:
        (folder / "a").write_text("x")
        wait_for_the_end_of(jobs.new("t"))
        time.sleep(0.2)  # more than twice the time that folders are kept
        assert (folder / "a").exists()
    wait_for_the_end_of(folder)
    with pytest.raises(Cancelled), jobs.working("t") as folder:
        raise Cancelled
    wait_for_the_end_of(folder)
    jobs.close()


def test_a_folder_is_kept_for_some_time_after_the_work() -> None:
    jobs = JobFolders(keep_minutes=10)
    long_ago = time.time() - 3600
    with jobs.working("t") as folder:
        os.utime(folder, (long_ago, long_ago))
        jobs._due[folder] = time.monotonic()
        begun = time.monotonic()
    assert jobs._due[folder] >= begun + 10 * 60
    jobs._expire(folder)
    assert not folder.exists()
    jobs.close()


def test_stop_reaches_a_job_that_has_not_begun() -> None:
    stops = StopRequests()
    word = stops.new_job()
    stops.request(word)
    progress = PanelProgress(lambda *_, **__: None, stops, word)
    with pytest.raises(Cancelled):
        progress.stage("Coating", 3)


def test_a_new_job_stops_the_old_one_alone() -> None:
    stops = StopRequests()
    first = stops.new_job()
    second = stops.new_job(first)
    assert stops.requested(first)
    assert not stops.requested(second)
    assert not stops.requested("")


def test_the_bar_shows_counts() -> None:
    drawn: list[tuple[float, str]] = []
    stops = StopRequests()
    progress = PanelProgress(
        lambda share, desc: drawn.append((share, desc)), stops, stops.new_job()
    )
    progress.stage("Coating", 4, 1)
    assert drawn == [(0.25, "Coating: 1 of 4")]
    progress.stage("Packing")
    assert drawn[-1] == (0.0, "Packing")
