"""Reference models in a panel: images of one, files of scores of others, or both."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from siren_ext.coater.coater import Coater
from siren_ext.errors import ScoreError
from siren_ext.panels.gradio_compat import upload_paths
from siren_ext.panels.host import PanelHost
from siren_ext.panels.uploads import check_given, collect_images
from siren_ext.progress import Named, Progress
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.models import joined_models

WHAT = "reference images"
"""What messages call the images of a reference model."""

_MARK = b'"siren_ext.scores"'
_HEAD_BYTES = 200


def references_given(upload: Any, folder: str) -> bool:
    """Whether a reference model was given.

    Parameters
    ----------
    upload : Any
        Value of the file field.
    folder : str
        A folder typed by the user.

    Returns
    -------
    bool
        True if there is a file or a folder.
    """
    return bool(upload_paths(upload) or (folder or "").strip())


def check_references(upload: Any, folder: str, host: PanelHost) -> None:
    """Check what was given without copying it, before a job waits in a queue.

    Takes and raises what :func:`reference_paths` does.
    """
    scores, images = _sorted(upload)
    if images or not scores or (folder or "").strip():
        check_given(images, folder, host.limits, what=WHAT)


def reference_paths(
    upload: Any, folder: str, host: PanelHost, job: Path, notes: list[str] | None = None
) -> list[Path]:
    """The reference models: each file of scores is one, and all images together are another.

    Parameters
    ----------
    upload : Any
        Value of the file field.
    folder : str
        A folder typed by the user, if no images were uploaded.
    host : PanelHost
        Limits.
    job : Path
        Temporary folder.
    notes : list[str] | None
        Receives what is left out, as in :func:`~siren_ext.panels.uploads.collect_images`.

    Returns
    -------
    list[Path]
        One or more: files of scores (JSON), then a folder of images if there are any.

    Raises
    ------
    DatasetError, ImageError
        See :func:`~siren_ext.panels.uploads.collect_images`.
    """
    scores, images = _sorted(upload)
    if scores and not images and not (folder or "").strip():
        return scores
    place = collect_images(
        images, folder, host.limits, job / "reference", what=WHAT, flat=True, notes=notes
    )
    return [*scores, place]


def _sorted(upload: Any) -> tuple[list[Path], list[Path]]:
    """Uploaded files of scores, and all other uploads; a table of captions is JSON too."""
    paths = upload_paths(upload)
    found = [path for path in paths if path.suffix.lower() == ".json"]
    if len(found) < len(paths):
        found = [path for path in found if _holds_scores(path)]
    return found, [path for path in paths if path not in found]


def _holds_scores(path: Path) -> bool:
    with path.open("rb") as stream:
        return _MARK in stream.read(_HEAD_BYTES)


def reference_scores(
    references: Sequence[Path],
    coater: Coater,
    sources: Sequence[dict[str, Any]],
    progress: Progress,
) -> ScoreSet | None:
    """Scores of all reference models, as :func:`~siren_ext.verdict.models.joined_models` joins.

    Parameters
    ----------
    references : Sequence[Path]
        JSON files of scores, and folders of images to score.
    coater : Coater
        The coater of the published images.
    sources : Sequence[dict[str, Any]]
        How the images of each model were made; {} for those that are left out.
    progress : Progress
        Counts the images.

    Returns
    -------
    ScoreSet | None
        None without a reference.

    Raises
    ------
    ScoreError
        A file can't be read or is of another coater, nothing could be scored, or two models are the
        same.
    """
    found = []
    for number, (place, source) in enumerate(zip_longest(references, sources), start=1):
        if place is None:
            break
        name = "reference" if len(references) == 1 else f"reference {number}"
        if place.suffix.lower() == ".json":
            found.append(_stored_scores(place, coater))
        else:
            watched = Named(progress, name)
            found.append(score_folder(place, coater, source=source or {}, progress=watched))
    return joined_models(found)


def _stored_scores(path: Path, coater: Coater) -> ScoreSet:
    """Scores from a file, which must be those of the chosen coater."""
    scores = ScoreSet.load(path)
    if scores.coater != coater.fingerprint:
        raise ScoreError(
            f"{path.name} was scored with another coater ({scores.coater[:12]}) than the chosen "
            f"one ({coater.fingerprint[:12]}). Choose the coater that your images were coated with."
        )
    return scores
