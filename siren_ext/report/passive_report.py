"""Writes a report on images that were never coated: one HTML page, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from siren_ext.files import atomic, write_json
from siren_ext.keys.signing import Signer
from siren_ext.passive.judge import PassiveVerdict
from siren_ext.passive.table import FeatureTable
from siren_ext.passive.wording import CONTROLS, EVIDENCE, TONES, share_words
from siren_ext.report.integrity import HTML, JSON, write_seal
from siren_ext.report.passive_pictures import (
    StoredCompletion,
    compared_words,
    completion_groups,
    stored_completions,
)
from siren_ext.report.redaction import clean, pretty
from siren_ext.report.template import render
from siren_ext.report.write import ReportPaths, environment

if TYPE_CHECKING:
    from siren_ext.passive.completion import Completion

Floats = NDArray[np.float64]

PASSIVE_FORMAT = "siren_ext.passive_report"
_ROWS = 300
_Text = Annotated[str, Meta(max_length=20_000)]
_Number = Annotated[float, Meta(ge=-1e30, le=1e30)]
_Looks = Annotated[
    list[Annotated[list[_Number], Meta(min_length=1, max_length=100)]],
    Meta(min_length=1, max_length=1_000_000),
]


class StoredPassive(Struct, forbid_unknown_fields=True, kw_only=True):
    """The contents of a passive ``report.json``."""

    format: Literal["siren_ext.passive_report"] = "siren_ext.passive_report"
    version: Literal[1] = 1
    created: _Text
    environment: dict[str, Any]
    verdict: dict[str, Any]
    notes: Annotated[list[_Text], Meta(max_length=1000)]
    published: dict[str, Any]
    unpublished: dict[str, Any]
    published_looks: _Looks
    unpublished_looks: _Looks
    completions: Annotated[list[StoredCompletion], Meta(max_length=200)] = []


def write_passive_report(
    verdict: PassiveVerdict,
    published: FeatureTable,
    unpublished: FeatureTable,
    looks: tuple[Floats, Floats],
    out: Path,
    *,
    notes: Sequence[str] = (),
    completions: Sequence[Completion] = (),
    signer: Signer | None = None,
) -> ReportPaths:
    """Write ``report.html``, ``report.json`` and ``report.seal.json``.

    The page needs no network, script or other file. Folders of this machine and passwords are
    removed. The JSON file has all features, so that the verdict can be computed again.

    Parameters
    ----------
    verdict : PassiveVerdict
        The verdict.
    published, unpublished : FeatureTable
        The features behind it.
    looks : tuple[array, array]
        What the images of both sets look like, as given to
        :func:`~siren_ext.passive.judge.judge`.
    out : Path
        Folder for the files.
    notes : Sequence[str]
        The notes that the verdict was given.
    completions : Sequence[Completion]
        Half-hidden pictures that the models completed, as an illustration.
    signer : Signer | None
        Signs the seal.

    Returns
    -------
    ReportPaths
        The written files.

    Raises
    ------
    OSError
        The folder can't be written.
    """
    shown = cleaned(verdict)
    data = {
        "format": PASSIVE_FORMAT,
        "version": 1,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "environment": environment(),
        "verdict": shown.to_dict(),
        "notes": clean(list(notes)),
        "published": clean(published.to_dict()),
        "unpublished": clean(unpublished.to_dict()),
        "published_looks": looks[0].tolist(),
        "unpublished_looks": looks[1].tolist(),
        "completions": stored_completions(completions),
    }
    out = Path(out)
    write_json(out / JSON, data)
    with atomic(out / HTML) as temporary:
        temporary.write_text(render_passive(shown, data), encoding="utf-8")
    return ReportPaths(out / HTML, out / JSON, write_seal(out, signer))


def cleaned(verdict: PassiveVerdict) -> PassiveVerdict:
    """A verdict whose warnings name no folders of this machine.

    Parameters
    ----------
    verdict : PassiveVerdict
        The verdict.

    Returns
    -------
    PassiveVerdict
        As it is stored and shown.
    """
    return replace(verdict, warnings=tuple(clean(list(verdict.warnings))))


def render_passive(verdict: PassiveVerdict, data: dict[str, Any]) -> str:
    """The page of a passive report; the same arguments give the same page.

    Parameters
    ----------
    verdict : PassiveVerdict
        The verdict.
    data : dict[str, Any]
        The contents of ``report.json``.

    Returns
    -------
    str
        HTML.
    """
    from markupsafe import Markup

    from siren_ext.report.charts import sets_svg

    found = verdict.comparison
    scored = [side[np.isfinite(side)] for side in (found.published, found.unpublished)]
    source = data["published"]["source"]
    weak = verdict.config.evidence == "likeness"
    higher = "nearer to the model's pictures" if weak else "better known to the model"
    return render(
        "passive.html",
        verdict=verdict,
        tone=TONES[verdict.outcome],
        weak=weak,
        evidence=EVIDENCE[verdict.config.evidence],
        controls=CONTROLS,
        share_words=share_words(verdict.share),
        chart=Markup(sets_svg(*scored, higher=higher)),
        compared=compared_words(source) if weak else "",
        completions=completion_groups(data.get("completions", [])),
        sets=[_rows(title, data[title.lower()]) for title in ("Published", "Unpublished")],
        source=pretty(source),
        created=data["created"],
        environment=data["environment"],
    )


def _rows(title: str, table: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "count": len(table["rows"]), "rows": table["rows"][:_ROWS]}
