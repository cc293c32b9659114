"""Names of the bundled coaters, and which of them training begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from siren_ext import bundled
from siren_ext.errors import CoaterError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder whose coaters the test puts there."""
    folder = tmp_path / "pocket" / "coaters"
    folder.mkdir(parents=True)
    monkeypatch.setattr(bundled, "__file__", str(tmp_path / "bundled.py"))
    return folder


def test_the_generic_one_is_preferred(installed: Path) -> None:
    assert bundled.usual_start() == "samples"
    (installed / "samples.safetensors").touch()
    assert bundled.usual_start() == "samples"
    (installed / "start.safetensors").touch()
    assert bundled.usual_start() == "start"


def test_names_and_paths(installed: Path) -> None:
    (installed / "samples.safetensors").touch()
    assert bundled.coater_path("samples") == installed / "samples.safetensors"
    assert bundled.coater_path("mine.safetensors") == Path("mine.safetensors")
    with pytest.raises(CoaterError, match="bundled coater 'start' is missing"):
        bundled.coater_path("start")
