"""Measures a model's file again, to check the measurement that a report was made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError, ScoreError
from siren_ext.files import sha256_file
from siren_ext.preference.base import base_scores
from siren_ext.preference.changes import MeanField
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.preference.tint import Tint
from siren_ext.progress import NULL, Progress
from siren_ext.report.points import CheckPoint, point_of
from siren_ext.scoring.score_set import BASE, ScoreSet
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.suspects.local import LocalSuspect

NAME = "measurement"
"""What the point is called."""
TOLERANCE = 0.05
"""Largest difference of a feature, in standard deviations of all of them, between devices."""
FIELD_TOLERANCE = 0.01
"""Largest difference of learnt fields and tints between devices, as a share of their length."""
LOSS_TOLERANCE = 1e-3
"""Largest difference of a loss between devices."""


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
        ``differs`` if models, images, coater or figures are others; ``not checked`` if only the
        base model's part is missing.

    Raises
    ------
    ScoreError
        ``kept`` is no measurement of a model's file.
    CoaterError, DatasetError, ModelError, AdapterError, Cancelled
        See :func:`siren_ext.preference.measure.measure_preference`.
    """
    if not kept.preference or kept.features is None:
        raise ScoreError(
            "The given scores are scores of pictures; expected the measurement of a model's file, "
            "made by 'siren-ext verify --model' or 'siren-ext preference'."
        )
    try:
        # as measurements before these settings were read
        before = {"mirrored": False, "removed": False, "whole": False}
        plan = PreferenceConfig.from_dict(before | dict(kept.source.get("settings") or {}))
    except (ConfigError, TypeError, ValueError) as error:
        text = f"its settings can't be used: {printable(str(error))[:200]}"
        return CheckPoint(NAME, "differs", text)
    images = data.checked(progress=progress)
    wrong = _other_inputs(kept, suspect, controls, others, coater)
    used = images.items[: plan.images] if plan.images else images.items
    if tuple(sha256_file(item.path) for item in used) != kept.hashes:
        wrong.append("the images are not those that were measured")
    if wrong:
        return point_of(NAME, wrong, "")
    again = measure_preference(
        suspect,
        images,
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
    both = again.features, kept.features
    if both[0] is None or both[1] is None or both[0].shape != both[1].shape:
        return CheckPoint(NAME, "differs", "the number of bits is another one")
    if _fields_apart(again, kept) > FIELD_TOLERANCE:
        return CheckPoint(NAME, "differs", "measured again, the learnt field is another one")
    if _tints_apart(again, kept) > FIELD_TOLERANCE:
        return CheckPoint(NAME, "differs", "measured again, the learnt tint is another one")
    if wrong := _bases_apart(again, kept):
        return CheckPoint(NAME, "differs", wrong)
    # the losses name a measurement in the ledger, so they decide what a test costs
    if np.abs(again.scores - kept.scores).max() > LOSS_TOLERANCE:
        return CheckPoint(NAME, "differs", "measured again, the losses are others")
    largest = float(np.abs(both[0] - both[1]).max())
    figures = (
        f"largest difference of {both[1].size:,} figures {largest:.2g} of their standard "
        f"deviation; {TOLERANCE:g} is allowed between devices"
    )
    if largest > TOLERANCE:
        return CheckPoint(NAME, "differs", f"measured again, the figures are others: {figures}")
    text = f"the model gives the same figures again: {figures}"
    if BASE in again.source and BASE not in kept.source:
        # an earlier version made it, or somebody took that part out
        text += (
            ". The base model in its place is not in this measurement, so images that fit the "
            "message by themselves would not have been noticed"
        )
        return CheckPoint(NAME, "not checked", text)
    return CheckPoint(NAME, "matches", text)


def _fields_apart(again: ScoreSet, kept: ScoreSet) -> float:
    """The length of the difference of learnt fields, in that of the kept one; 0 without any."""
    own, before = MeanField.of(again), MeanField.of(kept)
    if own is None or before is None:
        return 0.0 if own is before else np.inf
    return _apart(own.direction, before.direction, own.images, before.images)


def _tints_apart(again: ScoreSet, kept: ScoreSet) -> float:
    """The same of learnt tints; 0 if an earlier version kept none."""
    own, before = Tint.of(again), Tint.of(kept)
    if own is None or before is None:
        return 0.0 if before is None else np.inf
    return _apart(own.learnt, before.learnt, own.images, before.images)


def _bases_apart(again: ScoreSet, kept: ScoreSet) -> str:
    """What differs in the base model's part, in words; "" if an earlier version kept none."""
    own, before = base_scores(again), base_scores(kept)
    if before is None:
        return ""
    if own is None or _fields_apart(own, before) > FIELD_TOLERANCE:
        return "measured again, the learnt field of the base model is another one"
    assert own.features is not None
    assert before.features is not None
    if np.abs(own.features - before.features).max() > TOLERANCE:
        return "measured again, the figures of the base model are others"
    return ""


def _apart(
    own: NDArray[Any], before: NDArray[Any], images: NDArray[Any], earlier: NDArray[Any]
) -> float:
    """The length of a difference as a share of the earlier length; infinite for other images."""
    if np.abs(images.astype(int) - earlier).max() > 1:  # devices round otherwise
        return np.inf
    return float(np.linalg.norm(own - before) / (np.linalg.norm(before) or 1.0))


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
    if _unlike([suspect], [made.get("suspect")]):
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
        sorted(json.dumps(_unnamed(one), sort_keys=True) for one in part)
        for part in ([model.describe() for model in models], recorded)
    )
    return own != kept


def _unnamed(facts: Any) -> Any:
    """What is recorded of a model, without names: a copy of a file may have another one.

    Earlier versions did not record settings of adapters; another one shows in the figures.
    """
    if not isinstance(facts, dict):
        return facts
    plain = {name: value for name, value in facts.items() if name != "model"}
    if isinstance(facts.get("adapters"), list):
        plain["adapters"] = [
            {name: value for name, value in one.items() if name not in ("file", "settings")}
            for one in facts["adapters"]
            if isinstance(one, dict)
        ]
    return plain


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
