"""Passive reports of features whose differences are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from support.feature_pairs import looks, tables, verdict

from siren_ext.report.passive_report import write_passive_report
from siren_ext.report.write import ReportPaths


def completions() -> list[Any]:
    """A published and an unpublished picture; the suspect completes the first one better."""
    from siren_ext.passive.completion import Completion

    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    return [
        Completion("mine.png", True, *pictures, 24.26, 15.5),
        Completion("unseen.png", False, *pictures[::-1], 16.0, 15.75),
    ]


def written(
    out: Path, n: int = 40, *, signer: Any = None, shown: Any = (), **values: Any
) -> ReportPaths:
    """A report on a verdict of ``support.feature_pairs``."""
    notes = values.get("notes", ())
    made = tables(n, trained=values.get("trained", 0.0), unlike=values.get("unlike", 0.0))
    seen = looks(n, unlike=values.get("dark", 0.0))
    return write_passive_report(
        verdict(n, **values), *made, seen, out, notes=notes, completions=shown, signer=signer
    )
