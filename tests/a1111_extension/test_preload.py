"""The extension's flags."""

from __future__ import annotations

import argparse
from pathlib import Path

from support.scripts import load_script
from support.webui import EXTENSION


def test_flags(webui: Path) -> None:
    parser = argparse.ArgumentParser()
    preload = load_script(EXTENSION / "preload.py")
    preload.preload(parser)
    given = parser.parse_args(["--siren-allow-folders", "--siren-coater-dir", "x"])
    assert given.siren_allow_folders
    assert given.siren_coater_dir == "x"
