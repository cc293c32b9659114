"""The tables of the passive study as Markdown: false alarms, power, and single images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from siren_ext.experiments.pages import table
from siren_ext.experiments.passive_results import SHARES, SIZES, Row
from siren_ext.stats.shares import exact_interval

_TARGET = 0.001
_DEFAULT = ("losses, difference", "permutation")
_SHOWN = 50


def markdown(rows: Sequence[Row], single: Sequence[Row], sets: Mapping[str, str]) -> list[str]:
    """All tables.

    Parameters
    ----------
    rows : Sequence[dict[str, Any]]
        Of :func:`siren_ext.experiments.passive_results.evaluate`, over all models.
    single : Sequence[dict[str, Any]]
        Of :func:`siren_ext.experiments.passive_results.single_images`.
    sets : Mapping[str, str]
        Name of the set that each model is asked about.

    Returns
    -------
    list[str]
        Lines. Shares are those of models, each tested once (the first draw), with exact 95 %
        intervals.
    """
    first = [row for row in rows if row["draw"] == 0]
    tables = (_alarms(first), _power(first), _by_training(first, sets), _single(first, single))
    return [line for part in tables for line in (*part, "")][:-1]


def _alarms(rows: Sequence[Row]) -> list[str]:
    """Innocent models with p up to .05 and .01, by rule, mode and number of images."""
    innocent = [row for row in rows if row["kind"] == "innocent"]
    head = ["rule, test", *(f"n = {n}" for n in SIZES)]
    lines = []
    for rule, mode in dict.fromkeys((row["rule"], row["mode"]) for row in innocent):
        cells = []
        for n in SIZES:
            values = _values(innocent, rule, mode, n)
            shares = [_share(values, level) for level in (0.05, 0.01)]
            cells.append(f"{shares[0]}; {shares[1]}" if values else "")
        lines.append([f"{rule}, {mode}", *cells])
    return table(head, lines).splitlines()


def _power(rows: Sequence[Row]) -> list[str]:
    """Guilty models with p up to .001, by rule, share that was used and number of images."""
    guilty = [row for row in rows if row["kind"] == "guilty"]
    sizes = [f"{100 * share:.0f} %, n = {n}" for share in SHARES for n in SIZES]
    head = ["rule, test", *sizes]
    lines = []
    for rule, mode in dict.fromkeys((row["rule"], row["mode"]) for row in guilty):
        if mode not in ("default", "permutation"):
            continue
        cells = []
        for share in SHARES:
            for n in SIZES:
                values = _values(guilty, rule, mode, n, share)
                found = sum(value <= _TARGET for value in values)
                cells.append(f"{found} of {len(values)}" if values else "")
        lines.append([f"{rule}, {mode}", *cells])
    return table(head, lines).splitlines()


def _by_training(rows: Sequence[Row], sets: Mapping[str, str]) -> list[str]:
    """p of each guilty model, by set and training; all of the published images used."""
    chosen = [
        row
        for row in rows
        if (row["rule"], row["mode"], row["n"], row["share"]) == (*_DEFAULT, _SHOWN, 1.0)
    ]
    steps = sorted({row["steps"] for row in chosen})
    head = [f"set, training images (n = {_SHOWN})", *(f"{count} steps" for count in steps)]
    lines = []
    for name, images in sorted({(sets[row["model"]], row["images"]) for row in chosen}):
        cells = [
            ", ".join(
                f"{row['p']:.2g}"
                for row in chosen
                if (sets[row["model"]], row["images"], row["steps"]) == (name, images, count)
            )
            for count in steps
        ]
        lines.append([f"{name}, {images}", *cells])
    return table(head, lines).splitlines()


def _single(rows: Sequence[Row], single: Sequence[Row]) -> list[str]:
    """Attacks on single images beside the test of a set."""
    head = ["attack", "training images found at 1 % false alarms", "best model"]
    attacks = [
        [
            row["attack"].replace("diff:", "suspect minus base: "),
            f"{100 * row['mean_tpr']:.1f} %",
            f"{100 * row['largest_tpr']:.1f} %",
        ]
        for row in single
    ]
    lines = [*table(head, attacks).splitlines(), ""]
    for n in SIZES:
        values = _values(rows, *_DEFAULT, n, 1.0)
        wrong = _values(rows, *_DEFAULT, n, 0.0)
        if values and wrong:
            lines.append(
                f"Set test, n = {n}, p up to .01: {_share(values, 0.01)} of the guilty models, "
                f"{_share(wrong, 0.01)} of the innocent ones."
            )
    return lines


def _values(
    rows: Sequence[Row], rule: str, mode: str, n: int, share: float | None = None
) -> list[float]:
    return [
        row["p"]
        for row in rows
        if (row["rule"], row["mode"], row["n"]) == (rule, mode, n) and share in (None, row["share"])
    ]


def _share(values: Sequence[float], level: float) -> str:
    """Share of values up to a level, in per cent with its interval."""
    if not values:
        return ""
    found = sum(value <= level for value in values)
    low, high = exact_interval(found, len(values))
    return f"{100 * found / len(values):.0f} % ({100 * low:.0f} to {100 * high:.0f})"
