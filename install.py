"""Run by the host into which the whole repository was cloned: a web UI, or ComfyUI's manager."""

from __future__ import annotations

import runpy
import subprocess
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def for_comfyui() -> None:
    """Install the missing packages of the ComfyUI pack; all that is installed stays as it is."""
    installed = "".join(
        f"{one.metadata['Name']}=={one.version}\n"
        for one in metadata.distributions()
        if one.metadata["Name"] and not one.read_text("direct_url.json")
    )
    with tempfile.TemporaryDirectory() as folder:
        fixed = Path(folder) / "constraints.txt"
        fixed.write_text(installed, encoding="utf-8")
        wanted = ROOT / "comfy_nodes" / "requirements.txt"
        command = [sys.executable, "-m", "pip", "install", "-r", wanted, "-c", fixed]
        subprocess.run([str(part) for part in command], check=True)


if find_spec("launch") is not None:  # a web UI's own module
    runpy.run_path(str(ROOT / "a1111_extension" / "install.py"), run_name="__main__")
else:
    for_comfyui()
