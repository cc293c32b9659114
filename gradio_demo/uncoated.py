"""Images that were published before they were coated: a finished test, judged from its features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from siren_ext.errors import EvidenceError
from siren_ext.passive.judge import PassiveVerdict, judge
from siren_ext.passive.judge_config import JudgeConfig
from siren_ext.passive.table import FeatureTable
from siren_ext.passive.wording import CONTROLS, TONES
from siren_ext.report.charts import sets_svg
from siren_ext.report.passive_report import StoredPassive
from siren_ext.schema import convert, to_plain

HERE = Path(__file__).resolve().parent
REPORT = HERE / "uncoated.json"
"""The report that ``benchmarks/passive_example.py`` made: a LoRA of 20 bundled images, and 20
others that it was not trained on."""


def finished_test() -> tuple[PassiveVerdict, list[dict[str, Any]]]:
    """Judge the stored features.

    Returns
    -------
    tuple[PassiveVerdict, list[dict[str, Any]]]
        The verdict, and the completed pictures as the report stores them.
    """
    data = json.loads(REPORT.read_text(encoding="utf-8"))
    report = convert(data, StoredPassive, name=REPORT.name, error=EvidenceError)
    verdict = judge(
        FeatureTable.from_dict(report.published),
        FeatureTable.from_dict(report.unpublished),
        (np.array(report.published_looks), np.array(report.unpublished_looks)),
        JudgeConfig.from_dict(report.verdict["settings"]),
        notes=report.notes,
    )
    return verdict, [to_plain(one) for one in report.completions]


def finished_card() -> str:
    """What the page shows of the finished test.

    Returns
    -------
    str
        HTML: the verdict, its figures, the scores of both sets and the completed pictures.
    """
    verdict, pictures = finished_test()
    found = verdict.comparison
    loader = jinja2.FileSystemLoader(HERE)
    page = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return page.get_template("uncoated.html").render(
        verdict=verdict,
        tone=TONES[verdict.outcome],
        found=found,
        controls=[(CONTROLS[one.name], one.adjusted) for one in verdict.controls],
        chart=Markup(sets_svg(found.published, found.unpublished)),
        pictures=pictures,
    )
