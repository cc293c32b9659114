"""Commitments that the Commit node wrote, and what they say about a test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.errors import EvidenceError

from . import paths

if TYPE_CHECKING:
    from siren_ext.evidence.precedence import Precedence

NO_COMMITMENT = "none"
_MARK = b'"siren_ext.commitment"'


def commitment_names() -> list[str]:
    """List the commitments in the output and input folders and their direct subfolders.

    Returns
    -------
    list[str]
        :data:`NO_COMMITMENT`, then relative paths, newest first.
    """
    found: dict[str, float] = {}
    for root in (paths.output_folder(), paths.input_folder()):
        for pattern in ("*.json", "*/*.json"):
            for path in root.glob(pattern):
                if paths.begins_with(path, _MARK):
                    found.setdefault(path.relative_to(root).as_posix(), path.stat().st_mtime)
    return [NO_COMMITMENT, *sorted(found, key=lambda name: -found[name])]


def commitment_file(name: str) -> Path | None:
    """Find a listed commitment.

    Returns
    -------
    Path | None
        The file; None for :data:`NO_COMMITMENT`.

    Raises
    ------
    EvidenceError
        The name can't be used, or there is no such file.
    """
    if name == NO_COMMITMENT:
        return None
    relative = paths.safe_name(name, EvidenceError)
    for root in (paths.output_folder(), paths.input_folder()):
        if (root / relative).is_file():
            return root / relative
    raise EvidenceError(
        f"There is no commitment {name!r} in ComfyUI's output or input folder. Copy the file that "
        "Commit wrote into one of them and press R."
    )


def standing(name: str, scores: Any, key: Any) -> Precedence | None:
    """What a commitment says about coater, key and images of a test.

    Parameters
    ----------
    name : str
        A listed commitment.
    scores : ScoreSet
        The suspicious model's scores.
    key : CoatingKey
        The key.

    Returns
    -------
    Precedence | None
        None without a commitment.

    Raises
    ------
    EvidenceError
        The file can't be read.
    """
    file = commitment_file(name)
    if file is None:
        return None
    from siren_ext.evidence.chain import ChainFiles, check_scores

    return check_scores(ChainFiles(file), scores, [key.fingerprint()])
