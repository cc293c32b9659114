"""Recognise files written by ``torch.save``, and read them without running code in them."""

from __future__ import annotations

import io
import pickle
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from siren_ext.errors import CoaterError

SUFFIXES = (".pth", ".pt", ".ckpt")
"""Usual endings of such files."""
_ZIP = b"PK\x03\x04"
_LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENTRIES = 10_000
_SCRIPT = "constants.pkl"
_SAFE_TORCH = (2, 6)


def is_torch_file(path: Path | str) -> bool:
    """Whether the first bytes or the name of a file are those of a PyTorch checkpoint."""
    path = Path(path)
    return _start(path).startswith((_ZIP, _LEGACY)) or path.suffix.lower() in SUFFIXES


def import_advice(path: Path | str) -> str:
    """What to do with a PyTorch checkpoint that was given instead of a coater."""
    return (
        f"{path} is a PyTorch checkpoint, not a coater; expected a .safetensors file that "
        "'siren-ext train' wrote. If it is one of the two files that SIREN's authors published, "
        "make a coater from both: siren-ext import-official GENERATOR EXTRACTOR --out "
        "coater.safetensors"
    )


def read_torch_file(path: Path, max_bytes: int) -> Any:
    """Read a ``torch.save`` file.

    Parameters
    ----------
    path : Path
        The file, in the zip format of PyTorch 1.6 and newer.
    max_bytes : int
        Largest size of the file, and of its unpacked content; checked before reading.

    Returns
    -------
    Any
        Numbers, texts, containers and tensors on the CPU; usually a dictionary of tensors.

    Raises
    ------
    CoaterError
        If PyTorch is older than 2.6, or the file cannot be opened, is too large, damaged or in
        another format, or contains more than weights.

    Notes
    -----
    ``weights_only`` alone is not enough. Before PyTorch 2.6 it still ran code from prepared files
    (CVE-2025-32434), so nothing is read with such a version. TorchScript archives and files in the
    oldest format are refused with any version; in the oldest format the sizes cannot be checked
    before reading. The checked entries are copied to a new archive for PyTorch, so that it cannot
    see other entries in a malformed file than Python does.
    """
    _refuse_old_torch(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise CoaterError(f"{path} is not a regular file; expected a .pth file.")
        if (size := status.st_size) > max_bytes:
            raise CoaterError(f"{path} has {size} bytes; expected at most {max_bytes}.")
        content = path.read_bytes()
    except OSError as error:
        raise CoaterError(f"{path} can't be opened: {error.strerror}.") from error
    if content.startswith(_LEGACY):
        raise CoaterError(
            f"{path} is in the format of PyTorch before 1.6, which is not supported: before "
            "PyTorch 2.6 such a file could run code, and its sizes can't be checked before "
            "reading. If you trust it, load it and save it again with PyTorch 2.6 or newer: "
            "torch.save(torch.load('old.pth', map_location='cpu', weights_only=True), 'new.pth')"
        )
    if not content.startswith(_ZIP):
        raise CoaterError(
            f"{path} was not written by torch.save of PyTorch 1.6 or newer. Give the .pth file as "
            "it was published."
        )
    archive = _checked_archive(path, content, max_bytes)
    try:
        return torch.load(archive, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError) as error:
        raise CoaterError(f"{path} contains more than weights or is damaged: {error}") from error
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


def _refuse_old_torch(path: Path) -> None:
    """Refuse to read with a PyTorch in which a file can run code."""
    numbers = re.findall(r"\d+", torch.__version__)[:2]
    if tuple(map(int, numbers)) < _SAFE_TORCH:
        raise CoaterError(
            f"{path} is in PyTorch's pickle format, which is read only with PyTorch 2.6 or newer; "
            f"this is PyTorch {torch.__version__}, in which a malicious file can run code "
            "(CVE-2025-32434). Update PyTorch, or make the coater on another computer with "
            "'siren-ext import-official' and copy it here: coaters work with any version of "
            "PyTorch."
        )


def _start(path: Path) -> bytes:
    """The first bytes of a regular file; empty for anything else."""
    try:
        if path.is_file():
            with path.open("rb") as stream:
                return stream.read(len(_LEGACY))
    except OSError:
        pass
    return b""


def _checked_archive(path: Path, content: bytes, max_bytes: int) -> io.BytesIO:
    """A new archive with the entries of another, whose sizes and names have been checked."""
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
                    f"{path} is damaged: it has {len(names)} entries ({len(set(names))} different "
                    f"ones); expected at most {_ENTRIES}, each of them once."
                )
            if any(name.casefold().endswith(_SCRIPT) for name in names):
                raise CoaterError(
                    f"{path} contains a TorchScript program; expected only a state dict, as "
                    "torch.save(network.state_dict(), FILE) writes it."
                )
            if any(entry.compress_type not in _PACKED for entry in entries):
                raise CoaterError(f"{path} is damaged: PyTorch never compresses in this way.")
            for entry in entries:
                copy.writestr(entry.filename, archive.read(entry))
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise CoaterError(
            f"{path} was not written by torch.save or is incomplete: {error}. Download or copy it "
            "again."
        ) from error
    except (ValueError, RuntimeError, LookupError, OverflowError, struct.error) as error:
        raise CoaterError(f"{path} is damaged: {error}") from error
    fresh.seek(0)
    return fresh
