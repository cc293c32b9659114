"""Where the nodes find and put files: always inside ComfyUI's own folders."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from siren_ext.coater.bundled import BUNDLED_COATERS, coater_path
from siren_ext.coater.torch_files import SUFFIXES
from siren_ext.errors import CoaterError, DatasetError, EvidenceError, ScoreError, SirenError
from siren_ext.text import natural_key

MODELS = "siren"
SUBFOLDER = "siren"
BUNDLED = " (bundled)"
NO_ADAPTER = "none"
NO_SCORES = "no scores saved yet"
NO_KEYS = "no key file yet"
NO_CHECKPOINTS = "no .pth file yet"
_VARIABLE = re.compile(r"SIREN_[A-Z0-9_]{1,60}")
_NAME = re.compile(r"[^<>:\"|?*\x00-\x1f\\]+")


def register_folder() -> None:
    """Make ``models/siren`` known to ComfyUI and create it."""
    import folder_paths

    folder = Path(folder_paths.models_dir) / MODELS
    folder.mkdir(parents=True, exist_ok=True)
    # a known name keeps the suffixes that extra_model_paths.yaml may have left out
    folder_paths.add_model_folder_path(MODELS, str(folder))
    folders, _ = folder_paths.folder_names_and_paths[MODELS]
    folder_paths.folder_names_and_paths[MODELS] = (folders, {".safetensors"})


def input_folder() -> Path:
    """ComfyUI's input folder."""
    import folder_paths

    return Path(folder_paths.get_input_directory())


def output_folder() -> Path:
    """ComfyUI's output folder."""
    import folder_paths

    return Path(folder_paths.get_output_directory())


def safe_name(name: str, error: type[SirenError]) -> PurePosixPath:
    """A relative name without ``..``; anything else raises ``error``.

    Workflows come from other people, so a node must not be led out of ComfyUI's folders.
    """
    plain = name.strip().replace("\\", "/")
    path = PurePosixPath(plain)
    fine = plain and not path.is_absolute() and path.parts and _NAME.fullmatch(plain)
    if not fine or any(part == ".." or part.startswith(".") for part in path.parts):
        raise error(
            f"{name!r} can't be used as a name; expected one such as 'siren/pictures': below "
            "ComfyUI's folder, without '..', leading dots or special characters."
        )
    return path


def image_folder(name: str) -> Path:
    """A folder below input or output; raises :class:`DatasetError` when there is none."""
    relative = safe_name(name, DatasetError)
    for root in (input_folder(), output_folder()):
        if (root / relative).is_dir():
            return root / relative
    raise DatasetError(
        f"There is no folder {name!r} in ComfyUI's input or output folder. Copy or link the "
        f"pictures' folder into {input_folder().name!r} and give its name."
    )


def new_output(name: str) -> Path:
    """A place below the output folder."""
    return output_folder() / safe_name(name, DatasetError)


def free_output(name: str, suffix: str = "") -> Path:
    """The first of ``name_00001``, ``name_00002``, ... below output that does not exist yet."""
    stem = new_output(name)
    for number in range(1, 100_000):
        path = stem.with_name(f"{stem.name}_{number:05d}{suffix}")
        if not path.exists():
            return path
    raise DatasetError(f"100,000 outputs are named {name!r} already; choose another name.")


def coater_names() -> list[str]:
    """Bundled coaters and those in ``models/siren``."""
    import folder_paths

    # personalised stand-ins lie beside their coater and are none themselves
    found = [n for n in folder_paths.get_filename_list(MODELS) if ".surrogate." not in n]
    return [f"{name}{BUNDLED}" for name in BUNDLED_COATERS] + found


def coater_file(name: str) -> Path:
    """The file of a listed coater; raises :class:`CoaterError` when it is gone."""
    import folder_paths

    if name.endswith(BUNDLED):
        return coater_path(name.removesuffix(BUNDLED))
    if PurePosixPath(name).suffix.lower() in SUFFIXES:
        raise CoaterError(
            f"{name!r} is a PyTorch checkpoint, not a coater. If it is one of the two files that "
            "SIREN's authors published, make a coater of both with Import SIREN Checkpoints."
        )
    path = folder_paths.get_full_path(MODELS, name)
    if path is None:
        raise CoaterError(
            f"There is no coater {name!r} in ComfyUI's models/{MODELS} folder. Put the file there "
            "and press R, or train one with Train Coater."
        )
    return Path(path)


def checkpoint_names() -> list[str]:
    """PyTorch checkpoints in ``models/siren`` and its subfolders."""
    import folder_paths

    return sorted(
        {
            path.relative_to(root).as_posix()
            for root in folder_paths.get_folder_paths(MODELS)
            for path in Path(root).rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file()
        },
        key=natural_key,
    )


