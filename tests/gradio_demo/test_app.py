"""The page serves its stable endpoints, quickly and within limits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.gradio_servers import ROOT, free_port, interpreter, output_of, served

from siren_ext.samples.folder import sample_folder


@pytest.mark.slow
def test_programs_can_call_the_page(tmp_path: Path) -> None:
    python = interpreter("current")
    images = tmp_path / "images"
    images.mkdir()
    for path in sorted(sample_folder().glob("*.png"))[:7]:
        shutil.copy(path, images)
    port = free_port()
    app = [python, "-W", "ignore", str(ROOT / "gradio_demo" / "app.py")]
    caller = str(Path(__file__).with_name("call_api.py"))
    temp = tmp_path / "temp"
    temp.mkdir()
    extra = {"GRADIO_SERVER_PORT": str(port), "TMPDIR": str(temp)}
    with served(app, port, tmp_path / "log", **extra) as address:
        found = json.loads(output_of([python, "-W", "ignore", caller, address, str(images)]))
        assert list(temp.glob("siren_api_*"))
    # the server was asked to end, and took its visitors' files along
    assert not list(temp.glob("siren_*"))
    left = {path.read_bytes() for path in temp.rglob("*") if path.is_file()}
    assert not left & {path.read_bytes() for path in images.iterdir()}
    names = [name for name in found["names"] if not name.startswith("/gradio")]
    assert names == ["/coat", "/score", "/verify"]
    files = sorted(path.name for path in images.iterdir())
    assert found["members"] == files[:2]
    coated = found["facts"]["images"]
    assert all(image["after"] < image["before"] and image["psnr_db"] > 35 for image in coated)
    assert [image["name"] for image in found["scores"]["images"]] == files[:3]
    before = [image["before"] for image in coated]
    again = [image["score"] for image in found["scores"]["images"][:2]]
    assert again == pytest.approx(before, rel=1e-4)
    assert found["verdict"]["finding"]["n"] == 3
    assert found["verdict"]["finding"]["m"] == 4
    assert found["report"] == ["report.html", "report.json"]
    assert "No images" in found["refused"]
