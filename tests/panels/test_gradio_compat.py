"""Uploads of every Gradio are paths."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from siren_ext.panels.gradio_compat import upload_paths


def test_paths_of_every_gradio() -> None:
    assert upload_paths(None) == []
    assert upload_paths("a.png") == [Path("a.png")]
    assert upload_paths([SimpleNamespace(name="b.png"), "c.png"]) == [Path("b.png"), Path("c.png")]
