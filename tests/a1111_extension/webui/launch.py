"""What extensions' installers use; installations are written down, not done."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
from pathlib import Path


def is_installed(package: str) -> bool:
    if package in os.environ.get("SIREN_TEST_ABSENT", "").split(","):
        return False
    if package in os.environ.get("SIREN_TEST_PRESENT", "").split(","):
        return True
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        try:
            return importlib.util.find_spec(package) is not None
        except ModuleNotFoundError:
            return False
    return True


def run_pip(command: str, desc: str | None = None, live: bool = False) -> str:
    log = Path(os.environ["SIREN_TEST_PIP_LOG"])
    constraints = ""
    if " -c " in command:
        constraints = Path(command.split(' -c "')[1].rstrip('"')).read_text(encoding="utf-8")
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"command": command, "constraints": constraints}) + "\n")
    return ""
