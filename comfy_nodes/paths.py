"""Where the nodes read and write files: always inside ComfyUI's own folders."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from siren_ext.errors import DatasetError, SirenError

MODELS = "siren"
SUBFOLDER = "siren"
_NAME = re.compile(r"[^<>:\"|?*\x00-\x1f\\]+")
_HEAD_BYTES = 200
_LONGEST = 200  # bytes of a part: file systems take 255, and numbers and suffixes are added
_DEEPEST = 1000  # characters of a path


def register_folder() -> None:
    """Create ``models/siren`` and register it with ComfyUI."""
    import folder_paths

    folder = Path(folder_paths.models_dir) / MODELS
    folder.mkdir(parents=True, exist_ok=True)
    # if the name was registered by extra_model_paths.yaml, its file suffixes may be missing
    folder_paths.add_model_folder_path(MODELS, str(folder))
    folders, _ = folder_paths.folder_names_and_paths[MODELS]
    folder_paths.folder_names_and_paths[MODELS] = (folders, {".safetensors"})


def input_folder() -> Path:
    """ComfyUI's input folder.

    Returns
    -------
    Path
        The folder.
    """
    import folder_paths

    return Path(folder_paths.get_input_directory())


def output_folder() -> Path:
    """ComfyUI's output folder.

    Returns
    -------
    Path
        The folder.
    """
    import folder_paths

    return Path(folder_paths.get_output_directory())


def safe_name(name: str, error: type[SirenError]) -> PurePosixPath:
    """Check a name that a workflow gives.

    Workflows come from other people, so a name must not lead out of ComfyUI's folders.

    Parameters
    ----------
    name : str
        A relative path.
    error : type[SirenError]
        The error to raise.

    Returns
    -------
    PurePosixPath
        The path, without ``..`` and hidden parts.

    Raises
    ------
    SirenError
        The name is empty, absolute, or has ``..``, leading dots or special characters.
    """
    plain = name.strip().replace("\\", "/")
    path = PurePosixPath(plain)
    fine = plain and not path.is_absolute() and path.parts and _NAME.fullmatch(plain)
    odd = [part for part in path.parts if part.startswith(".") or not _fits(part)]
    if not fine or odd or len(plain) > _DEEPEST:
        raise error(
            f"{name[:80]!r} can't be used as a name; expected one such as 'siren/pictures': "
            "inside ComfyUI's folder, without '..', leading dots or special characters, and not "
            "too long."
        )
    return path


def _fits(part: str) -> bool:
    """Whether file systems take a part of a path."""
    try:
        return len(part.encode()) <= _LONGEST
    except UnicodeEncodeError:  # half of a character
        return False


def image_folder(name: str) -> Path:
    """Find a folder inside ComfyUI's input or output folder.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DatasetError
        The name can't be used, or there is no such folder.
    """
    relative = safe_name(name, DatasetError)
    for root in (input_folder(), output_folder()):
        if (root / relative).is_dir():
            return root / relative
    raise DatasetError(
        f"There is no folder {name!r} in ComfyUI's input or output folder. Copy or link the folder "
        f"with your images into {input_folder().name!r} and enter its name."
    )


def folder_if_any(name: str) -> Path | None:
    """As :func:`image_folder`, for an input that may be empty.

    Returns
    -------
    Path | None
        The folder; None for an empty name.
    """
    return image_folder(name) if name.strip() else None


def folder_files(folder: Path) -> dict[str, Path]:
    """All files of a folder and its subfolders.

    Returns
    -------
    dict[str, Path]
        By relative name, in its order. Hidden files are left out: file managers write them, and no
        node reads them.
    """
    found = {path.relative_to(folder): path for path in folder.rglob("*")}
    return {
        name.as_posix(): found[name]
        for name in sorted(found)
        if not any(part.startswith(".") for part in name.parts) and found[name].is_file()
    }


def new_output(name: str) -> Path:
    """A path inside ComfyUI's output folder.

    Returns
    -------
    Path
        The path; it may exist.

    Raises
    ------
    DatasetError
        The name can't be used.
    """
    return output_folder() / safe_name(name, DatasetError)


def free_output(name: str, suffix: str = "") -> Path:
    """The first of ``name_00001``, ``name_00002``, ... in the output folder that does not exist.

    Parameters
    ----------
    name : str
        A relative path.
    suffix : str
        File suffix with its dot, "" for a folder.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    DatasetError
        The name can't be used, or 99,999 outputs have it.
    """
    stem = new_output(name)
    for number in range(1, 100_000):
        path = stem.with_name(f"{stem.name}_{number:05d}{suffix}")
        if not path.exists():
            return path
    raise DatasetError(f"There are already 99,999 outputs named {name!r}. Choose another name.")


def begins_with(path: Path, mark: bytes) -> bool:
    """Whether the first bytes of a file have a mark; False for one that can't be read.

    Returns
    -------
    bool
        So that files of one kind can be listed without reading them all.
    """
    try:
        with path.open("rb") as stream:
            return mark in stream.read(_HEAD_BYTES)
    except OSError:
        return False


def stamp(path: Path) -> tuple[int, int]:
    """A value that changes when a file does.

    Returns
    -------
    tuple[int, int]
        Time of the last change in nanoseconds, and size in bytes.
    """
    status = path.stat()
    return status.st_mtime_ns, status.st_size


def fingerprint(
    *chosen: tuple[Callable[[str], Path | Sequence[Path] | None], str | None],
) -> str | float:
    """A value for ``fingerprint_inputs`` that changes when a chosen file or folder does.

    Parameters
    ----------
    *chosen : tuple[Callable[[str], Path | Sequence[Path] | None], str | None]
        What finds the files and folders that an input names, and the input's value.

    Returns
    -------
    str | float
        A hash of names, sizes and times of the last change; the files are not read. NaN, with which
        ComfyUI always runs a node, if an input is wired: its value is not known before the run.
    """
    seen: list[object] = []
    for find, name in chosen:
        if name is None:
            return float("nan")
        found = find(name)
        places = [found] if isinstance(found, Path) else found or ()
        seen.append([(str(place), _stamps(place)) for place in places])
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _stamps(place: Path) -> object:
    """The stamp of a file, or of each file of a folder; None if there is neither."""
    if place.is_dir():
        return [(name, stamp(path)) for name, path in folder_files(place).items()]
    return stamp(place) if place.is_file() else None


def input_check(check: Callable[[str], object], name: str | None) -> bool | str:
    """Check an input for ``validate_inputs``.

    Parameters
    ----------
    check : Callable[[str], object]
        Raises :class:`SirenError` for a bad value.
    name : str | None
        The value; None for an input that is wired and has no value yet.

    Returns
    -------
    bool | str
        True, or the error message.
    """
    if name is None:
        return True
    try:
        check(name)
    except SirenError as error:
        return str(error)
    return True


def all_of(*answers: bool | str) -> bool | str:
    """Combine several checks.

    Returns
    -------
    bool | str
        The first error message, or True.
    """
    return next((answer for answer in answers if answer is not True), True)
