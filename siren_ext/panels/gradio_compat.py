"""What differs between the Gradio versions that hosts bring (3.41, 4.40, 6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def major(gr: Any) -> int:
    """Gradio's major version.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.

    Returns
    -------
    int
        Such as 3, 4 or 6.
    """
    return int(str(gr.__version__).split(".")[0])


def private(gr: Any) -> dict[str, Any]:
    """Keyword arguments of an event that keep it out of the host's public API.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.

    Returns
    -------
    dict[str, Any]
        Arguments for ``click``, ``then`` and the like.
    """
    return {"api_visibility": "private"} if major(gr) >= 6 else {"api_name": False}


def lossless(gr: Any) -> dict[str, Any]:
    """Keyword arguments of a gallery that keep its previews in PNG.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.

    Returns
    -------
    dict[str, Any]
        Arguments for ``gr.Gallery``; empty for version 3, which always uses PNG.
    """
    return {"format": "png"} if major(gr) >= 4 else {}


def upload_paths(value: Any) -> list[Path]:
    """Paths of the files in a file component's value.

    Parameters
    ----------
    value : Any
        None, one file or a list of files; each a path or an object with a ``name``.

    Returns
    -------
    list[Path]
        The paths; empty if there is no file.
    """
    if value is None:
        return []
    entries = value if isinstance(value, list | tuple) else [value]
    return [Path(e if isinstance(e, str | Path) else e.name) for e in entries]
