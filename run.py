#!/usr/bin/env python3
"""Run the demo, the tests or the fuzzer with nothing installed but Python 3.10 or newer.

python run.py demo [OUT]         the whole chain on the bundled samples; OUT defaults to out/demo
python run.py test [ARGS ...]    the tests; ARGS are passed to pytest
python run.py fuzz [ARGS ...]    damaged files for every reader, for two minutes; --help has ARGS

The first call makes .venv beside this file and installs the project there; later calls start at
once. Without an NVIDIA GPU, the much smaller CPU build of torch is installed. To choose another
build, set SIREN_TORCH to what you would give to pip, such as SIREN_TORCH="torch==2.13.0".
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 10)
TORCH_RANGE = "torch>=2.0"
CPU_TORCH = "2.13.0"
EXTRAS = {"demo": "models", "test": "dev", "fuzz": "dev"}


class SetupError(Exception):
    """The environment can't be set up; the message says what to do."""


def say(text: str) -> None:
    """Print a line on stderr, apart from the output of the command."""
    print(text, file=sys.stderr, flush=True)


def environment() -> Path:
    """The folder of the virtual environment; SIREN_VENV overrides it."""
    return Path(os.environ.get("SIREN_VENV") or ROOT / ".venv").resolve()


def interpreter(folder: Path) -> Path:
    """The Python inside a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a command exits with 0; its output is not shown."""
    try:
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, stdin=subprocess.DEVNULL
        )
    except OSError:
        return False
    return done.returncode == 0


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver answers and lists a GPU."""
    return shutil.which("nvidia-smi") is not None and succeeds(["nvidia-smi", "-L"])


def make_environment(folder: Path) -> None:
    """Make the virtual environment, or make it again if it does not work."""
    python = interpreter(folder)
    if succeeds([python, "-m", "pip", "--version"]):
        return
    say(f"Making the virtual environment {folder}")
    try:
        venv.create(folder, with_pip=True, clear=folder.exists())
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(
            f"The virtual environment {folder} can't be made ({error}). On Debian and Ubuntu, "
            "install the package python3-venv and run the same command again."
        ) from error


def torch_plans(
    python: Path, system: str, gpu: bool, chosen: str | None
) -> list[tuple[str, list[list[str]]]]:
    """Ways to install torch, best first: (message, `python -m ...` calls).

    On Linux the package index has the CUDA build only. The CPU build comes from the user's own pip
    sources if they have it, else from torch's index, which uv knows.
    """
    if chosen:
        return [(f"Installing {chosen}", [pip(*shlex.split(chosen))])]

    def by_uv(backend: str, requirement: str) -> list[list[str]]:
        install = ["uv", "pip", "install", "--python", str(python), "--torch-backend", backend]
        return [pip("uv>=0.6.9"), [*install, requirement]]

    plain = pip(TORCH_RANGE)
    if system == "Linux" and not gpu:
        exact = f"torch=={CPU_TORCH}"
        return [
            ("No NVIDIA GPU found: installing the CPU build of torch", [pip(f"{exact}+cpu")]),
            ("Not in pip's sources: trying torch's own index", by_uv("cpu", exact)),
            ("No CPU build found: installing the CUDA build of torch (several GB)", [plain]),
        ]
    if system == "Windows" and gpu:
        return [
            ("NVIDIA GPU found: installing the CUDA build of torch", by_uv("auto", TORCH_RANGE)),
            ("That failed: installing torch from the package index", [plain]),
        ]
    return [("Installing torch", [plain])]


def pip(*arguments: str) -> list[str]:
    """The `python -m` call of a pip install."""
    return ["pip", "install", "--quiet", "--disable-pip-version-check", *arguments]


def install_torch(python: Path) -> None:
    """Install torch in the first way that works, unless it is installed already."""
    works = [python, "-c", "import torch"]
    if succeeds(works):
        return
    plans = torch_plans(python, platform.system(), has_nvidia_gpu(), os.environ.get("SIREN_TORCH"))
    for place, (message, calls) in enumerate(plans):
        say(f"{message} (this can take a few minutes)")
        last = place == len(plans) - 1
        # Only the last way shows its errors; it is normal for the others to fail.
        attempt = succeeds if not last else lambda command: run(command) == 0
        if all(attempt([str(python), "-m", *call]) for call in calls) and succeeds(works):
            return
    raise SetupError(
        "torch can't be installed; see pip's message above. To choose another build, set "
        'SIREN_TORCH, for example SIREN_TORCH="torch==2.13.0", and run the same command again.'
    )


def fingerprint() -> str:
    """A hash of everything that decides what is installed."""
    parts = [(ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode(), sys.version.encode()]
    parts.append(os.environ.get("SIREN_TORCH", "").encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install(extra: str) -> Path:
    """Install the project with an extra unless that is done; returns its Python."""
    folder = environment()
    python, stamp = interpreter(folder), folder / "siren-installed.json"
    wanted = fingerprint()
    try:
        installed = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        installed = {}
    if installed.get(extra) == wanted and python.exists():
        return python
    make_environment(folder)
    install_torch(python)
    say(f"Installing the project with its extra '{extra}' (this can take a few minutes)")
    command = [str(python), "-m", *pip("--editable", f"{ROOT}[{extra}]")]
    if run(command):
        raise SetupError(
            "The installation failed; see pip's message above, fix the cause and run the same "
            "command again."
        )
    kept = {name: value for name, value in installed.items() if value == wanted}
    stamp.write_text(json.dumps({**kept, extra: wanted}), encoding="utf-8")
    return python


def run(command: Sequence[str]) -> int:
    """Run a command in the project's folder and return its exit code; it handles Ctrl-C itself."""
    process = subprocess.Popen(command, cwd=ROOT)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def become(command: Sequence[str]) -> int:
    """Replace this script with a command in the project's folder, so that signals reach it."""
    if os.name != "posix":
        return run(command)
    os.chdir(ROOT)
    os.execv(command[0], list(command))


def main(arguments: Sequence[str]) -> int:
    """Install what the command needs, run it and return its exit code."""
    if sys.version_info < OLDEST:
        say(f"This needs Python 3.10 or newer; this is {platform.python_version()}.")
        return 2
    if not arguments or arguments[0] not in EXTRAS:
        say(__doc__ or "")
        return 0 if arguments and arguments[0] in {"-h", "--help", "help"} else 2
    name, rest = arguments[0], list(arguments[1:])
    try:
        python = str(install(EXTRAS[name]))
    except SetupError as error:
        say(f"Error: {error}")
        return 2
    if name == "test":
        return become([python, "-m", "pytest", *rest])
    if name == "fuzz":
        return become([python, str(ROOT / "benchmarks" / "fuzz.py"), *rest])
    if not rest or rest[0].startswith("-"):
        rest.insert(0, str(Path("out", "demo")))
    elif not Path(rest[0]).is_absolute():
        rest[0] = str(Path.cwd() / rest[0])
    return become([python, "-m", "siren_ext", "demo", *rest])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("Stopped. Run the same command again to resume.")
        sys.exit(130)
