"""The file of a model, asked without making pictures: a finished measurement, tested at start."""

from __future__ import annotations

import json
from pathlib import Path

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.panels import html as cards
from siren_ext.preference.tint import Likeness, likeness
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import Verdict, verify
from siren_ext.workflows.demo import DemoConfig, demo_key

MEASUREMENT = Path(__file__).resolve().parent / "asked.json"
"""What ``benchmarks/file_example.py`` measured: the LoRA of coated samples that is part of the
ComfyUI nodes, on the originals; its key is that of the demo."""


def asked_file() -> tuple[Verdict, ScoreSet, Likeness | None]:
    """Test the stored measurement with the key of the demo.

    Returns
    -------
    tuple[Verdict, ScoreSet, Likeness | None]
        The verdict, the measurement, and the learnt tint beside the expected one.
    """
    measured = ScoreSet.from_dict(json.loads(MEASUREMENT.read_text(encoding="utf-8")))
    coater, demo = Coater.load(coater_path("keyed")), DemoConfig()
    key = demo_key(demo.seed, coater.config.message_bits)
    verdict = verify(measured, None, VerifyConfig(alpha=demo.alpha), key=key, coater=coater)
    return verdict, measured, likeness(measured, coater, key)


def asked_cards() -> tuple[str, str]:
    """What the page shows of the test.

    Returns
    -------
    tuple[str, str]
        HTML of the verdict, and of the chart and both tints.
    """
    verdict, measured, alike = asked_file()
    charts = cards.chart_card(verdict, measured, None) + cards.tint_card(alike)
    return cards.verdict_card(verdict, preference=True), charts
