"""The steps behind the panels and the hosts' programming interfaces, without any layout."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.data.image_files import list_images
from siren_ext.data.images import read_picture
from siren_ext.errors import Cancelled, CoaterError, ImageError, ScoreError
from siren_ext.evidence.commitment import check_commitment
from siren_ext.progress import NULL, Named, Progress
from siren_ext.report.redaction import clean
from siren_ext.report.write import ReportPaths, write_report
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import Verdict, verify

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey

TILE = 256
AMPLIFICATION = 10
_SHOWN = 4

Tiles = list[tuple[str, str]]
"""Pictures for a gallery: (path of a small PNG, caption)."""


def require_match(coater: Coater, key: CoatingKey | None, *, needed: bool = False) -> None:
    """Raise :class:`CoaterError` unless coater and key belong to each other.

    ``needed``: whether a keyed coater can't do without its key, as for coating.
    """
    bits = coater.config.message_bits
    if key is None:
        if needed and bits:
            raise CoaterError(
                "This coater is keyed: it writes the message of a key into the images. Add your "
                "key file and its passphrase."
            )
    elif not bits:
        raise CoaterError(
            "This coater is not keyed, so it takes no key. Take the key file out, or choose the "
            "keyed coater."
        )
    elif key.bits != bits:
        raise CoaterError(
            f"The key has {key.bits} bits, the messages of this coater have {bits}; choose the key "
            "that was made for this coater."
        )


@dataclass(frozen=True)
class Coated:
    """Coated files of one request.

    Attributes
    ----------
    folder : Path
        where they lie, names and captions as they came.
    archive : Path
        a ZIP of what is to be published.
    manifest : CoatManifest
        the record, to be kept and not published; also a file in ``folder``.
    stopped : bool
        the user stopped before the last image.
    """

    folder: Path
    archive: Path
    manifest: CoatManifest
    stopped: bool = False

    @property
    def files(self) -> list[Path]:
        """The written images."""
        return [self.folder / entry.output for entry in self.manifest.entries]

    @property
    def record(self) -> Path:
        """The manifest's file."""
        return self.folder / MANIFEST_NAME


def coat_step(
    data: ImageSet,
    coater: Coater,
    job: Path,
    *,
    out: Path | None = None,
    strength: float = 1.0,
    layout: str = "plain",
    key: CoatingKey | None = None,
    progress: Progress = NULL,
) -> Coated:
    """Coat ``data`` into ``out`` (default ``job/coated``) and pack the result as a ZIP in ``job``.

    A keyed coater writes the message of ``key``.

    A stop gives what is finished; :class:`~siren_ext.errors.Cancelled` is raised only where that is
    nothing. Raises :class:`ImageError` when no image could be coated, and what
    :func:`~siren_ext.coating.folder.coat_folder` raises.
    """
    require_match(coater, key, needed=True)
    out = out or job / "coated"
    config = CoatConfig(strength=strength, layout=layout)
    stopped = False
    try:
        manifest = coat_folder(data, coater, out, config, key=key, progress=progress)
    except Cancelled:
        if not (out / MANIFEST_NAME).is_file():
            raise
        manifest, stopped = CoatManifest.load(out / MANIFEST_NAME), True
        if not manifest.entries:
            raise
    if not manifest.entries:
        first = manifest.failures[0] if manifest.failures else None
        why = f" {first.source}: {first.error}" if first else ""
        raise ImageError(f"None of the images could be coated.{why}")
    archive = job / "coated.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
        for name in manifest.files:
            target.write(out / name, name)
    return Coated(out, archive, manifest, stopped)


def before_after(coated: Coated, data: ImageSet, job: Path) -> Tiles:
    """Original, coated image and enlarged difference of the most changed, as small PNG files."""
    sources = {item.name: item.path for item in data.items}
    tiles: Tiles = []
    changed = [entry for entry in coated.manifest.entries if entry.psnr_db is not None]
    for entry in sorted(changed, key=lambda entry: entry.psnr_db or 0.0)[:1]:
        pair = (sources[entry.source], coated.folder / entry.output)
        first, second = (read_picture(path).rgb for path in pair)
        change = np.clip((second.astype(np.float32) - first) * AMPLIFICATION + 128, 0, 255)
        stem = Path(entry.output).stem
        shown = (
            (first, f"{stem}: original"),
            (second, f"{stem}: coated"),
            (change.astype(np.uint8), f"{stem}: difference, enlarged {AMPLIFICATION} times"),
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
class Judged:
    """A verdict with everything that a panel shows of it."""

    verdict: Verdict
    suspect: ScoreSet
    reference: ScoreSet | None
    report: ReportPaths
    lowest: Tiles
    highest: Tiles


def judge_step(
    suspect: Path,
    reference: Path | None,
    coater: Coater,
    job: Path,
    *,
    alpha: float = 1e-6,
    key: CoatingKey | None = None,
    commitment: Path | None = None,
    sources: tuple[dict[str, Any], dict[str, Any]] | None = None,
    extra: dict[str, Any] | None = None,
    progress: Progress = NULL,
) -> Judged:
    """Score the pools, make every test that they permit and write the report into ``job``.

    Parameters
    ----------
    suspect : Path
        folder with images of the suspicious model.
    reference : Path | None
        folder with images of a model that saw no coated image, or the JSON file of
        their scores; None where the key alone decides.
    key : CoatingKey | None
        the owner's secret, for the keyed test.
    commitment : Path | None
        file that says what was fixed before the release.
    sources : tuple[dict[str, Any], dict[str, Any]] | None
        how the two pools were made, where the host knows it.
    extra : dict[str, Any] | None
        further settings for the report.

    Raises
    ------
    ScoreError
        nothing could be scored, the scores are of another coater, or there is neither
        reference nor key.
    EvidenceError
        the commitment can't be read.
    Cancelled
        the user stopped.
    """
    about = sources or ({}, {})
    require_match(coater, key)
    config = VerifyConfig(alpha=alpha)
    precedence = None
    if commitment is not None:
        prints = [key.fingerprint()] if key else []
        precedence = check_commitment(commitment, coater=coater.fingerprint, keys=prints)
    first = score_folder(
        suspect, coater, source=about[0], progress=Named(progress, "suspicious model")
    )
    second: ScoreSet | None = None
    if reference is not None and reference.suffix.lower() == ".json":
        second = ScoreSet.load(reference)
        if second.coater != coater.fingerprint:
            raise ScoreError(
                f"{reference.name} was scored by another coater ({second.coater[:12]}) than the "
                f"chosen one ({coater.fingerprint[:12]}); choose the coater of your coated images."
            )
    elif reference is not None:
        second = score_folder(
            reference, coater, source=about[1], progress=Named(progress, "reference")
        )
    progress.stage("Writing the report")
    verdict = verify(first, second, config, key=key, precedence=precedence)
    pictured = reference is not None and reference.is_dir()
    clean_files = list_images(reference) if reference is not None and pictured else []
    report = write_report(
        verdict,
        first,
        second,
        job / "report",
        mimicries=list_images(suspect),
        reference_mimicries=clean_files,
        extra=extra,
    )
    lowest, highest = score_tiles(first, suspect, job)
    return Judged(verdict, first, second, report, lowest, highest)


def score_tiles(pool: ScoreSet, folder: Path, job: Path) -> tuple[Tiles, Tiles]:
    """The images of a pool with the lowest and the highest scores, as small PNG files."""
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
