"""The steps behind the panels and the hosts' APIs, without any layout."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.coating.outputs import files_of_run
from siren_ext.data.dataset import ImageSet
from siren_ext.data.image_files import list_images
from siren_ext.data.images import read_picture
from siren_ext.errors import Cancelled, CoaterError, ImageError
from siren_ext.evidence.chain import ChainFiles, check_scores
from siren_ext.evidence.commitment import Commitment, Precedence
from siren_ext.evidence.counting import FiledKey, counted
from siren_ext.evidence.ledger import ledger_of
from siren_ext.panels.references import reference_scores
from siren_ext.progress import NULL, Named, Progress
from siren_ext.report.redaction import clean
from siren_ext.report.write import ReportPaths, write_report
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import Verdict, verify

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.preference.tint import Likeness

TILE = 256
AMPLIFICATION = 10
_SHOWN = 4

Tiles = list[tuple[str, str]]
"""Pictures for a gallery: (path of a small PNG, caption)."""


def require_matching_key(coater: Coater, key: CoatingKey | None, *, needed: bool = False) -> None:
    """Check that a coater and a key belong together.

    Parameters
    ----------
    coater : Coater
        The chosen coater.
    key : CoatingKey | None
        The given key, or None.
    needed : bool
        Whether a keyed coater must have a key, as for coating.

    Raises
    ------
    CoaterError
        The coater takes no key or one of another length, or a needed key is missing.
    """
    bits = coater.config.message_bits
    if key is None:
        if needed and bits:
            raise CoaterError(
                "This coater is keyed. Add your key file and its passphrase. If you have no key "
                "yet, make one with 'siren-ext key new', or with 'Make a key' if this page has it."
            )
    elif not bits:
        raise CoaterError(
            "This coater is not keyed, so it can't use a key. Remove the key file, or choose a "
            "keyed coater."
        )
    elif key.bits != bits:
        raise CoaterError(
            f"The key has {key.bits} bits, but this coater needs {bits}. Use the key that was made "
            "for this coater."
        )


@dataclass(frozen=True)
class Coated:
    """The coated files of one request.

    Attributes
    ----------
    folder : Path
        Folder of the coated files; names and captions are those of the originals.
    archive : Path
        A ZIP of the files to publish.
    manifest : CoatManifest
        The record of the run, also a file in ``folder``. To be kept and not published.
    stopped : bool
        Whether the user stopped before the last image.
    """

    folder: Path
    archive: Path
    manifest: CoatManifest
    stopped: bool = False

    @property
    def files(self) -> list[Path]:
        """Paths of the coated images."""
        return [self.folder / entry.output for entry in self.manifest.entries]

    @property
    def record(self) -> Path:
        """Path of the manifest."""
        return self.folder / MANIFEST_NAME


def coat_step(
    data: ImageSet,
    coater: Coater,
    job: Path,
    *,
    out: Path | None = None,
    strength: float = 1.0,
    layout: str = "plain",
    file_format: str = "png",
    key: CoatingKey | None = None,
    progress: Progress = NULL,
) -> Coated:
    """Coat a set of images and pack the result as a ZIP archive.

    Parameters
    ----------
    data : ImageSet
        The images.
    coater : Coater
        The coater.
    job : Path
        Temporary folder for the archive.
    out : Path | None
        Folder for the coated files; None for ``job/coated``.
    strength : float
        Factor on the coating, 0 to 10; 1 is what the coater was trained with.
    layout : str
        Such as ``plain`` or ``kohya``, see :class:`~siren_ext.coating.manifest.CoatConfig`.
    file_format : str
        ``png``, ``keep``, ``jpeg`` or ``webp``.
    key : CoatingKey | None
        The key whose message a keyed coater writes.
    progress : Progress
        Counts the images.

    Returns
    -------
    Coated
        The coated files. After a stop, those that are finished.

    Raises
    ------
    Cancelled
        The user stopped before any image was finished.
    ImageError
        No image could be coated.
    CoaterError
        The coater and the key don't fit.
    DatasetError
        ``out`` can't be used, see :func:`~siren_ext.coating.folder.coat_folder`.
    """
    require_matching_key(coater, key, needed=True)
    out = out or job / "coated"
    config = CoatConfig.from_dict({"strength": strength, "layout": layout, "format": file_format})
    stopped = False
    try:
        manifest = coat_folder(data, coater, out, config, key=key, progress=progress)
    except Cancelled:
        if not (out / MANIFEST_NAME).is_file():
            raise
        manifest, stopped = CoatManifest.load(out / MANIFEST_NAME), True
        # stopped before its first image, a run leaves the record of an earlier one
        if not manifest.entries or manifest.config != config:
            raise
    if not manifest.entries:
        first = manifest.failures[0] if manifest.failures else None
        why = f" {first.source}: {first.error}" if first else ""
        raise ImageError(f"None of the images could be coated.{why}")
    archive = job / "coated.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for name in files_of_run(manifest, data):  # not what only earlier runs wrote
            target.write(out / name, name)
    return Coated(out, archive, manifest, stopped)


def before_after(coated: Coated, data: ImageSet, job: Path) -> Tiles:
    """Original, coated image and amplified difference of the image that changed most.

    Parameters
    ----------
    coated : Coated
        The coated files.
    data : ImageSet
        The originals.
    job : Path
        Temporary folder for the pictures.

    Returns
    -------
    Tiles
        Three small PNG files with captions; empty if no image changed.
    """
    sources = {item.name: item.path for item in data.items}
    tiles: Tiles = []
    here = (entry for entry in coated.manifest.entries if entry.source in sources)
    changed = [entry for entry in here if entry.psnr_db is not None]
    for entry in sorted(changed, key=lambda entry: entry.psnr_db or 0.0)[:1]:
        pair = (sources[entry.source], coated.folder / entry.output)
        first, second = (read_picture(path).rgb for path in pair)
        change = np.clip((second.astype(np.float32) - first) * AMPLIFICATION + 128, 0, 255)
        stem = Path(entry.output).stem
        shown = (
            (first, f"{stem}: original"),
            (second, f"{stem}: coated"),
            (change.astype(np.uint8), f"{stem}: difference, amplified {AMPLIFICATION} times"),
        )
        tiles += [
            _tile(pixels, caption, job, len(tiles) + i) for i, (pixels, caption) in enumerate(shown)
        ]
    return tiles


def _tile(pixels: Any, caption: str, job: Path, number: int) -> tuple[str, str]:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
    path = job / "tiles" / f"{number:03d}.png"
    path.parent.mkdir(exist_ok=True)
    image.save(path)
    return str(path), caption


@dataclass(frozen=True)
class Verification:
    """A verdict with everything that a panel shows.

    Attributes
    ----------
    verdict : Verdict
        The verdict.
    suspect, reference : ScoreSet
        The scores behind it; no reference where the key alone decided.
    report : ReportPaths
        The report's files.
    lowest, highest : Tiles
        The suspect's images with the lowest and the highest scores.
    ledger : Path | None
        The key's ledger with this test, to be kept beside the key file; None if none was counted.
    more : tuple[Path, ...]
        Further files to keep.
    alike : Likeness | None
        The learnt tint beside the expected one, where a model's file was measured.
    """

    verdict: Verdict
    suspect: ScoreSet
    reference: ScoreSet | None
    report: ReportPaths
    lowest: Tiles
    highest: Tiles
    ledger: Path | None = None
    more: tuple[Path, ...] = ()
    alike: Likeness | None = None


def verify_step(
    suspect: Path,
    reference: Path | Sequence[Path] | None,
    coater: Coater,
    job: Path,
    *,
    alpha: float = 1e-6,
    key: CoatingKey | None = None,
    commitment: Path | None = None,
    sources: Sequence[dict[str, Any]] = (),
    extra: dict[str, Any] | None = None,
    progress: Progress = NULL,
) -> Verification:
    """Score the images, run every possible test and write the report into ``job/report``.

    Parameters
    ----------
    suspect : Path
        Folder with images of the suspicious model.
    reference : Path | Sequence[Path] | None
        Folder with images of a model that never saw a coated image, or the JSON file of their
        scores; several for several such models. None if the key alone decides.
    coater : Coater
        The coater of the published images.
    job : Path
        Temporary folder.
    alpha : float
        Accepted risk of accusing an innocent model, at most 0.5.
    key : CoatingKey | None
        The owner's secret, for the keyed test; that of a ``FiledKey`` is counted in its ledger.
    commitment : Path | None
        File that proves what was fixed before publication.
    sources : Sequence[dict[str, Any]]
        How the suspect's and each reference's images were made, as far as it is known.
    extra : dict[str, Any] | None
        Further settings for the report.
    progress : Progress
        Counts the images.

    Returns
    -------
    Verification
        Verdict, scores, report and sample images.

    Raises
    ------
    ScoreError
        Nothing could be scored, the scores belong to another coater, or there is neither a
        reference nor a key.
    CoaterError
        The key doesn't fit the coater.
    EvidenceError
        The commitment or the ledger can't be read.
    Cancelled
        The user stopped.
    """
    references = [reference] if isinstance(reference, Path) else list(reference or ())
    suspect_source, *others = sources or ({},)
    require_matching_key(coater, key)
    if commitment is not None:  # what can't be read is reported before the work
        Commitment.load(commitment)
    watched = Named(progress, "suspicious model")
    first = score_folder(suspect, coater, source=suspect_source, progress=watched)
    second = reference_scores(references, coater, others, progress)
    progress.stage("Writing the report")
    precedence, price = counted(key, first, precedence_of(commitment, first, key))
    config = VerifyConfig(alpha=alpha, price=price)
    verdict = verify(first, second, config, key=key, precedence=precedence)
    report = write_report(
        verdict,
        first,
        second,
        job / "report",
        mimicries=_listed(suspect),
        reference_mimicries=[image for place in references for image in _listed(place)],
        extra=extra,
    )
    lowest, highest = score_tiles(first, suspect, job)
    ledger = ledger_of(key.file) if isinstance(key, FiledKey) else None
    return Verification(verdict, first, second, report, lowest, highest, ledger)


def _listed(place: Path) -> list[Path]:
    """The images of a folder; none for a file of scores."""
    return list_images(place) if place.is_dir() else []


def precedence_of(
    commitment: Path | None, scores: ScoreSet, key: CoatingKey | None
) -> Precedence | None:
    """What a commitment says about coater, key and pictures; None without one.

    Raises what :func:`~siren_ext.evidence.chain.check_scores` does.
    """
    if commitment is None:
        return None
    prints = [key.fingerprint()] if key else []
    return check_scores(ChainFiles(commitment), scores, prints)


def score_tiles(pool: ScoreSet, folder: Path, job: Path) -> tuple[Tiles, Tiles]:
    """The images with the lowest and the highest scores, as small PNG files.

    Parameters
    ----------
    pool : ScoreSet
        The scores.
    folder : Path
        Folder of the scored images; files that are gone are skipped.
    job : Path
        Temporary folder for the pictures.

    Returns
    -------
    tuple[Tiles, Tiles]
        The lowest and the highest, up to four each.
    """
    order = sorted(range(len(pool)), key=lambda i: float(pool.scores[i]))
    count = min(_SHOWN, (len(order) + 1) // 2)
    galleries: list[Tiles] = []
    for which, part in (("lowest", order[:count]), ("highest", order[count:][-count:])):
        tiles: Tiles = []
        for i in part:
            path = folder / pool.names[i]
            if not path.is_file():
                continue
            caption = f"{which}: {pool.scores[i]:.3g} ({clean(path.name)})"
            tiles.append(_tile(read_picture(path).rgb, caption, job, 100 + i))
        galleries.append(tiles)
    return galleries[0], galleries[1]
