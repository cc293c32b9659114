"""From two folders of images and a model to a passive report in one call; it can be resumed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError, ScoreError
from siren_ext.files import is_file, one_at_a_time, sha256_file, sibling
from siren_ext.passive.completion import Completion, complete_pictures
from siren_ext.passive.config import CompletionConfig, PassiveConfig
from siren_ext.passive.features import measure_features
from siren_ext.passive.judge import KeyedEvidence, PassiveVerdict, judge
from siren_ext.passive.judge_config import JudgeConfig
from siren_ext.passive.owned_sets import read_owned_sets
from siren_ext.passive.table import FeatureTable
from siren_ext.progress import NULL, Progress
from siren_ext.report.passive_report import write_passive_report
from siren_ext.report.write import ReportPaths

if TYPE_CHECKING:
    from siren_ext.keys.signing import Signer
    from siren_ext.suspects.local import LocalSuspect

_CAPTIONS = "captions_sha256"


@dataclass(frozen=True)
class PassiveEvidence:
    """The result of a passive test.

    Attributes
    ----------
    verdict : PassiveVerdict
        In words and figures.
    report : ReportPaths
        The files of the report.
    problems : tuple[tuple[str, str], ...]
        Name and reason of every image that was left out because it can't be read.
    """

    verdict: PassiveVerdict
    report: ReportPaths
    problems: tuple[tuple[str, str], ...]


@one_at_a_time
def passive_evidence(
    published: ImageSet,
    unpublished: ImageSet,
    suspect: LocalSuspect,
    control: LocalSuspect,
    out: Path,
    features: PassiveConfig | None = None,
    config: JudgeConfig | None = None,
    *,
    completion: CompletionConfig | None = None,
    keyed: KeyedEvidence | None = None,
    signer: Signer | None = None,
    progress: Progress = NULL,
) -> PassiveEvidence:
    """Test whether a model was trained on published images that were never coated.

    Parameters
    ----------
    published, unpublished : ImageSet
        The owner's published images, and others of the same kind that nobody has seen.
    suspect : LocalSuspect
        The suspicious model, in float32.
    control : LocalSuspect
        A model that cannot have seen the published images, in float32; best the suspect's base.
    out : Path
        Folder for the report. While images are measured, ``<out>.partial`` and
        ``<out>.features.json`` are beside it, from which the same call resumes.
    features : PassiveConfig | None
        How images are measured; None for the defaults.
    config : JudgeConfig | None
        How strict the verdict is; None for the defaults.
    completion : CompletionConfig | None
        How half-hidden pictures are completed as an illustration; None completes none.
    keyed : KeyedEvidence | None
        The keyed verdict on the same model, to state both together.
    signer : Signer | None
        Signs the report.
    progress : Progress
        Receives every step; may cancel.

    Returns
    -------
    PassiveEvidence
        Verdict, report, and the images that could not be read.

    Raises
    ------
    ConfigError
        The suspect and the control are the same model.
    DatasetError
        There are too few images, an image is in both sets, or sizes or captions differ.
    ModelError, AdapterError
        A model can't be loaded or measured.
    Cancelled
        The user stopped; the same call resumes.
    """
    features, config, out = features or PassiveConfig(), config or JudgeConfig(), Path(out)
    sets = read_owned_sets(
        published, unpublished, captions=features.captions == "own", progress=progress
    )
    if suspect.describe() == control.describe():
        raise ConfigError(
            "The suspicious model and the control are the same model, so there is nothing to "
            "compare. Give the adapter, or another control."
        )
    table = _measured(sets.both, suspect, control, features, out, progress)
    notes, count = (*sets.notes, *suspect.warnings), len(sets.published)
    tables = table.rows(range(count)), table.rows(range(count, len(table)))
    verdict = judge(*tables, sets.looks, config, notes=notes, keyed=keyed, progress=progress)
    pictures: tuple[Completion, ...] = ()
    if completion is not None and completion.count:
        shown = sets.published, sets.unpublished, completion, features
        pictures = complete_pictures(suspect, control, *shown, progress=progress)
    paths = write_passive_report(
        verdict, *tables, sets.looks, out, notes=notes, completions=pictures, signer=signer
    )
    _kept(out).unlink(missing_ok=True)
    return PassiveEvidence(verdict, paths, sets.problems)


def _measured(
    images: ImageSet,
    suspect: LocalSuspect,
    control: LocalSuspect,
    config: PassiveConfig,
    out: Path,
    progress: Progress,
) -> FeatureTable:
    """Features of all images, or those that a stopped call has finished."""
    texts = [item.caption or item.class_words or "" for item in images.items]
    captions = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    kept = _resumed(images, suspect, control, config, out, captions)
    if kept is not None:
        return kept
    partial = sibling(out, ".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    found = measure_features(
        suspect, images, config, control=control, partial=partial, progress=progress
    )
    found = dataclasses.replace(found, source=found.source | {_CAPTIONS: captions})
    found.save(_kept(out))
    return found


def _resumed(
    images: ImageSet,
    suspect: LocalSuspect,
    control: LocalSuspect,
    config: PassiveConfig,
    out: Path,
    captions: str,
) -> FeatureTable | None:
    """The features of a stopped call; None if there are none, or they are of other inputs."""
    if not is_file(_kept(out)):
        return None
    try:
        table = FeatureTable.load(_kept(out))
    except ScoreError:
        return None
    settings = table.source.get("settings")
    wanted = config.to_dict()
    same = (
        table.source.get("suspect") == suspect.describe()
        and table.source.get("control") == control.describe()
        and isinstance(settings, dict)
        and all(wanted.get(name) == value for name, value in settings.items())
        and table.source.get(_CAPTIONS) == captions
        and list(table.image_hashes) == [sha256_file(item.path) for item in images.items]
    )
    return table if same else None


def _kept(out: Path) -> Path:
    return sibling(out, ".features.json")
