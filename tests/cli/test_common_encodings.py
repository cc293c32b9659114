"""Output that is redirected has an encoding of the system; every name can be printed in it."""

from __future__ import annotations

import os
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
