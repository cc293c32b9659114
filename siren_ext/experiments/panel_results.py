"""The findings of the panel: p of every test on every model, and shares accused at each level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.experiments.panel_roster import (
    GUILTY,
    MISMATCHED,
    REFERENCE,
    Coating,
    PanelConfig,
    Panelist,
)
from siren_ext.experiments.pictures import COLOURS, new_figure, save_figure
from siren_ext.scoring.appearance import shown_alike
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import trace_messages
from siren_ext.stats.ks import ks_less
from siren_ext.stats.low_end import LOW_END
from siren_ext.stats.rank import rank_among
from siren_ext.verdict.pools import pools_contrast

LEVELS = (0.05, 1e-2, 1e-3, 1e-6)
TESTS: dict[str, tuple[str, Coating]] = {
    "p_ks_matched": ("KS, matched clean reference", "unkeyed"),
    "p_verdict": ("verdict against the matched reference", "unkeyed"),
    "p_ks_whole": ("KS of the whole scores, matched reference", "unkeyed"),
    "p_ks_mismatched": ("KS, mismatched reference (the base model)", "unkeyed"),
    "p_rank": ("rank among innocent models", "unkeyed"),
    "p_keyed": ("keyed test", "keyed"),
}
"""By column: the test's name, and the coating that it looks for.

