"""Visitors on the page in a browser: two at once, a stop, and files that can't be used."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.gradio_servers import ROOT, browser_python, free_port, interpreter, output_of, served

from siren_ext.samples.folder import sample_folder

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_visitors_do_not_wait_for_each_others_mistakes(tmp_path: Path) -> None:
    server = interpreter("current")
    python, chromium = browser_python()
    files = tmp_path / "files"
    files.mkdir()
    good = next(sample_folder().glob("*.png"))
    shutil.copy(good, files / "good.png")
    Image.new("L", (10_000, 6_000)).save(files / "huge.png")
    (files / "broken.png").write_bytes(good.read_bytes()[:100])
    (files / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    (files / "notes.txt").write_text("a caption without an image")
    port = free_port()
    words = [server, "-W", "ignore", str(HERE / "serve_page.py")]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "gradio_demo")))
    extra = {"GRADIO_SERVER_PORT": str(port), "PYTHONPATH": path}
    with served(words, port, tmp_path / "log", **extra) as address:
        drive = [python, str(HERE / "drive_page.py"), address, str(files)]
        seen = json.loads(output_of(drive, seconds=900, SIREN_CHROMIUM=chromium))
    # a finished run is there before the first click, and no step of the visitor's own is done
    assert "earlier run" in seen["before"].lower()
    assert seen["finished"].lower() == "coating found"
    assert seen["begun"] < 4
    assert "No images were given" in seen["empty form"]
    assert "huge.png has 60.0 megapixels; at most 25 are accepted" in seen["huge.png"]
    assert "broken.png" in seen["broken.png"]
    assert "No image files were found" in seen["notes.txt"]
    assert "broken.zip can't be unpacked" in seen["broken.zip"]
    assert "1 image coated" in seen["good.png"]
    assert seen["uncoated"].lower() == "training found"
    assert "No published images were given" in seen["uncoated form"]
    assert seen["first"]
    assert seen["steps"] == 4
    assert "Stopped" in seen["stopped"]
