"""What the scripts that drive a browser share; they run in a Python of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def give(page: Any, elem_id: str, files: Sequence[Path]) -> None:
    """Upload files and wait until they are there."""
    page.set_input_files(f"#{elem_id} input[type=file]", [str(path) for path in files])
    page.locator(f"#{elem_id}").get_by_text(files[-1].stem).first.wait_for()
    # Gradio 3 shows names before the files are there; their links tell when they are
    page.wait_for_function(
        """([elem, count]) => {
            const links = [...document.querySelectorAll(`#${elem} a[href]`)];
            return links.length >= count && links.every((link) => link.href.includes("file="));
        }""",
        arg=[elem_id, len(files)],
    )