KS is the verdict's test, which looks at the low end of the scores; the test of the whole scores is
the paper's, one-sided. The verdict does not judge models whose images are not shown to look like
the reference's (:mod:`siren_ext.scoring.appearance`); its p is then 1.
"""

_MARKED = 1e-3
_FLOOR = 1e-12
Row = dict[str, Any]
Scores = Mapping[tuple[str, Coating], ScoreSet]


def evaluate_panel(
    models: Sequence[Panelist],
    scores: Scores,
    message: NDArray[np.int8],
    config: PanelConfig,
) -> list[Row]:
    """Run every test on every model that has been scored.

    Parameters
    ----------
    models : Sequence[Panelist]
        the panel.
    scores : Mapping[tuple[str, Coating], ScoreSet]
        by model name and coating that is looked for.
    message : NDArray[np.int8]
        the owner's secret, (k,) of -1 and +1.
    config : PanelConfig
        the panel's settings.

    Returns
    -------
    list[dict[str, Any]]
        a row per model and number of images, with the p of every test.
        ``other_keys_at_<alpha>`` is the share of random other keys that would accuse the model;
        the keyed test is calibrated if it is at most alpha, for guilty and innocent models alike.

    Notes
    -----
    Null hypotheses: for KS, the suspect's scores are distributed like the reference's (false for an
    innocent model of another style); for the rank, the suspect is exchangeable with the innocent
    models of this panel, except those that share its adapter; for the keyed test, the message is
    independent of the images, which holds for every innocent model.
    """
    rng = np.random.default_rng((config.seed, 11))
    others = rng.integers(0, 2, (config.keys, len(message))) * 2 - 1
    rows = []
    for model in models:
        if model.kind == "reference" or (model.name, "unkeyed") not in scores:
            continue
        for size in config.sizes:
            row: Row = {
                "model": model.name,
                "kind": model.kind,
                "coating": model.coating,
                "coated_share": model.share,
                "set": model.data,
                "n": size,
            }
            row |= _unkeyed(model, models, scores, size)
            if (pool := scores.get((model.name, "keyed"))) is not None:
                row |= _keyed(pool, [message, *others], size, config, rng)
            rows.append(row)
    return rows


def _unkeyed(model: Panelist, models: Sequence[Panelist], scores: Scores, size: int) -> Row:
    own = scores[model.name, "unkeyed"].scores[:size]
    row: Row = {"mean_score": float(own.mean())}
    for name, column, share in (
        (REFERENCE, "p_ks_matched", LOW_END),
        (REFERENCE, "p_ks_whole", 1.0),
        (MISMATCHED, "p_ks_mismatched", LOW_END),
    ):
        if (name, "unkeyed") in scores:
            reference = scores[name, "unkeyed"].scores
            row[column] = ks_less(own, reference, share=share).p_value
    if "p_ks_matched" in row:
        apart = pools_contrast(
            _first(scores[model.name, "unkeyed"], size), scores[REFERENCE, "unkeyed"]
        )
        if apart is not None:
            row["looks_apart"] = apart.share
        # The verdict never accuses a model that the test does not accuse, whatever it looks like.
        if apart is not None or row["p_ks_matched"] > max(LEVELS):
            judged = apart is None or shown_alike(apart)
            row["p_verdict"] = row["p_ks_matched"] if judged else 1.0
    source = model.shares_with or model.name
    panel = [
        float(scores[other.name, "unkeyed"].scores[:size].mean())
        for other in models
        if other.kind not in ("reference", GUILTY)
        and (other.name, "unkeyed") in scores
        and source not in (other.name, other.shares_with)
    ]
    if panel:
        row["p_rank"] = rank_among(row["mean_score"], panel).p_value
    return row


def _first(pool: ScoreSet, size: int) -> ScoreSet:
    """The first images of a pool, with their appearance."""
    looks = None if pool.looks is None else pool.looks[:size]
    return ScoreSet(
        pool.scores[:size], pool.names[:size], pool.hashes[:size], pool.coater, looks=looks
    )


def _keyed(
    pool: ScoreSet,
    messages: Sequence[NDArray[Any]],
    size: int,
    config: PanelConfig,
    rng: np.random.Generator,
) -> Row:
    if pool.features is None:
        return {}
    features = pool.features[:size]
    found = trace_messages(features, messages).findings
    own, others = found[0], np.array([finding.p_value for finding in found[1:]])
    return {
        "p_keyed": own.p_value,
        "bit_accuracy": own.bit_accuracy,
        "bits_right": own.bits_right,
        **{f"other_keys_at_{level:g}": float((others <= level).mean()) for level in LEVELS},
    }


def summarise_panel(rows: Sequence[Row]) -> list[Row]:
    """Share of accused models per test, number of images, group of models and level.

    Parameters
    ----------
    rows : Sequence[dict[str, Any]]
        of :func:`evaluate_panel`.

    Returns
    -------
    list[dict[str, Any]]
        groups are ``innocent`` (trained without any coated image), ``other coating`` (with a
        coating that the test does not look for) and the guilty models by share. ``other keys`` is
        the keyed test with unused keys, over all models and keys.
    """
    table: list[Row] = []
    lines = _lines(rows)
    for size in sorted({row["n"] for row in rows}):
        now = [row for row in rows if row["n"] == size]
        for (column, group), by_size in lines.items():
            if size not in by_size:
                continue
            values = np.array(by_size[size])
            table.append(
                {"test": TESTS[column][0], "n": size, "group": group, "models": len(values)}
                | {f"at_{level:g}": float((values <= level).mean()) for level in LEVELS}
            )
        keyed = [row for row in now if "p_keyed" in row]
        if keyed:
            entry: Row = {"test": "keyed test", "n": size, "group": "other keys"}
            entry["models"] = len(keyed)
            for level in LEVELS:
                name = f"at_{level:g}"
                entry[name] = float(np.mean([row[f"other_keys_{name}"] for row in keyed]))
            table.append(entry)
    return table


def _lines(rows: Sequence[Row]) -> dict[tuple[str, str], dict[int, list[float]]]:
    """The values of p by column of :data:`TESTS` and group of models, then number of images."""
    lines: dict[tuple[str, str], dict[int, list[float]]] = {}
    for column, (_, coating) in TESTS.items():
        tested = [row for row in rows if row.get(column) is not None]
        for group in sorted({_group(row, coating) for row in tested}, key=_order):
            by_size = lines.setdefault((column, group), {})
            for row in tested:
                if _group(row, coating) == group:
                    by_size.setdefault(row["n"], []).append(row[column])
    return lines


def _group(row: Row, coating: Coating) -> str:
    if row["kind"] != GUILTY:
        return "innocent"
    if row["coating"] != coating:
        return "other coating"
    return f"guilty, {100 * row['coated_share']:.0f} %"


def _order(group: str) -> tuple[int, float]:
    names = ("innocent", "other coating")
    if group in names:
        return names.index(group), 0.0
    return 2, -float(group.split()[1])


def plot_panel(rows: Sequence[Row], path: Path) -> None:
    """Plot a dot per model at its p, a line per test and group, a frame per number of images.

    The number at the right end of a line is how many of its models are accused at 1e-3.

    Parameters
    ----------
    rows : Sequence[dict[str, Any]]
        of :func:`evaluate_panel`.
    path : Path
        the PNG file.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    sizes = sorted({row["n"] for row in rows})
    lines = _lines(rows)
    # Each test has a gap and a heading above its lines.
    heights: dict[tuple[str, str], float] = {}
    headings: dict[str, float] = {}
    height = 0.0
    for column, group in lines:
        if column not in headings:
            headings[column] = height + 0.9
            height += 1.7
        heights[column, group] = height
        height += 1.0
    figure = new_figure(1.5 + 5.2 * len(sizes), 1.0 + 0.2 * height)
    frames = figure.subplots(1, len(sizes), squeeze=False, sharey=True)[0]
    rng = np.random.default_rng(0)  # spreads the dots of a line, so that none hides another
    for axes, size in zip(frames, sizes, strict=True):
        for (column, group), by_size in lines.items():
            values = np.array(by_size.get(size, []))
            role = "guilty" if group.startswith("guilty") else "innocent"
            colour = COLOURS["reference" if group == "other coating" else role]
            level = heights[column, group]
            spread = level + rng.uniform(-0.25, 0.25, len(values))
            axes.plot(
                np.maximum(values, _FLOOR), spread, "o", color=colour, markersize=4, alpha=0.6
            )
            accused = f"{int((values <= _MARKED).sum())} of {len(values)}"
            axes.text(
                1.01, level, accused, transform=axes.get_yaxis_transform(), va="center", fontsize=7
            )
        for column, level in headings.items():
            name = TESTS[column][0]
            box = {"facecolor": "w", "edgecolor": "none", "pad": 0.5}
            axes.text(1.2, level, name, va="center", fontsize=8, weight="bold", bbox=box, zorder=1)
        axes.axvline(_MARKED, color="k", linestyle="--", linewidth=1, zorder=0)
        axes.set_xscale("log")
        axes.set_xlim(1.5, _FLOOR / 2)
        axes.set_ylim(height, 0)
        axes.set_yticks(list(heights.values()), [group for _, group in heights], fontsize=7)
        axes.set_xlabel(f"p (smaller ones at {_FLOOR:g}); dashed and right: accused at {_MARKED:g}")
        axes.set_title(f"{size} images", fontsize=10)
    save_figure(figure, path)
