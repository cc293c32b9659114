"""A bad form is answered at once in a browser, while another visitor's job runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.gradio_servers import browser_python, free_port, interpreter, output_of, served

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("which", ["3", "4", "sdnext", "current"])
def test_a_bad_form_does_not_wait_for_others(which: str, tmp_path: Path) -> None:
    server = interpreter(which)
    python, chromium = browser_python()
    port, held = free_port(), tmp_path / "held"
    words = [server, "-W", "ignore", str(HERE / "serve_form.py"), str(held), str(port)]
    with served(words, port, tmp_path / "log") as address:
        drive = [python, str(HERE / "drive_form.py"), address, str(held)]
        seen = json.loads(output_of(drive, SIREN_CHROMIUM=chromium))
    assert "This word is of no use" in seen["bad, while another job runs"]
    assert "slow, as True" in seen["slow"]
    assert seen["begun"] == "['.slow']"
