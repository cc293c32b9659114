"""A finished run, to look at before the first click: stored scores, judged when the page starts."""

from __future__ import annotations

import json
from pathlib import Path

from siren_ext.panels import html as cards
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import Verdict, verify

SCORES = Path(__file__).resolve().parent / "finished.json"
"""Scores of images of the two LoRAs in the ComfyUI example ``verify_a_lora``."""


def finished_run() -> tuple[Verdict, ScoreSet, ScoreSet]:
    """Judge the stored scores.

    Returns
    -------
    tuple[Verdict, ScoreSet, ScoreSet]
        The verdict, and the scores of the suspicious model and of the reference.
    """
    stored = json.loads(SCORES.read_text(encoding="utf-8"))
    suspect, reference = (ScoreSet.from_dict(stored[name]) for name in ("suspect", "reference"))
    return verify(suspect, reference, VerifyConfig()), suspect, reference


def finished_cards() -> tuple[str, str]:
    """What the page shows of the finished run.

    Returns
    -------
    tuple[str, str]
        HTML of the verdict and of the charts.
    """
    verdict, suspect, reference = finished_run()
    return cards.verdict_card(verdict), cards.chart_card(verdict, suspect, reference)
