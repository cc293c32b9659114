"""Output that is redirected has an encoding of the system; every name can be printed in it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("page", ["cp1252", "cp932", "ascii", "utf-8"])
def test_any_name_is_printed_in_any_encoding(
    photos: Path, coater_file: Path, tmp_path: Path, page: str
) -> None:
    out = tmp_path / "fertig_\u6771\u4eac_\u00e9"
    (photos / "\u6771_\u00e9_bad.png").write_bytes(b"no image")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "siren_ext",
            "coat",
            photos,
            "-q",
            *("--coater", coater_file, "--out", out),
        ],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": page, "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 3
    expected = str(out).encode(page, "backslashreplace")
    assert b"4 of 4 images coated: " + expected in done.stdout
    assert "\u6771_\u00e9_bad.png".encode(page, "backslashreplace") in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("redirection", ["2>/dev/full", ">&- 2>&-"])
def test_work_is_done_though_nothing_can_be_shown(
    photos: Path, coater_file: Path, tmp_path: Path, redirection: str
) -> None:
    words = ["coat", photos, "--coater", coater_file, "--out", tmp_path / "out"]
    line = shlex.join(map(str, [sys.executable, "-m", "siren_ext", *words]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(f"{line} {redirection}", shell=True, env=environment, timeout=300)
    assert done.returncode == 0
    assert (tmp_path / "out" / "3.png").is_file()
