"""Passive reports of features whose differences are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.feature_pairs import looks, tables, verdict

from siren_ext.report.passive_report import write_passive_report
from siren_ext.report.write import ReportPaths


def written(out: Path, n: int = 40, *, signer: Any = None, **values: Any) -> ReportPaths:
    """A report on a verdict of ``support.feature_pairs``."""
    notes = values.get("notes", ())
    made = tables(n, trained=values.get("trained", 0.0), unlike=values.get("unlike", 0.0))
    seen = looks(n, unlike=values.get("dark", 0.0))
    return write_passive_report(verdict(n, **values), *made, seen, out, notes=notes, signer=signer)
