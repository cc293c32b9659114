"""Make the environments in which the tests run the Gradio of every host.

python tests/support/install_gradio.py FOLDER

prints one ``VARIABLE=interpreter`` a line, as ``gradio_servers.py`` wants them: Gradio 3.41.2 with
the pins of AUTOMATIC1111 1.10, 4.40.0 with those of Forge, 3.43.2 with those of SD.Next (July
2026), 4.40.0 with those of Forge Neo (June 2026), and the current release with the requirements of
``gradio_demo``. A second call on a finished folder returns at once.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]
# the project's own script, which knows how to get a small torch
run = SimpleNamespace(**runpy.run_path(str(ROOT / "run.py")))

VARIABLES = {
    "3": "SIREN_GRADIO3_PYTHON",
    "4": "SIREN_GRADIO4_PYTHON",
    "sdnext": "SIREN_GRADIO_SDNEXT_PYTHON",
    "neo": "SIREN_GRADIO_NEO_PYTHON",
    "current": "SIREN_GRADIO_PYTHON",
}
WEBUI = ("numpy==1.26.2", "Pillow==9.5.0", "scipy==1.11.4", "safetensors==0.4.2", "jinja2",
         "matplotlib<3.9", "msgspec>=0.18", "tomli-w", "tomli", "setuptools<80",
         "cryptography>=41")  # fmt: skip
OURS = ("scipy", "jinja2", "matplotlib", "msgspec>=0.18", "tomli-w", "tomli", "setuptools==69.5.1",
        "cryptography>=41")  # fmt: skip
"""What the extension's install.py adds, at no particular version."""
GRADIO = ("aiofiles", "altair", "ffmpy", "importlib-resources", "orjson", "pandas", "pydub",
          "python-multipart", "requests", "semantic-version", "uvicorn", "websockets<12", "typer",
          "tomlkit", "ruff", "urllib3", "pytz")  # fmt: skip
"""What Gradio needs beside the pins, where it is installed without its own (too old) bounds."""
BARE = {
    "sdnext": ("gradio==3.43.2", "gradio-client==0.5.0"),
    "neo": ("gradio==4.40.0", "gradio-client==1.2.0"),
}
"""Installed without dependencies, as these web UIs do: they want numpy 1 and Pillow 10."""
NEEDS = {
    "3": (
        *WEBUI, "gradio==3.41.2", "fastapi==0.94.0", "httpx==0.24.1", "httpcore==0.15",
        "pydantic<2", "huggingface-hub<0.27", "python-multipart",
    ),
    "4": (
        *WEBUI, "gradio==4.40.0", "fastapi==0.104.1", "pydantic==2.8.2", "httpx==0.24.1",
        "huggingface-hub==0.26.2",
    ),
    "sdnext": (
        *OURS, *GRADIO, "numpy==2.1.2", "Pillow==12.2.0", "safetensors==0.8.0", "fastapi==0.124.4",
        "httpx==0.28.1", "pydantic==2.13.4", "huggingface_hub==1.23.0",
    ),
    "neo": (
        *OURS, *GRADIO, "numpy==2.3.5", "Pillow==12.2.0", "safetensors==0.7.0", "fastapi==0.127.1",
        "httpx==0.24.1", "pydantic==2.10.6", "huggingface-hub==0.36.2",
    ),
    "current": ("-r", str(ROOT / "gradio_demo" / "requirements.txt"), "playwright"),
}  # fmt: skip


def install(folder: Path, which: str) -> Path:
    """The interpreter of a complete environment in ``folder``."""
    python = run.interpreter(folder)
    wanted = " ".join((*NEEDS[which], *BARE.get(which, ())))
    done = folder / "siren-gradio.txt"
    if done.is_file() and done.read_text(encoding="utf-8") == wanted and python.exists():
        return python
    run.make_environment(folder)
    run.install_torch(python)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *NEEDS[which]], check=True)
    if which in BARE:
        subprocess.run([*pip, "--no-deps", *BARE[which]], check=True)
    done.write_text(wanted, encoding="utf-8")
    return python


def main(folder: Path) -> None:
    """Make all of them, side by side, and print where they are."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 11):
        sys.exit("The web UIs' pins have wheels for Python 3.10 and 3.11 only; use one of them.")
    for which in VARIABLES:
        # one by one: a program that starts meanwhile keeps a copied interpreter open, and then the
        # interpreter can't be run ("Text file busy")
        run.make_environment(folder / which)
    with ThreadPoolExecutor() as pool:
        made = pool.map(lambda which: install(folder / which, which), VARIABLES)
        for name, python in zip(VARIABLES.values(), made, strict=True):
            print(f"{name}={python}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
