"""Models under suspicion, and how to get pictures out of them."""

from __future__ import annotations

from siren_ext.suspects.a1111 import A1111Suspect
from siren_ext.suspects.answers import BadAnswer, Refused, SuspectError
from siren_ext.suspects.base import (
    PROVENANCE,
    Mimicry,
    Missed,
    PromptPlan,
    Suspect,
    generate_images,
    read_missed,
)
from siren_ext.suspects.comfyui import ComfyUISuspect
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.hosted import HostedConfig, HostedSuspect
from siren_ext.suspects.kinds import open_suspect
from siren_ext.suspects.local import LocalSuspect
from siren_ext.suspects.remote import Limits

__all__ = [
    "PROVENANCE",
    "A1111Suspect",
    "BadAnswer",
    "ComfyUISuspect",
    "FolderSuspect",
    "HostedConfig",
    "HostedSuspect",
    "Limits",
    "LocalSuspect",
    "Mimicry",
    "Missed",
    "PromptPlan",
    "Refused",
    "Suspect",
    "SuspectError",
    "generate_images",
    "open_suspect",
    "read_missed",
]
