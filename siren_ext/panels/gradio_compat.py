"""What differs between the Gradio versions that hosts bring (3.41, 4.40, 6)."""

from __future__ import annotations

import os
import tempfile
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


def upload_field(gr: Any, **options: Any) -> Any:
    """A field for files that visitors upload.

    Version 3 takes any path of the host's machine that a visitor's program names as an upload, and
    reads it. Here such a path is refused before the file is touched. Later versions check it
    themselves.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    **options : Any
        Arguments of ``gr.File``.

    Returns
    -------
    Any
        The ``gr.File``.
    """
    field = gr.File(**options)
    if major(gr) != 3:
        return field
    read, folder = field.preprocess, getattr(field, "DEFAULT_TEMP_DIR", None)

    def checked(value: Any) -> Any:
        for entry in value if isinstance(value, list) else [value]:
            named = entry.get("name") if isinstance(entry, dict) and entry.get("is_file") else None
            if named is not None and not _is_uploaded(str(named), folder):
                raise gr.Error(
                    "The request names a file outside the upload folder; expected an uploaded "
                    "file. Upload the file instead."
                )
        return read(value)

    field.preprocess = checked
    return field


def _is_uploaded(path: str, folder: str | None) -> bool:
    """Whether a path is inside the folder in which Gradio keeps uploads."""
    default = os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio"
    try:
        found = Path(path).resolve()
        roots = [Path(root).resolve() for root in (default, folder) if root]
    except (OSError, RuntimeError, ValueError):  # a link loop, a zero byte
        return False
    return Path(path).is_absolute() and any(root in found.parents for root in roots)


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
