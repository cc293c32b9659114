"""The tables of the page about published methods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from siren_ext.experiments.pages import table

Row = dict[str, Any]
ALPHAS = (0.05, 0.01)
"""Levels of the tests."""
RULES = ("published", "exact", "calibrated", "welch")
"""Rules of the methods that models are trained for."""
UNTRIGGERED = " without the trigger"
"""What stands behind the name of a model that is asked without the trigger of its captions."""
PROTECTED, TRAINED, CLEAN = "protected", "after training", "clean model"
HEAD = (
    "method",
    "rule",
    "worst innocent set",
    "accused at .05",
    "accused at .01",
    "sets above .05",
    "protected, found at .01",
    "PSNR",
    "bits read",
    "after training, found at .01",
)


def after_steps(kind: str, steps: int) -> str:
    """What pictures of a model are called.

    Parameters
    ----------
    kind : str
        :data:`TRAINED` for one of protected images, :data:`CLEAN` for one of clean images.
    steps : int
        Of its training.
    """
    return f"{kind}, {steps} steps"


def page_table(rows: Iterable[Row]) -> str:
    """The table of the page: a line per method and rule.

    Parameters
    ----------
    rows : Iterable[dict[str, Any]]
        Of :meth:`~siren_ext.experiments.baselines.Study.rows`, or read from the CSV table.

    Returns
    -------
    str
        Markdown, with a newline at the end. Of the innocent sets it names the one that is accused
        most often, and counts those whose interval lies above the level .05.
    """
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row["method"], row["rule"]), []).append(row)
    return table(HEAD, [(*place, *_cells(found)) for place, found in lines.items()])


def _cells(rows: list[Row]) -> list[str]:
    """The cells of one method and rule."""
    by = {(row["pictures"], float(row["alpha"])): row for row in rows}
    asked = [name for name, _ in by if name.startswith((TRAINED, CLEAN))]
    learnt = [name for name, _ in by if name.startswith(TRAINED)]
    learnt = [name for name in learnt if not name.endswith(UNTRIGGERED)]
    sets = [name for name, alpha in by if alpha == ALPHAS[0] and name not in (PROTECTED, *asked)]
    worst = max(sets, key=lambda name: (float(by[name, ALPHAS[0]]["rate"]), name))
    above = sum(float(by[name, ALPHAS[0]]["low"]) > ALPHAS[0] for name in sets)
    cells = [worst, *(_share(by[worst, alpha]) for alpha in ALPHAS), f"{above} of {len(sets)}"]
    for name in (PROTECTED, learnt[-1] if learnt else TRAINED):
        found = by.get((name, ALPHAS[1]))
        steps = f", {name.partition(', ')[2]}" if name.startswith(TRAINED) else ""
        cells.append(f"{_share(found)}{steps}" if found else "not measured")
        if name == PROTECTED and found:
            cells += [
                _number(found["psnr_db"], "{:.1f} dB"),
                _number(found["bit_accuracy"], "{:.3f}"),
            ]
    return cells


def learning_table(rows: Iterable[Row]) -> str:
    """What models of protected images have learnt after some steps: Figure 1 of SIREN's paper.

    Parameters
    ----------
    rows : Iterable[dict[str, Any]]
        As of :func:`page_table`.

    Returns
    -------
    str
        Markdown, with a newline at the end; a line per method and number of steps, for models of
        protected and of clean images, and what each rule finds.
    """
    kept: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row["pictures"].startswith((TRAINED, CLEAN)) and float(row["alpha"]) == ALPHAS[1]:
            kept.setdefault((row["method"], row["pictures"]), {})[row["rule"]] = row
    lines = []
    for place, found in kept.items():
        one = next(iter(found.values()))
        facts = (_number(one["likeness"], "{:.3f}"), _number(one["bit_accuracy"], "{:.3f}"))
        shares = [_share(found[rule]) if rule in found else "none" for rule in RULES]
        lines.append((*place, *facts, *shares))
    head = ("method", "pictures", "likeness", "bits read", *(f"{rule}, .01" for rule in RULES))
    return table(head, lines)


def _share(row: Row) -> str:
    share, low, high = (f"{100 * float(row[name]):.0f}" for name in ("rate", "low", "high"))
    return f"{share} % ({low} to {high})"


def _number(value: Any, form: str) -> str:
    return form.format(float(value)) if value != "" else "none"
