"""Pictures in a report: what the coating does to an image, and the models' images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import ImageError
from siren_ext.files import sha256_file
from siren_ext.metrics.quality import change_of, colour_difference
from siren_ext.report.redaction import clean
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.text import printable

AMPLIFICATION = 10
PICTURES = ("clean_image", "coated_image", "difference")

_MEASURED_PAIRS = 24
_SHOWN_PAIRS = 4
_GALLERY = 6


@dataclass(frozen=True)
class CoatEvidence:
    """Files that show what the coating does to an image.

    Attributes
    ----------
    pairs : tuple[tuple[Path, Path], ...]
        Paths of each original and its coated file.
    coater : str
        Name or fingerprint of the coater.
    """

    pairs: tuple[tuple[Path, Path], ...]
    coater: str = ""


def _spread(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` positions spread evenly over ``count``, including the first and last."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, wanted))})


def coating_shown(
    coated: CoatEvidence | None,
) -> tuple[dict[str, Any] | None, list[dict[str, Any]], list[str]]:
    """Measure coated files and prepare pictures of some of them.

    Parameters
    ----------
    coated : CoatEvidence | None
        The files.

    Returns
    -------
    tuple[dict[str, Any] | None, list[dict[str, Any]], list[str]]
        Quality figures (None if no file could be measured), up to four pictures from the least to
        the most changed, and notes on files that can't be read.
    """
    if coated is None or not coated.pairs:
        return None, [], []
    files: list[dict[str, Any]] = []
    places: list[tuple[Path, Path]] = []
    notes: list[str] = []
    for index in _spread(len(coated.pairs), _MEASURED_PAIRS):
        pair = coated.pairs[index]
        try:
            files.append(_measure(*pair))
            places.append(pair)
        except (ImageError, OSError) as error:
            notes.append(f"{printable(Path(pair[1]).name)} was skipped: {clean(str(error))}")
    if not files:
        return None, [], notes
    summary = {}
    for key, worst in (
        ("psnr_db", min),
        ("ssim", min),
        ("de00_mean", max),
        ("local_de00_p99", max),
    ):
        values = [item[key] for item in files if item[key] is not None]
        mean = float(np.mean(values)) if values else None
        summary[key] = {"mean": mean, "worst": worst(values) if values else None}
    quality = {
        "measured": len(files),
        "of": len(coated.pairs),
        "summary": summary,
        "files": files,
        "coater": clean(coated.coater),
        "ssim_on": "mean of the RGB channels",
    }
    pictures = [_pictures(*places[i]) for i in pairs_shown(files)]
    return quality, with_pictures(files, pictures), notes


def pairs_shown(files: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which of the measured files are shown, from the least to the most changed."""
    order = sorted(range(len(files)), key=lambda i: files[i]["local_de00_p99"])
    return [order[j] for j in _spread(len(order), _SHOWN_PAIRS)]


def with_pictures(
    files: Sequence[Mapping[str, Any]], pictures: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The shown files with their pictures.

    Parameters
    ----------
    files : Sequence[Mapping[str, Any]]
        All measured files, as in ``quality`` of a report.
    pictures : Sequence[Mapping[str, Any]]
        ``clean_image``, ``coated_image`` and ``difference`` of those shown.

    Returns
    -------
    list[dict[str, Any]]
        What the page needs of each.
    """
    chosen = [files[i] for i in pairs_shown(files)]
    shown = [{**one, **extra, "worst": False} for one, extra in zip(chosen, pictures, strict=True)]
    shown[-1]["worst"] = True
    return shown


def _measure(clean_path: Path, coated_path: Path) -> dict[str, Any]:
    """Quality of one coated file compared with its original, both read from disk."""
    first = to_tensor(read_picture(Path(clean_path)).rgb)
    second = to_tensor(read_picture(Path(coated_path)).rgb)
    if first.shape != second.shape:
        raise ImageError(
            f"the original has {first.shape[3]} x {first.shape[2]} pixels, but the coated file "
            f"{second.shape[3]} x {second.shape[2]}; expected the same size."
        )
    return {
        "name": printable(Path(coated_path).name),
        "sha256": sha256_file(Path(coated_path)),
        "width": first.shape[3],
        "height": first.shape[2],
        **change_of(first, second)._asdict(),
        "de00_mean": float(colour_difference(first, second).mean()),
    }


def _pictures(clean_path: Path, coated_path: Path) -> dict[str, Any]:
    first, second = (read_picture(Path(path)).rgb for path in (clean_path, coated_path))
    change = (second.astype(np.float32) - first) * AMPLIFICATION + 128
    change = np.clip(np.rint(change), 0, 255).astype(np.uint8)
    names = PICTURES
    pictures = zip(names, (first, second, change), strict=True)
    return {name: data_uri(pixels, 320, "PNG") for name, pixels in pictures}


def preview(file: Path, side: int) -> str | None:
    """A picture file as a data URI; None if it can't be read.

    Parameters
    ----------
    file : Path
        The file.
    side : int
        Longest side in pixels.
    """
    try:
        return data_uri(read_picture(file).rgb, side, "JPEG")
    except (ImageError, OSError):
        return None


def data_uri(pixels: NDArray[np.uint8], side: int, kind: str) -> str:
    """A picture as a data URI, without metadata.

    Parameters
    ----------
    pixels : array
        H x W x 3, uint8.
    side : int
        Longest side in pixels; smaller pictures stay as they are.
    kind : str
        Pillow's name of the format: PNG or JPEG.

    Returns
    -------
    str
        For the ``src`` of an image.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 90, "subsampling": 0} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def galleries_of(title: str, pool: ScoreSet, files: Sequence[Path]) -> list[dict[str, Any]]:
    """Prepare a pool's images with the lowest and the highest scores.

    Parameters
    ----------
    title : str
        Name of the pool.
    pool : ScoreSet
        The scores.
    files : Sequence[Path]
        Image files, matched to the scores by content, or by name if a score has no hash.

    Returns
    -------
    list[dict[str, Any]]
        Up to two galleries of up to six pictures each.
    """
    by_hash = {digest: i for i, digest in enumerate(pool.hashes) if digest}
    by_name = {name: i for i, name in enumerate(pool.names) if not pool.hashes[i]}
    found: dict[int, Path] = {}
    for path in map(Path, files):
        try:
            index = by_hash.get(sha256_file(path), by_name.get(printable(path.name)))
        except OSError:
            continue
        if index is not None:
            found.setdefault(index, path)
    order = sorted(found, key=lambda i: float(pool.scores[i]))
    count = min(_GALLERY, (len(order) + 1) // 2)
    parts = (("lowest", order[:count]), ("highest", order[count:][-count:]))
    galleries = []
    for which, indices in parts:
        tiles = [_tile(pool, i, found[i]) for i in indices]
        tiles = [tile for tile in tiles if tile]
        if tiles:
            galleries.append({"title": f"{title}: {which} scores", "tiles": tiles})
    return galleries


def _tile(pool: ScoreSet, index: int, path: Path) -> dict[str, Any] | None:
    try:
        picture = data_uri(read_picture(path).rgb, 192, "JPEG")
    except ImageError:
        return None
    return {"name": pool.names[index], "score": float(pool.scores[index]), "image": picture}
