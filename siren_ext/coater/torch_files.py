"""Files that ``torch.save`` wrote: recognised, and read without running anything in them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from siren_ext.errors import CoaterError

SUFFIXES = (".pth", ".pt", ".ckpt")
"""Usual endings of such files, in lower case."""
_ZIP = b"PK\x03\x04"
_LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENTRIES = 10_000
_SCRIPT = "constants.pkl"


def is_torch_file(path: Path | str) -> bool:
    """Whether a file's first bytes, or else its name, are those of a PyTorch checkpoint."""
    path = Path(path)
    return _start(path).startswith((_ZIP, _LEGACY)) or path.suffix.lower() in SUFFIXES


def import_advice(path: Path | str) -> str:
    """What to do with a PyTorch checkpoint that was given in place of a coater, in words."""
    return (
        f"{path} is a PyTorch checkpoint, not a coater; expected a .safetensors file that "
        "'siren-ext train' wrote. If it is one of the two files that SIREN's authors published, "
        "make a coater from both: siren-ext import-official GENERATOR EXTRACTOR --out "
        "coater.safetensors"
    )


def read_torch_file(path: Path, max_bytes: int) -> Any:
    """What a ``torch.save`` file holds: numbers, texts, containers and tensors on the CPU.

    Parameters
    ----------
    path : Path
        the file, in the zip form of PyTorch 1.6 and newer.
    max_bytes : int
        most bytes of the file, and of what it unpacks to; checked before they are read.

    Returns
    -------
    Any
        usually a dictionary of tensors by name.

    Raises
    ------
    CoaterError
        the file can't be opened, is larger, damaged, in another form, or holds more than weights.

    Notes
    -----
    ``weights_only`` alone is not enough. Before PyTorch 2.6 it still ran code from TorchScript
    archives and from files of the oldest form (CVE-2025-32434). Both are refused here, whatever
    the version; the older form also announces sizes that can't be checked beforehand. PyTorch gets
    a fresh archive of the entries that were checked, so that it can't see others in a malformed
    file than Python does.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise CoaterError(f"{path} has {size} bytes; expected at most {max_bytes}.")
        content = path.read_bytes()
    except OSError as error:
        raise CoaterError(f"{path} can't be opened: {error.strerror}.") from error
    if content.startswith(_LEGACY):
        raise CoaterError(
            f"{path} is in the form of PyTorch before 1.6, which is not read: before PyTorch 2.6 "
            "such a file could run code, and its sizes can't be checked beforehand. If you trust "
            "it, load it and save it again with PyTorch 2.6 or newer: "
            "torch.save(torch.load('old.pth', map_location='cpu', weights_only=True), 'new.pth')"
        )
    if not content.startswith(_ZIP):
        raise CoaterError(
            f"{path} is not a file that torch.save of PyTorch 1.6 or newer writes. Give the .pth "
            "file as it was published."
        )
    archive = _checked_archive(path, content, max_bytes)
    try:
        return torch.load(archive, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError) as error:
        raise CoaterError(f"{path} holds more than weights, or is damaged: {error}") from error
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        OSError,
        struct.error,
    ) as error:
        raise CoaterError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _start(path: Path) -> bytes:
    """The first bytes of a regular file; none of anything else."""
    try:
        if path.is_file():
            with path.open("rb") as stream:
                return stream.read(len(_LEGACY))
    except OSError:
        pass
    return b""


def _checked_archive(path: Path, content: bytes, max_bytes: int) -> io.BytesIO:
    """The entries of a zip archive, after their sizes and names were checked, as a new one."""
    fresh = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(fresh, "w") as copy:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > max_bytes:
                raise CoaterError(
                    f"{path} unpacks to {unpacked} bytes; expected at most {max_bytes}."
                )
            names = [entry.filename for entry in entries]
            if len(set(names)) < len(names) or len(names) > _ENTRIES:
                raise CoaterError(
                    f"{path} is damaged: it has {len(names)} entries, {len(set(names))} different "
                    f"ones; expected at most {_ENTRIES}, each once."
                )
            if any(name.casefold().endswith(_SCRIPT) for name in names):
                raise CoaterError(
                    f"{path} holds a TorchScript program, more than weights; expected a state "
                    "dict, as torch.save(network.state_dict(), FILE) writes it."
                )
            if any(entry.compress_type not in _PACKED for entry in entries):
                raise CoaterError(f"{path} is damaged: packed in a way that PyTorch never does.")
            for entry in entries:
                copy.writestr(entry.filename, archive.read(entry))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise CoaterError(
            f"{path} is not a file that torch.save writes, or is not whole: {error}. Download or "
            "copy it again."
        ) from error
    except (ValueError, RuntimeError, struct.error) as error:
        raise CoaterError(f"{path} is damaged: {error}") from error
    fresh.seek(0)
    return fresh
