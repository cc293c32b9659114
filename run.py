#!/usr/bin/env python3
"""Two commands for everything, with nothing but Python 3.10 or newer installed.

python run.py demo [OUT]         the whole chain on the bundled samples; OUT is out/demo by default
python run.py test [ARGS ...]    the tests; ARGS go to pytest

The first call makes .venv beside this file and installs the project there; later calls start at
once. Where no NVIDIA GPU is found, torch is installed as its much smaller CPU build. To choose
another torch, name it as you would to pip: SIREN_TORCH="torch==2.13.0".
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
EXTRAS = {"demo": "models", "test": "dev"}


class SetupError(Exception):
    """The environment could not be made; the message says what to do."""


def say(text: str) -> None:
    """A line for the person, kept out of the way of the command's own output."""
    print(text, file=sys.stderr, flush=True)


def environment() -> Path:
    """The folder of the virtual environment; SIREN_VENV names another one."""
    return Path(os.environ.get("SIREN_VENV") or ROOT / ".venv").resolve()


def interpreter(folder: Path) -> Path:
    """The Python inside a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a command ends well; what it prints is not shown."""
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
    """Make the virtual environment, or make it anew where it does not work."""
    python = interpreter(folder)
    if succeeds([python, "-m", "pip", "--version"]):
        return
    say(f"Making the environment {folder}")
    try:
        venv.create(folder, with_pip=True, clear=folder.exists())
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(
            f"The virtual environment {folder} could not be made ({error}). On Debian and Ubuntu "
            "install the package python3-venv and call again."
        ) from error


def torch_plans(
    python: Path, system: str, gpu: bool, chosen: str | None
) -> list[tuple[str, list[list[str]]]]:
    """Ways to install torch, best first: (what to tell, the `python -m ...` calls it takes).

    The CPU build on Linux is not what the package index gives by default: it is taken from the
    user's own pip sources where they have one, else by uv, which knows where torch publishes it.
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
            ("Looking for it where torch publishes it", by_uv("cpu", exact)),
            ("No CPU build found: installing the full torch (several GB)", [plain]),
        ]
    if system == "Windows" and gpu:
        return [
            ("Installing torch for the GPU that was found", by_uv("auto", TORCH_RANGE)),
            ("Installing torch from the package index", [plain]),
        ]
    return [("Installing torch", [plain])]


def pip(*arguments: str) -> list[str]:
    """A `python -m` call of pip install."""
    return ["pip", "install", "--quiet", "--disable-pip-version-check", *arguments]


def install_torch(python: Path) -> None:
    """Install torch by the first way that works, unless a working one is there."""
    works = [python, "-c", "import torch"]
    if succeeds(works):
        return
    plans = torch_plans(python, platform.system(), has_nvidia_gpu(), os.environ.get("SIREN_TORCH"))
    for place, (message, calls) in enumerate(plans):
        say(f"{message} (this can take some minutes)")
        last = place == len(plans) - 1
        # only the last way may complain aloud: the others failing is no news
        attempt = succeeds if not last else lambda command: run(command) == 0
        if all(attempt([str(python), "-m", *call]) for call in calls) and succeeds(works):
            return
    raise SetupError(
        "torch could not be installed. See pip's message above; to choose another build set "
        'SIREN_TORCH, for example SIREN_TORCH="torch==2.13.0", and call again.'
    )


def fingerprint() -> str:
    """Changes when what has to be installed changes."""
    parts = [(ROOT / "pyproject.toml").read_bytes(), str(ROOT).encode(), sys.version.encode()]
    parts.append(os.environ.get("SIREN_TORCH", "").encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install(extra: str) -> Path:
    """An environment with the project and one extra; instant when it is there already."""
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
    say(f"Installing the project with what '{extra}' needs (this can take some minutes)")
    command = [str(python), "-m", *pip("--editable", f"{ROOT}[{extra}]")]
    if run(command):
        raise SetupError("The installation failed; see pip's message above, mend it, call again.")
    kept = {name: value for name, value in installed.items() if value == wanted}
    stamp.write_text(json.dumps({**kept, extra: wanted}), encoding="utf-8")
    return python


def run(command: Sequence[str]) -> int:
    """Run a command in the project's folder; Ctrl-C is left to it."""
    process = subprocess.Popen(command, cwd=ROOT)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def become(command: Sequence[str]) -> int:
    """Run a command in the project's folder in place of this script, so that signals reach it."""
    if os.name != "posix":
        return run(command)
    os.chdir(ROOT)
    os.execv(command[0], list(command))


def main(arguments: Sequence[str]) -> int:
    """Install what the command needs, run it, give its exit code."""
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
    if not rest or rest[0].startswith("-"):
        rest.insert(0, str(Path("out", "demo")))
    elif not Path(rest[0]).is_absolute():
        rest[0] = str(Path.cwd() / rest[0])
    return become([python, "-m", "siren_ext", "demo", *rest])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("Stopped; the same command goes on.")
        sys.exit(130)
