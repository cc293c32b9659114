"""Reading the safetensors file of a coater: tensors and header, before any network is built."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from siren_ext.coater.build import check_fit
from siren_ext.coater.bundled import BUNDLED_COATERS
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.torch_files import import_advice, is_torch_file
from siren_ext.documents import failed_download, parse_json
from siren_ext.errors import CoaterError, ConfigError

FORMAT = "siren_ext.coater"
FORMAT_VERSION = "1"
# far above any real coater: the published pair has 1.9 MB
MAX_BYTES = 64 << 20


def read_coater_file(path: Path) -> tuple[dict[str, Tensor], CoaterConfig, dict[str, Any]]:
    """Weights, settings and provenance of a coater file.

    Parameters
    ----------
    path : Path
        A safetensors file of at most 64 MiB.

    Returns
    -------
    weights : dict of str to Tensor
        By name, on the CPU; they fit the settings but may contain values that are not finite.
    config : CoaterConfig
        The settings.
    provenance : dict
        How the coater was made; plain values.

    Raises
    ------
    CoaterError
        If the file cannot be read, has another format, or its weights do not fit its settings.
    """
    weights, meta = _read(path)
    if meta.get("format") != FORMAT or meta.get("version") != FORMAT_VERSION:
        raise CoaterError(
            f"{path} is marked {meta.get('format')!r} version {meta.get('version')!r}; "
            f"expected {FORMAT!r} version {FORMAT_VERSION!r}. Make one with 'siren-ext train'."
        )
    try:
        settings = parse_json(meta["config"], name="config", error=ConfigError)
        config = CoaterConfig.from_dict(settings)
        provenance = _table(meta.get("provenance", "{}"))
        # the header of a small file may describe giant networks, so check before building them
        check_fit(config, weights, str(path))
    except (ConfigError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise CoaterError(f"{path} has unusable settings: {error}") from error
    return weights, config, provenance


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header texts of a safetensors file no larger than a coater."""
    try:
        status = path.stat()
    except OSError as error:
        raise CoaterError(
            f"{path} can't be opened: {error.strerror}. Expected a coater's file, or one of "
            f"{', '.join(BUNDLED_COATERS)}."
        ) from error
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
        raise CoaterError(f"{path} is not a regular file; expected a coater.")
    if (size := status.st_size) > MAX_BYTES:
        if is_torch_file(path):
            raise CoaterError(import_advice(path))
        raise CoaterError(f"{path} has {size} bytes; a coater has at most {MAX_BYTES}.")
    try:
        with safe_open(str(path), framework="pt") as stream:
            meta = stream.metadata() or {}
            weights = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    # a number format that this version of torch lacks raises any of the last three
    except (SafetensorError, OSError, ValueError, RuntimeError, AttributeError, KeyError) as error:
        if is_torch_file(path):
            raise CoaterError(import_advice(path)) from error
        why = failed_download(path) or error
        raise CoaterError(f"{path} is not a readable safetensors file: {why}") from error
    return weights, meta


def _table(text: str) -> dict[str, Any]:
    """A JSON object, in which numbers may be infinite or NaN: figures of a run that failed."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise TypeError(f"found {type(values).__name__}, expected names and values")
    return values
