"""A finished run, to look at before the first click: stored scores, judged when the page starts."""

from __future__ import annotations

import json
from pathlib import Path

from siren_ext.panels import html as cards
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import Verdict, verify
from siren_ext.workflows.demo import DemoConfig, demo_key

SCORES = Path(__file__).resolve().parent / "finished.json"
"""Scores of 50 images, with the captions of ``siren-ext demo``, by the LoRA of coated samples that
``benchmarks/example_loras.py`` made; its key is that of the demo."""


def finished_run() -> tuple[Verdict, ScoreSet]:
    """Judge the stored scores with the key of the demo.

    Returns
    -------
    tuple[Verdict, ScoreSet]
        The verdict, and the scores of the suspicious model.
    """
    suspect = ScoreSet.from_dict(json.loads(SCORES.read_text(encoding="utf-8")))
    demo = DemoConfig()
    bits = 0 if suspect.features is None else suspect.features.shape[1]
    verdict = verify(suspect, None, VerifyConfig(alpha=demo.alpha), key=demo_key(demo.seed, bits))
    return verdict, suspect


def finished_cards() -> tuple[str, str]:
    """What the page shows of the finished run.

    Returns
    -------
    tuple[str, str]
        HTML of the verdict and of the charts.
    """
    verdict, suspect = finished_run()
    return cards.verdict_card(verdict), cards.chart_card(verdict, suspect, None)
