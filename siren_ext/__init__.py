"""Prove whether a personalised text-to-image model was trained on your images.

The names below are loaded when first used, so that importing the package stays quick and pulls in
no heavy library: ``from siren_ext import Coater`` works without diffusers installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from siren_ext.coater.coater import Coater as Coater
    from siren_ext.coating.folder import coat_folder as coat_folder
    from siren_ext.coating.manifest import CoatConfig as CoatConfig
    from siren_ext.coating.manifest import CoatManifest as CoatManifest
    from siren_ext.data.dataset import ImageSet as ImageSet
    from siren_ext.errors import SirenError as SirenError
    from siren_ext.evidence.commitment import check_commitment as check_commitment
    from siren_ext.evidence.commitment import make_commitment as make_commitment
    from siren_ext.keys.coating_key import CoatingKey as CoatingKey
    from siren_ext.keys.coating_key import KeyRing as KeyRing
    from siren_ext.personalize.config import PersonalizeConfig as PersonalizeConfig
    from siren_ext.personalize.run import personalize as personalize
    from siren_ext.progress import Progress as Progress
    from siren_ext.report.check import check_report as check_report
    from siren_ext.report.write import write_report as write_report
    from siren_ext.scoring.score import score_folder as score_folder
    from siren_ext.scoring.score import score_images as score_images
    from siren_ext.scoring.score_set import ScoreSet as ScoreSet
    from siren_ext.stats.ks import ks_less as ks_less
    from siren_ext.stats.resample import resampled_ks as resampled_ks
    from siren_ext.suspects.base import PromptPlan as PromptPlan
    from siren_ext.suspects.base import generate_images as generate_images
    from siren_ext.suspects.folder import FolderSuspect as FolderSuspect
    from siren_ext.suspects.local import LocalSuspect as LocalSuspect
    from siren_ext.training.config import TrainConfig as TrainConfig
    from siren_ext.training.recipes import train_for_base as train_for_base
    from siren_ext.training.train import train_coater as train_coater
    from siren_ext.verdict.config import VerifyConfig as VerifyConfig
    from siren_ext.verdict.verify import Verdict as Verdict
    from siren_ext.verdict.verify import verify as verify
    from siren_ext.workflows.demo import DemoConfig as DemoConfig
    from siren_ext.workflows.demo import run_demo as run_demo

_HOMES = {
    "siren_ext.coater.coater": ("Coater",),
    "siren_ext.coating.folder": ("coat_folder",),
    "siren_ext.coating.manifest": (
        "CoatConfig",
        "CoatManifest",
    ),
    "siren_ext.data.dataset": ("ImageSet",),
    "siren_ext.errors": ("SirenError",),
    "siren_ext.evidence.commitment": (
        "check_commitment",
        "make_commitment",
    ),
    "siren_ext.keys.coating_key": (
        "CoatingKey",
        "KeyRing",
    ),
    "siren_ext.personalize.config": ("PersonalizeConfig",),
    "siren_ext.personalize.run": ("personalize",),
    "siren_ext.progress": ("Progress",),
    "siren_ext.report.check": ("check_report",),
    "siren_ext.report.write": ("write_report",),
    "siren_ext.scoring.score": (
        "score_folder",
        "score_images",
    ),
    "siren_ext.scoring.score_set": ("ScoreSet",),
    "siren_ext.stats.ks": ("ks_less",),
    "siren_ext.stats.resample": ("resampled_ks",),
    "siren_ext.suspects.base": (
        "PromptPlan",
        "generate_images",
    ),
    "siren_ext.suspects.folder": ("FolderSuspect",),
    "siren_ext.suspects.local": ("LocalSuspect",),
    "siren_ext.training.config": ("TrainConfig",),
    "siren_ext.training.recipes": ("train_for_base",),
    "siren_ext.training.train": ("train_coater",),
    "siren_ext.verdict.config": ("VerifyConfig",),
    "siren_ext.verdict.verify": (
        "Verdict",
        "verify",
    ),
    "siren_ext.workflows.demo": (
        "DemoConfig",
        "run_demo",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in; the version from what is installed."""
    if name == "__version__":
        globals()[name] = value = _version()
        return value
    if name not in _HOME:
        raise AttributeError(f"module 'siren_ext' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # half of the import's time

    try:
        return version("siren-ext")
    except PackageNotFoundError:  # run from a bare source tree
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