def checkpoint_file(name: str) -> Path:
    """The file of a listed checkpoint; raises :class:`CoaterError` when it is gone."""
    import folder_paths

    relative = safe_name(name, CoaterError)
    for folder in folder_paths.get_folder_paths(MODELS):
        if relative.suffix.lower() in SUFFIXES and (Path(folder) / relative).is_file():
            return Path(folder) / relative
    raise CoaterError(
        f"There is no checkpoint {name!r} in ComfyUI's models/{MODELS} folder. Put the two files "
        "that SIREN's authors published there (.pth) and press R."
    )


def new_coater_file(name: str) -> Path:
    """Where a trained coater is written; raises :class:`CoaterError` for an unusable name."""
    import folder_paths

    relative = safe_name(name.removesuffix(".safetensors"), CoaterError)
    return Path(folder_paths.get_folder_paths(MODELS)[0]) / f"{relative}.safetensors"


def coater_name(path: Path) -> str:
    """The name under which Load Coater lists a file of :func:`new_coater_file`."""
    import folder_paths

    return path.relative_to(folder_paths.get_folder_paths(MODELS)[0]).as_posix()


def adapter_names() -> list[str]:
    """``none`` and the LoRA files that ComfyUI knows."""
    import folder_paths

    files = folder_paths.get_filename_list("loras")
    return [NO_ADAPTER, *(name for name in files if name.endswith(".safetensors"))]


def adapter_file(name: str) -> Path | None:
    """The file of a listed LoRA, None for ``none``; raises :class:`SirenError` when it is gone."""
    import folder_paths

    if name == NO_ADAPTER:
        return None
    path = folder_paths.get_full_path("loras", name)
    if path is None:
        raise SirenError(
            f"There is no LoRA {name!r} in ComfyUI's models/loras folder. Put the file there and "
            "press R."
        )
    return Path(path)


def score_names() -> list[str]:
    """Score files in ``output/siren`` and ``input/siren``, newest first."""
    found: dict[str, float] = {}
    for root in (output_folder(), input_folder()):
        for path in (root / SUBFOLDER).glob("*.json"):
            found.setdefault(path.name, path.stat().st_mtime)
    return sorted(found, key=lambda name: -found[name])


def score_file(name: str) -> Path:
    """The file of a listed score set; raises :class:`ScoreError` when it is gone."""
    relative = safe_name(name, ScoreError)
    for root in (output_folder(), input_folder()):
        path = root / SUBFOLDER / relative
        if path.is_file():
            return path
    raise ScoreError(
        f"There is no score file {name!r} in output/{SUBFOLDER} or input/{SUBFOLDER}. Save scores "
        "with Save Scores, or copy the file there, and press R."
    )


def key_names() -> list[str]:
    """Key files in ``models/siren``."""
    import folder_paths

    roots = [Path(folder) for folder in folder_paths.get_folder_paths(MODELS)]
    return sorted({path.name for root in roots for path in root.glob("*.json")})


def key_file(name: str) -> Path:
    """A listed key file; raises :class:`EvidenceError` when it is gone."""
    import folder_paths

    relative = safe_name(name, EvidenceError)
    for folder in folder_paths.get_folder_paths(MODELS):
        if (Path(folder) / relative).is_file():
            return Path(folder) / relative
    raise EvidenceError(
        f"There is no key file {name!r} in ComfyUI's models/{MODELS} folder. Make one there with "
        "'siren-ext key new' and press R."
    )


def passphrase(variable: str) -> str:
    """What the environment holds under a name that begins with SIREN_.

    No other name is read: a workflow of somebody else must not try what belongs to other programs.
    Raises :class:`EvidenceError` without repeating what was typed, which may be the passphrase.
    """
    if not _VARIABLE.fullmatch(variable.strip()):
        raise EvidenceError(
            "The passphrase's variable has another name; expected capitals that begin with SIREN_, "
            "such as SIREN_PASSPHRASE. Never type the passphrase itself into a workflow."
        )
    value = os.environ.get(variable.strip())
    if value is None:
        raise EvidenceError(
            f"The environment variable {variable.strip()} is not set in ComfyUI's process. Set it "
            "to the passphrase and start ComfyUI again."
        )
    return value


def stamp(path: Path) -> tuple[int, int]:
    """Changes when a file does: time of the last change and size."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def input_check(check: Callable[[str], object], name: str | None) -> bool | str:
    """For ``validate_inputs``: True if ``check(name)`` works, else its message.

    A wired input has no value yet (None); the node's own run checks it.
    """
    if name is None:
        return True
    try:
        check(name)
    except SirenError as error:
        return str(error)
    return True


def all_of(*answers: bool | str) -> bool | str:
    """The first complaint of several checks, or True."""
    return next((answer for answer in answers if answer is not True), True)
