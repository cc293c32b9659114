"""Run by the web UI at launch. Installs missing packages and leaves the web UI's own unchanged."""

from __future__ import annotations

import sys
import tempfile
from importlib import metadata
from pathlib import Path

import launch

# module name -> requirement; torch, numpy, Pillow and gradio are the web UI's own and not listed
NEEDED = {
    "scipy": "scipy>=1.10",
    "safetensors": "safetensors>=0.4",
    "matplotlib": "matplotlib>=3.6",
    "jinja2": "jinja2>=3.0",
    "msgspec": "msgspec>=0.18",
    "tomli_w": "tomli-w>=1.0",
    "cryptography": "cryptography>=41",
}
if sys.version_info < (3, 11):
    NEEDED["tomli"] = "tomli>=2.0"
KEPT = ("torch", "numpy", "pillow", "gradio", "safetensors", "transformers", "fastapi", "pydantic")
HERE = Path(__file__).resolve().parent


def constraints() -> str:
    """Pin the packages that must not change.

    Returns
    -------
    str
        A constraints file for pip with the versions that the web UI uses.
    """
    lines = []
    for name in KEPT:
        try:
            lines.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return "\n".join(lines) + "\n"


def main() -> None:
    """Install the missing packages, and link the project if siren_ext is not inside the extension.

    Raises
    ------
    RuntimeError
        The package siren_ext was not found.
    """
    missing = [text for module, text in NEEDED.items() if not launch.is_installed(module)]
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            fixed = Path(folder) / "constraints.txt"
            fixed.write_text(constraints(), encoding="utf-8")
            wanted = " ".join(f'"{text}"' for text in missing)
            launch.run_pip(f'install {wanted} -c "{fixed}"', "requirements of Siren")
    beside = (HERE / "siren_ext" / "__init__.py").is_file()
    if not beside and not launch.is_installed("siren_ext"):
        project = HERE.parent
        if not (project / "siren_ext" / "__init__.py").is_file():
            raise RuntimeError(
                "Siren's package was not found: expected the folder siren_ext inside the "
                "extension's folder or next to it. Copy it there from the project."
            )
        # editable: one update of the project updates both the extension and the package
        launch.run_pip(f'install --no-deps --editable "{project}"', "Siren")


main()
