"""Writes a ranking of images by influence: one HTML page, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from siren_ext.attribution.attribute import Attribution
from siren_ext.attribution.wording import DOES_NOT_PROVE, HOW, is_stable
from siren_ext.files import atomic, write_json
from siren_ext.report.pictures import preview
from siren_ext.report.redaction import clean, pretty
from siren_ext.report.template import render
from siren_ext.report.write import environment

ATTRIBUTION_FORMAT = "siren_ext.attribution"
ATTRIBUTION_HTML, ATTRIBUTION_JSON = "attribution.html", "attribution.json"

_SHOWN = 12  # images in the gallery
_PICTURES = 6  # pictures above it
_ROWS = 300
_SIDE = 192


@dataclass(frozen=True)
class AttributionPaths:
    """The files of a report.

    Attributes
    ----------
    html, json : Path
        The page, and the same as JSON.
    """

    html: Path
    json: Path


def write_attribution(
    found: Attribution, images: Sequence[Path], pictures: Sequence[Path], out: Path
) -> AttributionPaths:
    """Write ``attribution.html`` and ``attribution.json``.

    The page needs no network, script or other file. Folders of this machine and passwords are
    removed.

    Parameters
    ----------
    found : Attribution
        The ranking.
    images, pictures : sequence of Path
        The files of the images and pictures, in the order of the ranking's ``images`` and
        ``pictures``; those that can't be read any more are shown without a preview.
    out : Path
        Folder for the files.

    Returns
    -------
    AttributionPaths
        The written files.

    Raises
    ------
    OSError
        The folder can't be written.
    """
    data = {
        "format": ATTRIBUTION_FORMAT,
        "version": 1,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "environment": environment(),
        **clean(found.to_dict()),
        "does_not_prove": list(DOES_NOT_PROVE[found.method]),
    }
    out = Path(out)
    write_json(out / ATTRIBUTION_JSON, data)
    page = render(
        "attribution.html",
        found=found,
        data=data,
        how=HOW[found.method],
        stable=is_stable(found.ranking),
        asked=_tiles(pictures[:_PICTURES], data["pictures"], "picture"),
        gallery=_gallery(found, images, data),
        rows=data["images"][:_ROWS],
        model=pretty(data["model"]),
    )
    with atomic(out / ATTRIBUTION_HTML) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return AttributionPaths(out / ATTRIBUTION_HTML, out / ATTRIBUTION_JSON)


def _gallery(
    found: Attribution, images: Sequence[Path], data: dict[str, Any]
) -> list[dict[str, Any]]:
    """The images with the highest scores."""
    order = [images[int(row)] for row in found.ranking.order[:_SHOWN]]
    return _tiles(order, data["images"], "image")


def _tiles(files: Sequence[Path], rows: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Files with their previews; ``preview`` is None for one that can't be read."""
    return [
        {**row, "name": row[key], "preview": preview(file, _SIDE)}
        for file, row in zip(files, rows, strict=False)
    ]
