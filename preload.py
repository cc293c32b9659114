"""Lets web UIs use the whole repository as an extension: the flags of ``a1111_extension``."""

from __future__ import annotations

import runpy
from pathlib import Path

preload = runpy.run_path(str(Path(__file__).parent / "a1111_extension" / "preload.py"))["preload"]
