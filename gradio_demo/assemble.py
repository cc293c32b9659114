"""Writes the folder of a Space: the page, its requirements and the package."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = (
    "README.md", "app.py", "asked.json", "asked.py", "finished.json", "finished.py", "guided.py",
    "how.html", "requirements.txt", "uncoated.html", "uncoated.json", "uncoated.py", "words.json",
)  # fmt: skip
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def assemble(out: Path) -> None:
    """Copy everything that a Space needs.

    Parameters
    ----------
    out : Path
        A new or empty folder.

    Raises
    ------
    FileExistsError
        The folder is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; name a new or empty folder.")
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy2(HERE / name, out / name)
    shutil.copytree(HERE.parent / "siren_ext", out / "siren_ext", ignore=_LEFT_OUT)
    shutil.copy2(HERE.parent / "LICENSE", out / "LICENSE")


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
