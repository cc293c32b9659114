"""What comparisons of studies read of ``detection.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from siren_ext.errors import ScoreError
from siren_ext.formats import read_format

_Share = Annotated[float, Meta(ge=0, le=1)]
_Count = Annotated[int, Meta(ge=1)]


class Mean(Struct):
    """Mean of a figure over the files; None if there is none."""

    mean: float | None


class Files(Struct):
    """Figures of the coated files."""

    psnr_db: Mean
    local_de00_p99: Mean


class ModelRow(Struct):
    """One model; the reference has no area under the curve."""

    model: str
    role: Literal["guilty", "innocent", "reference"]
    auc: _Share | None = None


class Rate(Struct):
    """How many of a role's models are accused at a level, over the seeds."""

    alpha: _Share
    mean: _Share
    lowest: _Share
    highest: _Share


class Protocol(Struct):
    """The settings of the tests; see :class:`siren_ext.experiments.study.DetectionConfig`."""

    size: _Count
    against: _Count
    repeats: _Count
    seed: Annotated[int, Meta(ge=0)]
    low_end: Annotated[float, Meta(gt=0, le=1)]


class StudyResult(Struct):
    """The parts of ``detection.json`` that are read; it holds many more."""

    format: Literal["siren_ext.detection"]
    version: Literal[1]
    name: str
    coater_settings: dict[str, Any]
    protocol: Protocol
    files: Files
    models: list[ModelRow]
    guilty: list[Rate] = []


def read_result(path: Path) -> StudyResult:
    """Read the result of a finished study.

    Parameters
    ----------
    path : Path
        its ``detection.json``.

    Returns
    -------
    StudyResult
        the parts that other studies need.

    Raises
    ------
    ScoreError
        the file is missing, of something else, or lacks a figure.
    """
    return read_format(path, StudyResult, error=ScoreError, advice="Run the detection study again.")
