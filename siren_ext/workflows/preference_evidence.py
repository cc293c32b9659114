"""From a model's file and the owner's images to a keyed report in one call; it can be resumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import CoaterError, EvidenceError
from siren_ext.evidence.counting import counted
from siren_ext.evidence.precedence import Precedence
from siren_ext.files import is_file, one_at_a_time, sibling
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.measure import measure_preference
from siren_ext.preference.tint import Likeness, likeness
from siren_ext.progress import NULL, Progress
from siren_ext.report.learnt import stored_likeness
from siren_ext.report.write import ReportPaths, write_report
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import Verdict, verify

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.keys.signing import Signer
    from siren_ext.suspects.local import LocalSuspect

Standing = Callable[[ScoreSet], "Precedence | None"]
"""Says what a commitment shows about a measurement; None without a commitment."""


@dataclass(frozen=True)
class PreferenceEvidence:
    """The result of a test of a model's file.

    Attributes
    ----------
    verdict : Verdict
        In words and figures.
    measured : ScoreSet
        What the model has learnt, on every image.
    report : ReportPaths
        The files of the report.
    measurement : Path
        The file of ``measured``, for ``verify --suspect`` and ``report check --suspect``. It
        reveals the message if the model learnt it: keep it as secret as the key.
    problems : tuple[tuple[str, str], ...]
        Name and reason of every image that was left out because it can't be read.
    alike : Likeness | None
        How alike the learnt tint and the expected one are, which decides nothing.
    """

    verdict: Verdict
    measured: ScoreSet
    report: ReportPaths
    measurement: Path
    problems: tuple[tuple[str, str], ...] = ()
    alike: Likeness | None = None


@one_at_a_time
def preference_evidence(
    suspect: LocalSuspect,
    data: ImageSet,
    coater: Coater,
    key: CoatingKey,
    out: Path,
    plan: PreferenceConfig | None = None,
    config: VerifyConfig | None = None,
    *,
    controls: Sequence[LocalSuspect] = (),
    others: Sequence[LocalSuspect] = (),
    standing: Standing | None = None,
    signer: Signer | None = None,
    show_tint: bool = False,
    progress: Progress = NULL,
) -> PreferenceEvidence:
    """Measure a model's file, test a key against the measurement and write the report.

    Parameters
    ----------
    suspect : LocalSuspect
        The suspicious model, in float32; see :func:`siren_ext.preference.models.frozen`.
    data, coater : ImageSet, Coater
        The owner's clean images, and the keyed coater that coated the published copies.
    key : CoatingKey
        The owner's secret; the test of a ``FiledKey`` is counted. It is not used before the
        measurement is finished.
    out : Path
        Folder for the report. While images are measured, ``<out>.partial`` is beside it, from which
        the same call resumes; then ``<out>.preference.json``, the measurement, which stays.
    plan, config : PreferenceConfig | None, VerifyConfig | None
        How the model is measured, and how strict the verdict is; None for the defaults.
    controls, others : Sequence[LocalSuspect]
        In float32; as in :func:`siren_ext.preference.measure.measure_preference`.
    standing, signer : Standing | None, Signer | None
        What says what a commitment shows of the measurement; and what signs the report.
    show_tint : bool
        Show the learnt and the expected tint in the report, which reveals the message to readers.
    progress : Progress
        Receives every step; may cancel.

    Returns
    -------
    PreferenceEvidence
        Verdict, report, measurement, and the images that could not be read.

    Raises
    ------
    CoaterError, ConfigError, DatasetError
        Coater, key, resolution or images don't suit, or another run writes the report.
    EvidenceError, ModelError, AdapterError
        A commitment or the ledger can't be read, or a model can't be loaded or measured.
    Cancelled
        The user stopped; the same call resumes.
    """
    out, config = Path(out), config or VerifyConfig()
    _require_fitting(coater, key)
    images = data.checked(progress=progress)
    measured = measure_preference(
        suspect,
        images,
        coater,
        plan,
        controls=controls,
        others=others,
        partial=sibling(out, ".partial"),
        progress=progress,
    )
    measured.save(kept := _new(measurement := measurement_file(out)))
    progress.stage("Testing the key")
    found, price = _counted(key, measured, standing, kept)
    config = dataclasses.replace(config, price=price)
    verdict = verify(measured, config=config, key=key, precedence=found, coater=coater)
    progress.stage("Writing the report")
    alike = likeness(measured, coater, key)
    learnt = stored_likeness(alike, pictures=show_tint)
    report = write_report(verdict, measured, None, out, learnt=learnt, signer=signer)
    kept.replace(measurement)
    return PreferenceEvidence(verdict, measured, report, measurement, images.problems, alike)


def _new(measurement: Path) -> Path:
    """Where a measurement is kept until its report is written.

    An earlier report is proved by its measurement, so both are replaced together.
    """
    return measurement.with_name(f"new.{measurement.name}") if is_file(measurement) else measurement


def _counted(
    key: CoatingKey, measured: ScoreSet, standing: Standing | None, kept: Path
) -> tuple[Precedence | None, int]:
    """What a commitment and the ledger say; a fault of theirs names the file of the measurement."""
    try:
        return counted(key, measured, standing(measured) if standing else None)
    except EvidenceError as error:
        raise EvidenceError(
            f"{error} The measurement was saved: give {kept.name} with --suspect."
        ) from error


def measurement_file(out: Path) -> Path:
    """Where the measurement is kept: beside the report's folder.

    Parameters
    ----------
    out : Path
        Folder for the report.

    Returns
    -------
    Path
        A JSON file.
    """
    return sibling(out, ".preference.json")


def _require_fitting(coater: Coater, key: CoatingKey) -> None:
    """Check that coater and key belong together, before anything is measured."""
    bits = coater.config.message_bits
    if bits and key.bits != bits:
        raise CoaterError(
            f"The key has {key.bits} bits, but this coater needs {bits}. Use the key that was made "
            "for this coater."
        )
