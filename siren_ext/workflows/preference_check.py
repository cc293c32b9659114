"""Measures a model's file again, to check the measurement that a report was made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError, ScoreError
from siren_ext.preference.changes import MeanField
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.progress import NULL, Progress
from siren_ext.report.points import CheckPoint, point_of
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.suspects.local import LocalSuspect

NAME = "measurement"
"""What the point is called."""
TOLERANCE = 0.05
"""Largest difference of a feature, in standard deviations of all of them, between devices."""
FIELD_TOLERANCE = 0.01
"""Largest difference of learnt fields between devices, as a share of their length."""


def measured_again(
    kept: ScoreSet,
    suspect: LocalSuspect,
    data: ImageSet,
    coater: Coater,
    *,
    controls: Sequence[LocalSuspect] = (),
    others: Sequence[LocalSuspect] = (),
    partial: Path | None = None,
    progress: Progress = NULL,
) -> CheckPoint:
    """Measure a model again with the recorded settings, and compare.

    Parameters
    ----------
    kept : ScoreSet
        The measurement of :func:`siren_ext.preference.measure.measure_preference`.
    suspect : LocalSuspect
        The suspicious model, in float32.
    data : ImageSet
        The owner's clean images.
    coater : Coater
        The keyed coater.
    controls : Sequence[LocalSuspect]
        The clean models that were subtracted, in float32.
    others : Sequence[LocalSuspect]
        The adapters of other people's images, in float32.
    partial : Path | None
        A file for finished images, from which a stopped call is resumed.
    progress : Progress
        One unit per image; may cancel.

    Returns
    -------
    CheckPoint
        ``differs`` if models, images, coater or figures are others.

    Raises
    ------
    ScoreError
        ``kept`` is no measurement of a model's file.
    CoaterError, DatasetError, ModelError, AdapterError, Cancelled
        See :func:`siren_ext.preference.measure.measure_preference`.
    """
    if not kept.preference or kept.features is None:
        raise ScoreError(
            "The given scores are those of pictures; expected the measurement of a model's file, "
            "of 'siren-ext verify --model' or 'siren-ext preference'."
        )
    try:
        # as measurements before these settings were read
        before = {"mirrored": False, "removed": False, "whole": False}
        plan = PreferenceConfig.from_dict(before | dict(kept.source.get("settings") or {}))
    except (ConfigError, TypeError, ValueError) as error:
        text = f"its settings can't be used: {printable(str(error))[:200]}"
        return CheckPoint(NAME, "differs", text)
    wrong = _other_inputs(kept, suspect, controls, others, coater)
    if wrong:
        return point_of(NAME, wrong, "")
    again = measure_preference(
        suspect,
        data.checked(progress=progress),
        coater,
        plan,
        controls=controls,
        others=others,
        partial=partial,
        progress=progress,
    )
    return _compared(again, kept)


def _compared(again: ScoreSet, kept: ScoreSet) -> CheckPoint:
    """Whether two measurements of the same files are equal but for rounding."""
    if again.hashes != kept.hashes:
        return CheckPoint(NAME, "differs", "the images are not those that were measured")
    both = again.features, kept.features
    if both[0] is None or both[1] is None or both[0].shape != both[1].shape:
        return CheckPoint(NAME, "differs", "the number of bits is another one")
    if _fields_apart(again, kept) > FIELD_TOLERANCE:
        return CheckPoint(NAME, "differs", "measured again, the learnt field is another one")
    largest = float(np.abs(both[0] - both[1]).max())
    figures = (
        f"largest difference of {both[1].size:,} figures {largest:.2g} of their standard "
        f"deviation; {TOLERANCE:g} is allowed between devices"
    )
    if largest > TOLERANCE:
        return CheckPoint(NAME, "differs", f"measured again, the figures are others: {figures}")
    return CheckPoint(NAME, "matches", f"the model gives the same figures again: {figures}")


def _fields_apart(again: ScoreSet, kept: ScoreSet) -> float:
    """The length of the difference of learnt fields, in that of the kept one; 0 without any."""
    own, before = MeanField.of(again), MeanField.of(kept)
    if own is None or before is None:
        return 0.0 if own is before else np.inf
    if np.abs(own.images.astype(int) - before.images).max() > 1:  # devices round otherwise
        return np.inf
    apart = np.linalg.norm(own.direction - before.direction)
    return float(apart / (np.linalg.norm(before.direction) or 1.0))


def _other_inputs(
    kept: ScoreSet,
    suspect: LocalSuspect,
    controls: Sequence[LocalSuspect],
    others: Sequence[LocalSuspect],
    coater: Coater,
) -> list[str]:
    """What differs before anything is measured, in words."""
    made: Any = kept.source.get("provenance")
    made = made if isinstance(made, dict) else {}
    wrong = []
    if coater.fingerprint != kept.coater:
        wrong.append("the coater is another one")
    if suspect.describe() != made.get("suspect"):
        wrong.append("the suspicious model is another one, or its weight or number format is")
    if _unlike(controls, made.get("controls")):
        wrong.append("the clean models that are subtracted are others")
    if _unlike(others, made.get("others", [])):
        wrong.append("the adapters of other people's images are others")
    return wrong


def _unlike(models: Sequence[LocalSuspect], recorded: Any) -> bool:
    """Whether models are not the recorded ones, in any order: what counts is their mean."""
    if not isinstance(recorded, list):
        return True
    own, kept = (
        sorted(json.dumps(one, sort_keys=True) for one in part)
        for part in ([model.describe() for model in models], recorded)
    )
    return own != kept


def allows_partial(kept: ScoreSet) -> bool:
    """Whether a model was measured with the parts of its adapters that fit.

    Parameters
    ----------
    kept : ScoreSet
        The measurement of :func:`siren_ext.preference.measure.measure_preference`.
    """
    made: Any = kept.source.get("provenance")
    suspect = made.get("suspect") if isinstance(made, dict) else None
    return isinstance(suspect, dict) and "warnings" in suspect
