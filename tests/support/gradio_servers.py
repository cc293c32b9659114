"""Programs that run in another Python, one that has a pinned Gradio, and how tests find it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.install_gradio import VARIABLES

ROOT = Path(__file__).resolve().parents[2]


def interpreter(which: str) -> str:
    """The Python with that Gradio; skips the test where none is named."""
    name = VARIABLES[which]
    path = os.environ.get(name)
    if not path:
        pytest.skip(f"{name} names no Python with Gradio {which}")
    return path


def environment(**extra: str) -> dict[str, str]:
    """For a program of another Python: package and tests on its path, no hub, no analytics."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        **extra,
    }


def output_of(words: Sequence[str], seconds: float = 300, **extra: str) -> str:
    """What a program prints; fails the test with its errors when it fails."""
    done = subprocess.run(
        list(words), capture_output=True, text=True, timeout=seconds, env=environment(**extra)
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(words: Sequence[str], port: int, log: Path, **extra: str) -> Iterator[str]:
    """The address of a server while it runs."""
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as stream:
        process = subprocess.Popen(
            list(words), stdout=stream, stderr=subprocess.STDOUT, env=environment(**extra)
        )
    try:
        deadline = time.monotonic() + 240
        while True:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            try:
                urllib.request.urlopen(address, timeout=60).close()
            except OSError:
                time.sleep(0.5)
            else:
                break
        yield address
    finally:
        process.terminate()
        process.wait(30)


def browser_python() -> tuple[str, str]:
    """The Python that drives a browser, and the browser; skips the test where one is missing."""
    python = interpreter("current")
    chromium = os.environ.get("SIREN_CHROMIUM") or shutil.which("chromium")
    if not chromium:
        pytest.skip("No Chromium found; install one or name it in SIREN_CHROMIUM")
    return python, chromium
