"""The web UI's modules for one test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.webui import EXTENSION, WEBUI

OURS = ("modules", "modules_forge", "networks", "launch", "siren_a1111")


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The host's modules, importable for one test."""
    monkeypatch.setenv("SIREN_TEST_DATA", str(tmp_path))
    monkeypatch.syspath_prepend(str(EXTENSION))
    monkeypatch.syspath_prepend(str(WEBUI))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
