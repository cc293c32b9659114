"""Computes the verdict of a passive report again from the features in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.documents import read_bytes
from siren_ext.errors import ConfigError, EvidenceError, ScoreError
from siren_ext.passive.judge import KeyedEvidence, PassiveVerdict, judge
from siren_ext.passive.judge_config import JudgeConfig
from siren_ext.passive.table import FeatureTable
from siren_ext.passive.wording import PASSIVE_WORDING
from siren_ext.report.integrity import HTML, JSON, MAX_BYTES
from siren_ext.report.page_check import first_difference
from siren_ext.report.passive_report import (
    PASSIVE_FORMAT,
    StoredPassive,
    cleaned,
    render_passive,
)
from siren_ext.report.points import CheckPoint, differences, point_of
from siren_ext.report.write import environment
from siren_ext.schema import convert
from siren_ext.text import printable

MOST_WORK = 3e11
"""Most multiplications, roughly, with which a verdict is computed again; takes minutes."""
_OVERHEAD = 1_000_000  # of one labelling, whatever its size

_FIGURES = ("alpha", "comparison", "columns", "controls", "share", "p_in_words", "settings")
_WORDS = ("headline", "warnings", "does_not_prove", "combined")


def is_passive(data: Any) -> bool:
    """Whether a report is one on images that were never coated.

    Parameters
    ----------
    data : Any
        The contents of ``report.json``.

    Returns
    -------
    bool
        By its format; nothing else is checked.
    """
    return isinstance(data, dict) and data.get("format") == PASSIVE_FORMAT


def passive_points(folder: Path, data: Any) -> list[CheckPoint]:
    """Compare the verdict and the page of a passive report with what its features give.

    Parameters
    ----------
    folder : Path
        Of the report.
    data : Any
        The contents of ``report.json``.

    Returns
    -------
    list[CheckPoint]
        Figures, verdict, page, and the keyed verdict if there is one.
    """
    try:
        verdict = _recomputed(convert(data, StoredPassive, name=JSON, error=EvidenceError))
    except (EvidenceError, ConfigError, ScoreError) as error:
        return [CheckPoint("figures", "differs", f"The figures can't be recomputed: {error}")]
    if verdict is None:
        text = "recomputing so many labellings would take too long"
        return [CheckPoint(name, "not checked", text) for name in ("figures", "verdict", "page")]
    now, stated = verdict.to_dict(), data["verdict"]
    points = [_figures(now, stated), _verdict(now, stated)]
    if all(point.state == "matches" for point in points):
        points.append(_page(folder, data, verdict))
    else:
        points.append(CheckPoint("page", "not checked", "Its figures differ, see above"))
    if data.get("completions"):
        text = "completed pictures are an illustration; only the models can make them again"
        points.append(CheckPoint("pictures", "not checked", text))
    if verdict.keyed is not None:
        text = (
            "check the keyed test's own report, whose report.json must have the SHA-256 "
            f"{verdict.keyed.report_sha256}"
        )
        points.append(CheckPoint("keyed verdict", "not checked", text))
    return points


def passive_hashes(data: Any) -> list[str]:
    """SHA-256 of all images of a passive report.

    Parameters
    ----------
    data : Any
        The contents of ``report.json``.

    Returns
    -------
    list[str]
        Empty if they can't be read, which :func:`passive_points` reports.
    """
    try:
        report = convert(data, StoredPassive, name=JSON, error=EvidenceError)
        tables = [FeatureTable.from_dict(one) for one in (report.published, report.unpublished)]
    except (EvidenceError, ScoreError):
        return []
    return [digest for table in tables for digest in table.image_hashes]


def _recomputed(report: StoredPassive) -> PassiveVerdict | None:
    """The verdict from the features in the report; None if that takes too long."""
    config = JudgeConfig.from_dict(_part(report.verdict, "settings"))
    tables = [
        FeatureTable.from_dict(table, name=f"{JSON}: {name}")
        for name, table in (("published", report.published), ("unpublished", report.unpublished))
    ]
    looks = _looks(report.published_looks), _looks(report.unpublished_looks)
    repeats = max(config.permutations, config.control_permutations, config.splits)
    images, columns = tables[0].values.shape
    if repeats * (_OVERHEAD + config.folds * 2 * images * columns**2) > MOST_WORK:
        return None
    keyed = report.verdict.get("keyed")
    kept = None if keyed is None else _keyed(keyed)
    return cleaned(judge(tables[0], tables[1], looks, config, notes=report.notes, keyed=kept))


def _part(values: dict[str, Any], name: str) -> dict[str, Any]:
    part = values.get(name)
    if not isinstance(part, dict):
        raise EvidenceError(f"{JSON} has no verdict.{name}; use an unchanged report.")
    return part


def _looks(rows: list[list[float]]) -> Any:
    if len({len(row) for row in rows}) != 1:
        raise EvidenceError(f"{JSON} has looks of different lengths; use an unchanged report.")
    return np.array(rows, dtype=np.float64)


def _keyed(values: Any) -> KeyedEvidence:
    return convert(values, KeyedEvidence, name=f"{JSON}: verdict.keyed", error=EvidenceError)


def _figures(now: dict[str, Any], stated: dict[str, Any]) -> CheckPoint:
    wrong = []
    for name in _FIGURES:
        wrong += differences(now[name], stated.get(name), f"verdict.{name}")
    good = "p and every other figure follow from the features in the report"
    return point_of("figures", wrong, good)


def _verdict(now: dict[str, Any], stated: dict[str, Any]) -> CheckPoint:
    names, text = ["outcome"], f"'{now['outcome']}' is what these figures give"
    if stated.get("wording") == PASSIVE_WORDING:
        names += _WORDS
    else:
        text += "; its sentences are those of another version and were not compared"
    wrong = []
    for name in names:
        wrong += differences(now[name], stated.get(name), f"verdict.{name}")
    return point_of("verdict", wrong, text)


def _page(folder: Path, data: dict[str, Any], verdict: PassiveVerdict) -> CheckPoint:
    if not (folder / HTML).is_file():
        return CheckPoint("page", "not checked", f"There is no {HTML}")
    wrote, now = data["environment"].get("siren-ext"), environment().get("siren-ext")
    if data["verdict"].get("wording") != PASSIVE_WORDING or wrote != now:
        text = (
            f"{HTML} was written by another version ({printable(str(wrote)[:40])}); check it with "
            "that version, or rely on report.json alone"
        )
        return CheckPoint("page", "not checked", text)
    try:
        content = read_bytes(folder / HTML, error=EvidenceError, max_bytes=MAX_BYTES, name=HTML)
        page = content.decode("utf-8").replace("\r\n", "\n")
        again = render_passive(verdict, data)
    except (EvidenceError, LookupError, TypeError, ValueError, AttributeError) as error:
        text = f"{HTML} does not follow from {JSON}: {printable(str(error))[:200]}"
        return CheckPoint("page", "differs", text)
    if page == again:
        return CheckPoint("page", "matches", f"{HTML} says what follows from {JSON}")
    return CheckPoint("page", "differs", f"{HTML} {first_difference(page, again)}")
