#!/usr/bin/env python3
"""Build the ComfyUI pack and the web UIs' extension as folders that hold all of siren_ext.

python build_packs.py [OUT]      OUT defaults to build/packs

They work wherever they are copied: OUT/siren-coating belongs in ComfyUI's custom_nodes (or in its
registry), OUT/siren in the extensions folder of AUTOMATIC1111, Forge or SD.Next. Needs nothing but
Python.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PACKS = {
    "siren-coating": ("comfy_nodes", "lib/siren_ext"),
    "siren": ("a1111_extension", "siren_ext"),
}
"""Of each folder: what it is made of, and where the package goes."""
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")


class BuildError(Exception):
    """A pack can't be built; the message says what to do."""


def build(out: Path) -> list[Path]:
    """Write both folders into ``out``; raises BuildError if one exists already."""
    made = []
    for name, (shell, place) in PACKS.items():
        folder = out / name
        if folder.exists():
            raise BuildError(f"{folder} exists already. Delete it, or name another folder.")
        shutil.copytree(ROOT / shell, folder, ignore=LEFT_OUT)
        shutil.copytree(ROOT / "siren_ext", folder / place, ignore=LEFT_OUT)
        shutil.copy(ROOT / "LICENSE", folder / "LICENSE")
        made.append(folder)
    return made


def main() -> int:
    """Run the command; returns the exit status."""
    words = sys.argv[1:]
    if len(words) > 1 or any(word.startswith("-") for word in words):
        sys.stdout.write(__doc__)
        return 0 if words in (["-h"], ["--help"]) else 2
    try:
        for folder in build(Path(words[0]) if words else ROOT / "build" / "packs"):
            sys.stdout.write(f"{folder}\n")
    except (BuildError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
