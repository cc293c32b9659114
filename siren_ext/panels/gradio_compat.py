"""What differs between the Gradio versions that hosts bring (3.41, 4.40, 6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def major(gr: Any) -> int:
    """Gradio's major version."""
    return int(str(gr.__version__).split(".")[0])


def private(gr: Any) -> dict[str, Any]:
    """Keywords of an event that keep it out of the host's public API."""
    return {"api_visibility": "private"} if major(gr) >= 6 else {"api_name": False}


def lossless(gr: Any) -> dict[str, Any]:
    """Keywords of a picture component that keep previews PNG; version 3 knows nothing else."""
    return {"format": "png"} if major(gr) >= 4 else {}


def upload_paths(value: Any) -> list[Path]:
    """Paths behind a file component's value: nothing, one or many; texts or objects with a name."""
    if value is None:
        return []
    entries = value if isinstance(value, list | tuple) else [value]
    return [Path(e if isinstance(e, str | Path) else e.name) for e in entries]
