"""Run by the web UI at launch: install what is missing, and never touch what the web UI brought."""

from __future__ import annotations

import tempfile
from importlib import metadata
from pathlib import Path

import launch

# module name -> requirement; torch, numpy, Pillow and gradio are the web UI's own and stay as found
NEEDED = {
    "scipy": "scipy>=1.10",
    "safetensors": "safetensors>=0.4",
    "matplotlib": "matplotlib>=3.6",
    "jinja2": "jinja2>=3.0",
    "tomli_w": "tomli-w>=1.0",
    "cryptography": "cryptography>=41",
}
KEPT = ("torch", "numpy", "pillow", "gradio", "safetensors", "transformers", "fastapi", "pydantic")
HERE = Path(__file__).resolve().parent


def constraints() -> str:
    """The web UI's versions, so that pip resolves around them."""
    lines = []
    for name in KEPT:
        try:
            lines.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return "\n".join(lines) + "\n"


def main() -> None:
    """Install the missing ones."""
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
                "Siren's package was not found: expected the folder siren_ext inside the extension "
                "or beside it. Copy it there from the project."
            )
        # a link to it, so that an update of the project reaches the extension and the package alike
        launch.run_pip(f'install --no-deps --editable "{project}"', "Siren")


main()
