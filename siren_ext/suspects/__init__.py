"""Models under suspicion, and how to get pictures out of them."""

from __future__ import annotations

from siren_ext.suspects.base import PROVENANCE, Mimicry, PromptPlan, Suspect, generate_images
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.local import LocalSuspect

__all__ = [
    "PROVENANCE",
    "FolderSuspect",
    "LocalSuspect",
    "Mimicry",
    "PromptPlan",
    "Suspect",
    "generate_images",
]
