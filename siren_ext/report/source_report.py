"""Writes a verdict about a source model: one HTML page, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from siren_ext.attribution.key_queries import WORDS, Answers, nearest_of
from siren_ext.attribution.key_samples import Selection
from siren_ext.attribution.source_verdict import SourceVerdict, key_rows
from siren_ext.attribution.source_wording import DOES_NOT_PROVE, NULL, QUESTION, SHADOW_NULL
from siren_ext.files import atomic, write_json
from siren_ext.report.pictures import preview
from siren_ext.report.redaction import clean, pretty
from siren_ext.report.template import render
from siren_ext.report.write import environment

SOURCE_FORMAT = "siren_ext.source_attribution"
SOURCE_HTML, SOURCE_JSON = "source.html", "source.json"

_SHOWN = 6  # key samples with the suspicious model's answers
_ROWS = 300
_SIDE = 160


@dataclass(frozen=True)
class SourcePaths:
    """The files of a report.

    Attributes
    ----------
    html, json : Path
        The page, and the same as JSON.
    """

    html: Path
    json: Path


def write_source(
    verdict: SourceVerdict,
    selection: Selection,
    answers: Answers,
    facts: Mapping[str, Any],
    out: Path,
) -> SourcePaths:
    """Write ``source.html`` and ``source.json``.

    The page needs no network, script or other file. Folders of this machine and passwords are
    removed. It shows key images: whoever has them can train a model that hides them.

    Parameters
    ----------
    verdict : SourceVerdict
        The verdict.
    selection : Selection
        The key samples.
    answers : Answers
        Of the suspicious model.
    facts : mapping of str to Any
        How it was asked: ``query``, ``resolution``, ``requests``, the records of the models and the
        settings.
    out : Path
        Folder for the files.

    Returns
    -------
    SourcePaths
        The written files.

    Raises
    ------
    OSError
        The folder can't be written.
    """
    rows = key_rows(selection.keys, verdict.distances, verdict.threshold.delta)
    found = verdict.to_dict()
    models = found.pop("models")
    data = {
        "format": SOURCE_FORMAT,
        "version": 1,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "environment": environment(),
        **clean(found),
        # names of models are no names of secrets: "private.safetensors" has counts like the others
        "models": {clean(name): dict(counts) for name, counts in models.items()},
        "selection": selection.to_dict(),
        **clean(dict(facts)),
        "samples": clean(rows),  # not "keys", which would be taken for secrets
        "null_hypothesis": NULL,
        "does_not_prove": list(DOES_NOT_PROVE),
    }
    out = Path(out)
    write_json(out / SOURCE_JSON, data)
    page = render(
        "source.html",
        question=QUESTION,
        verdict=verdict,
        data=data,
        asked=WORDS[data["query"]],
        shadow_null=SHADOW_NULL,
        gallery=_gallery(selection, answers, rows),
        rows=data["samples"][:_ROWS],
        models=pretty({name: data[name] for name in ("source", "suspect", "base")}),
    )
    with atomic(out / SOURCE_HTML) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return SourcePaths(out / SOURCE_HTML, out / SOURCE_JSON)


def _gallery(
    selection: Selection, answers: Answers, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Key images beside the suspicious model's nearest answers, nearest first."""
    near = nearest_of(answers.distances)
    order = sorted(
        (row for row in range(len(rows)) if answers.files[row]), key=lambda row: near[row]
    )
    return [
        {
            **rows[row],
            "key": preview(selection.keys[row].path, _SIDE),
            "answer": preview(_nearest_file(answers, row), _SIDE),
        }
        for row in order[:_SHOWN]
    ]


def _nearest_file(answers: Answers, row: int) -> Path:
    """The nearest answer to a key sample that has one."""
    known = [value for value in answers.distances[row] if value == value]  # without NaN
    return answers.files[row][known.index(min(known))]
