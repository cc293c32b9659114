"""Temporary folders that programs left which could not delete them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from siren_ext.panels import temporary
from siren_ext.panels.host import JobFolders

_PROGRAM = """
import os
from pathlib import Path
from siren_ext.panels.host import JobFolders

folder = JobFolders().new("coat")
(folder / "photo.png").write_bytes(b"private")
print(folder, flush=True)
{end}
"""


def started(end: str, place: Path) -> tuple[subprocess.Popen[str], Path]:
    """A program with a folder; it ends as its last line says."""
    running = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(end=end)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(place), "TEMP": str(place), "TMP": str(place)},
    )
    assert running.stdout is not None
    return running, Path(running.stdout.readline().strip())


def test_what_a_killed_program_left_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone, left = started("os._exit(0)", tmp_path)  # as web UIs end at Ctrl-C
    gone.communicate()
    there, kept = started("input()", tmp_path)
    others = [tmp_path / "siren_coat_x", tmp_path / "siren_coat_00000000-1-x", tmp_path / "photos"]
    for folder in others:
        folder.mkdir()
    link = tmp_path / left.name.replace("coat", "link")
    try:
        assert not left.exists()  # the program that was started after it saw to that
        assert kept.is_dir()
        left.mkdir()
        (left / "photo.png").write_bytes(b"private")
        link.symlink_to(others[-1])
        jobs = JobFolders()
        own = jobs.new("coat")
        assert not left.exists()
        assert own.is_dir()
        assert (kept / "photo.png").is_file()
        assert all(folder.is_dir() for folder in (*others, link))
        if hasattr(os, "getuid"):
            assert own.stat().st_mode & 0o077 == 0
        left.mkdir()
        jobs.new("coat")  # looked for once
        assert left.is_dir()
        jobs.close()
    finally:
        there.communicate("")
        temporary._delete_left.cache_clear()
    assert not kept.exists()  # ended in order
