"""The run button of the panel that verifies, without a layout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from support.noise_files import noise_folder

from siren_ext.panels.host import PanelHost
from siren_ext.panels.verify import _runner
from siren_ext.panels.widgets import RISKS


def test_files_that_do_not_count_are_named(host: PanelHost, tmp_path: Path) -> None:
    pools = [sorted(noise_folder(tmp_path / name, 6, seed, 255).iterdir()) for name, seed in
             (("s", 1), ("r", 2))]  # fmt: skip
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    (tmp_path / "sketch.psd").write_bytes(b"8BPS\0\1")
    uploads = [[*map(str, pool)] for pool in pools]
    uploads[0].append(str(tmp_path / "film.mp4"))
    uploads[1].append(str(tmp_path / "sketch.psd"))
    gr = SimpleNamespace(Progress=lambda: lambda *_, **__: None, update=lambda **values: values)
    form = (uploads[0], "", uploads[1], "", "mine.safetensors", None, None, "", "", None, None)
    card, *_ = _runner(gr, host)(*form, next(iter(RISKS)), "", gr.Progress())
    assert "Please check" in card
    assert "film.mp4" in card
    assert "sketch.psd" in card
