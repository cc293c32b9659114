"""The file from which an interrupted training goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from siren_ext.errors import CoaterError
from siren_ext.files import atomic


def run_signature(*parts: Any) -> str:
    """Hash of everything that decides a run's result; ``parts`` are JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_state(path: Path, run: str, state: dict[str, Any]) -> None:
    """Write ``state`` (numbers, texts, tensors and containers of these), never half a file."""
    with atomic(path) as temporary:
        torch.save({"run": run, "state": state}, temporary)


def read_state(path: Path, run: str, device: torch.device) -> dict[str, Any] | None:
    """The state of run ``run``, or None when there is no file.

    Raises :class:`CoaterError` when the file is damaged or another run's.
    """
    if not path.exists():
        return None
    try:
        saved = torch.load(path, weights_only=True, map_location=device)
        found, state = saved["run"], dict(saved["state"])
    except Exception as error:  # a damaged pickle raises nearly anything
        raise CoaterError(f"{path} is no training state: {error}. Delete it.") from error
    if found != run:
        raise CoaterError(
            f"{path} belongs to a run with other images, settings or start. Use those again, or "
            "delete the file to start afresh."
        )
    return state
