"""Temporary files of killed processes are deleted, those of running ones are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.processes import with_support

from siren_ext import files
from siren_ext.files import atomic, locked, part_prefix, tidy

WRITER = """
import sys
from pathlib import Path
from siren_ext.files import atomic
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def untidied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_tidied", set())


def writer(out: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that is writing a file, and its temporary file."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=with_support(),
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("by", ["atomic", "locked", "locked folder"])
def test_what_a_killed_process_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    process, part = writer(tmp_path / "a.json")
    assert part.parent == tmp_path
    tidy(tmp_path)
    assert part.read_text() == "half", "its process is running"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert part.exists()
    monkeypatch.setattr(files, "_tidied", set())
    if by == "atomic":
        with atomic(tmp_path / "b.json"):
            assert not part.exists()
    else:
        with locked(tmp_path if by == "locked folder" else tmp_path / "out"):
            assert not part.exists()


def test_others_are_left(tmp_path: Path) -> None:
    gone = 2**22 + 7  # more than the largest number of a process on Linux
    ours = part_prefix().replace(f"-{os.getpid()}-", f"-{gone}-")
    names = {
        "left": f"{ours}x1.json",
        "own": f"{part_prefix()}x2.json",
        "other machine": ".part-00000000-5-x3.json",
        "earlier version": ".part-x4.json",
        "huge": f"{ours.replace(str(gone), '9' * 10)}x5.json",
        "other": "part.json",
    }
    for name in names.values():
        (tmp_path / name).write_text("half")
    (tmp_path / f"{ours}folder").mkdir()
    (tmp_path / f"{ours}link").symlink_to(tmp_path / "part.json")
    tidy(tmp_path)
    there = {kind for kind, name in names.items() if (tmp_path / name).exists()}
    assert there == {"own", "other machine", "earlier version", "huge", "other"}
    assert (tmp_path / f"{ours}folder").is_dir()
    assert (tmp_path / f"{ours}link").is_symlink()


def test_old_ones_of_any_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (".part-00000000-5-x3.json", ".part-x4.json")
    for name in names:
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - 90_000,) * 2)
    (tmp_path / "part.json").write_text("whole")
    os.utime(tmp_path / "part.json", (0, 0))
    tidy(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["part.json"]


def test_a_folder_is_searched_once(tmp_path: Path) -> None:
    tidy(tmp_path)
    left = tmp_path / ".part-x4.json"
    left.touch()
    os.utime(left, (0, 0))
    tidy(tmp_path)
    assert left.exists()
    tidy(tmp_path / "missing")
    tidy(tmp_path / "nul\0")
