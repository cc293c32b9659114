"""Finds the files that the nodes list: coaters, checkpoints, LoRAs, scores and keys."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path, PurePosixPath

from siren_ext.coater.bundled import BUNDLED_COATERS, coater_path
from siren_ext.coater.torch_files import SUFFIXES
from siren_ext.errors import AdapterError, CoaterError, EvidenceError, ScoreError, SirenError
from siren_ext.files import atomic
from siren_ext.text import natural_key

from .paths import MODELS, SUBFOLDER, begins_with, input_folder, output_folder, safe_name

BUNDLED = " (bundled)"
NO_ADAPTER = "none"
NO_SCORES = "no scores saved yet"
NO_KEYS = "no key file yet"
VARIABLE = "SIREN_PASSPHRASE"
NO_CHECKPOINTS = "no .pth file yet"
_SCORES = b'"siren_ext.scores"'
_VARIABLE = re.compile(r"SIREN_[A-Z0-9_]{1,60}")


def coater_names() -> list[str]:
    """List the coaters.

    Returns
    -------
    list[str]
        The bundled ones, then the files in ``models/siren``.
    """
    import folder_paths

    # a coater's surrogate is kept next to it and is not a coater
    found = [n for n in folder_paths.get_filename_list(MODELS) if ".surrogate." not in n]
    return [f"{name}{BUNDLED}" for name in BUNDLED_COATERS] + found


def coater_file(name: str) -> Path:
    """Find a listed coater.

    Returns
    -------
    Path
        Its file.

    Raises
    ------
    CoaterError
        There is no such coater, or it is a PyTorch checkpoint.
    """
    import folder_paths

    if name.endswith(BUNDLED) and name.removesuffix(BUNDLED) in BUNDLED_COATERS:
        return coater_path(name.removesuffix(BUNDLED))
    if PurePosixPath(name).suffix.lower() in SUFFIXES:
        raise CoaterError(
            f"{name!r} is a PyTorch checkpoint, not a coater. If it is one of the two files that "
            "SIREN's authors published, make a coater from the two with Import SIREN Checkpoints."
        )
    path = folder_paths.get_full_path(MODELS, name)
    if path is None:
        raise CoaterError(
            f"There is no coater {name!r} in ComfyUI's models/{MODELS} folder. Put the file there "
            "and press R, or train one with Train Coater."
        )
    return Path(path)


def checkpoint_names() -> list[str]:
    """List the PyTorch checkpoints in ``models/siren`` and its subfolders.

    Returns
    -------
    list[str]
        Relative paths in natural order.
    """
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
    """Find a listed checkpoint.

    Returns
    -------
    Path
        Its file.

    Raises
    ------
    CoaterError
        There is no such checkpoint.
    """
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
    """Path of a new coater in ``models/siren``.

    Returns
    -------
    Path
        The file; it may exist.

    Raises
    ------
    CoaterError
        The name can't be used.
    """
    return _new_file(name, ".safetensors", CoaterError)


def new_key_file(name: str) -> Path:
    """Path of a new key file in ``models/siren``, never in a subfolder: keys are listed from there.

    Returns
    -------
    Path
        The file; it may exist.

    Raises
    ------
    EvidenceError
        The name can't be used.
    """
    path = _new_file(name, ".json", EvidenceError)
    return _new_file(path.name, ".json", EvidenceError)


def _new_file(name: str, suffix: str, error: type[SirenError], kind: str = MODELS) -> Path:
    """Path of a file in a folder of models that has a suffix, whether or not it was typed."""
    import folder_paths

    relative = safe_name(name.removesuffix(suffix), error)
    return Path(folder_paths.get_folder_paths(kind)[0]) / f"{relative}{suffix}"


def coater_name(path: Path) -> str:
    """Name of a coater file in Load Coater's list.

    Parameters
    ----------
    path : Path
        A path from :func:`new_coater_file`.

    Returns
    -------
    str
        The name.
    """
    import folder_paths

    return path.relative_to(folder_paths.get_folder_paths(MODELS)[0]).as_posix()


def adapter_names() -> list[str]:
    """List the LoRA files.

    Returns
    -------
    list[str]
        :data:`NO_ADAPTER`, then the files that ComfyUI lists.
    """
    import folder_paths

    files = folder_paths.get_filename_list("loras")
    return [NO_ADAPTER, *(name for name in files if name.lower().endswith(".safetensors"))]


def adapter_file(name: str) -> Path | None:
    """Find a listed LoRA.

    Returns
    -------
    Path | None
        Its file; None for :data:`NO_ADAPTER`.

    Raises
    ------
    SirenError
        There is no such LoRA.
    """
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


def new_adapter_file(name: str, kind: str = "loras") -> Path:
    """Path of a new file in ``models/loras``, or in ``models/checkpoints`` for whole models.

    Returns
    -------
    Path
        The file; it may exist.

    Raises
    ------
    AdapterError
        The name can't be used.
    """
    return _new_file(name, ".safetensors", AdapterError, kind)


def adapter_name(path: Path, kind: str = "loras") -> str:
    """Name of a file from :func:`new_adapter_file` in ComfyUI's lists.

    Returns
    -------
    str
        The name.
    """
    import folder_paths

    return path.relative_to(folder_paths.get_folder_paths(kind)[0]).as_posix()


def score_names() -> list[str]:
    """List the score files in ``output/siren`` and ``input/siren``, and in their subfolders.

    Returns
    -------
    list[str]
        Relative paths, newest first.
    """
    found: dict[str, float] = {}
    for root in (output_folder(), input_folder()):
        for path in (root / SUBFOLDER).rglob("*.json"):
            if begins_with(path, _SCORES):
                name = path.relative_to(root / SUBFOLDER).as_posix()
                found.setdefault(name, path.stat().st_mtime)
    return sorted(found, key=lambda name: -found[name])


def score_file(name: str) -> Path:
    """Find a listed score file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ScoreError
        The name can't be used, or there is no such file.
    """
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
    """List the key files in ``models/siren``.

    Returns
    -------
    list[str]
        File names.
    """
    import folder_paths

    roots = [Path(folder) for folder in folder_paths.get_folder_paths(MODELS)]
    return sorted({path.name for root in roots for path in root.glob("*.json")})


def key_file(name: str) -> Path:
    """Find a listed key file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    EvidenceError
        The name can't be used, or there is no such file.
    """
    import folder_paths

    relative = safe_name(name, EvidenceError)
    for folder in folder_paths.get_folder_paths(MODELS):
        if (Path(folder) / relative).is_file():
            return Path(folder) / relative
    raise EvidenceError(
        f"There is no key file {name!r} in ComfyUI's models/{MODELS} folder. Make one with "
        "New Key and press R."
    )


def passphrase(variable: str) -> str:
    """Read the passphrase from an environment variable, or from New Key's file.

    Only names that begin with SIREN_ are read, so that a stranger's workflow can't read the
    variables of other programs.

    Parameters
    ----------
    variable : str
        Name of the variable.

    Returns
    -------
    str
        Its value.

    Raises
    ------
    EvidenceError
        The name is not allowed (the message does not repeat it, as somebody may have typed the
        passphrase itself), or the variable is not set.
    """
    if not _VARIABLE.fullmatch(variable.strip()):
        raise EvidenceError(
            "This is not the name of an environment variable that may be read; expected a name in "
            "capital letters that begins with SIREN_, such as SIREN_PASSPHRASE. Never type the "
            "passphrase itself into a workflow."
        )
    value = os.environ.get(variable.strip())
    if value is None and variable.strip() == VARIABLE and passphrase_file().is_file():
        value = passphrase_file().read_text("utf-8").strip()
    if value is None:
        raise EvidenceError(
            f"The environment variable {variable.strip()} is not set in ComfyUI's process. Set it "
            "to the passphrase and restart ComfyUI, or make a key with New Key."
        )
    return value


def passphrase_file() -> Path:
    """Where New Key keeps the passphrase that it makes if the variable is not set.

    Returns
    -------
    Path
        A file in ComfyUI's user folder that it does not serve to browsers; it may not exist.
    """
    import folder_paths

    return Path(folder_paths.get_user_directory()) / "__siren" / "passphrase.txt"


def new_passphrase() -> str:
    """The passphrase for new keys; drawn and kept if there is none yet.

    Returns
    -------
    str
        The variable's value, or what the file holds.
    """
    if os.environ.get(VARIABLE) is None and not passphrase_file().is_file():
        passphrase_file().parent.mkdir(parents=True, exist_ok=True)
        with atomic(passphrase_file(), 0o600) as temporary:
            temporary.write_text(secrets.token_urlsafe(24) + "\n", encoding="utf-8")
    return passphrase(VARIABLE)
