"""The web UI's modules for one test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.webui import EXTENSION, SDNEXT, WEBUI

OURS = ("modules", "modules_forge", "networks", "launch", "siren_a1111", "webui_processing")


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The host's modules, importable for one test."""
    monkeypatch.setenv("SIREN_TEST_DATA", str(tmp_path))
    monkeypatch.syspath_prepend(str(EXTENSION))
    monkeypatch.syspath_prepend(str(WEBUI))
    yield tmp_path
    forget()


@pytest.fixture
def sdnext(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """SD.Next's modules, importable for one test."""
    monkeypatch.setenv("SIREN_TEST_DATA", str(tmp_path))
    monkeypatch.syspath_prepend(str(EXTENSION))
    monkeypatch.syspath_prepend(str(SDNEXT))
    yield tmp_path
    forget()


def forget() -> None:
    """Unload the host's modules."""
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]
