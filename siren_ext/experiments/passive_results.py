"""The findings of the passive study: p of every rule on every model, rates, and single images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.experiments.pictures import COLOURS, new_figure, save_figure
from siren_ext.passive.config import FEATURE_SETS, columns_of
from siren_ext.passive.scorer import Scorer
from siren_ext.passive.set_comparison import compare_sets
from siren_ext.passive.set_config import Mode, SetTestConfig
from siren_ext.passive.table import FeatureTable

Row = dict[str, Any]

SIZES = (20, 50, 100, 200)
SHARES = (0.1, 0.3, 0.5, 1.0)
LEVELS = (0.05, 0.01, 0.001)
PERMUTATIONS, PERMUTATIONS_LEARNT = 9999, 199
_FALSE_ALARMS = 0.01


@dataclasses.dataclass(frozen=True)
class Rule:
    """A way to tell published from unpublished images.

    Attributes
    ----------
    name : str
        For tables.
    columns : tuple[str, ...]
        The features.
    scorer : Scorer
        ``mean`` if training makes all of them smaller, else ``logistic``.
    """

    name: str
    columns: tuple[str, ...]
    scorer: Scorer = "logistic"


def _apart(*families: str) -> tuple[str, ...]:
    return columns_of(families, difference=True)


RULES = (
    Rule("losses, difference", _apart("multiple_loss"), "mean"),
    Rule("training loss, difference", _apart("mean_loss"), "mean"),
    Rule("losses without caption, difference", _apart("caption")[:-1], "mean"),
    Rule("SecMI, difference", _apart("secmi"), "mean"),
    Rule("PIA, difference", _apart("pia"), "mean"),
    Rule("PIAN, difference", _apart("pian"), "mean"),
    Rule("CLiD", _apart("caption")[-1:]),
    Rule("SimA, difference", _apart("sima")),
    Rule("RECOVER, difference", _apart("recover")),
    Rule("CDI, grey box", columns_of(FEATURE_SETS["grey"])),
    Rule("CDI, white box", columns_of(FEATURE_SETS["white"])),
    Rule("CDI, difference", _apart(*FEATURE_SETS["white"])),
    Rule("all, difference", _apart(*FEATURE_SETS["all"])),
)
"""The feature sets that are compared."""

_PUBLISHED = ("CDI, grey box", "CDI, white box")
SINGLE = ("denoising_loss", "secmi", "pia", "pian", "sima")
"""Attacks on single images; smaller for training images."""


@dataclasses.dataclass(frozen=True)
class Case:
    """Published and unpublished images of one test.

    Attributes
    ----------
    n : int
        Images per set.
    share : float
        Share of the published ones that the model was trained on.
    draw : int
        Number of the draw.
    published, unpublished : list[int]
        Rows of the table.
    """

    n: int
    share: float
    draw: int
    published: list[int]
    unpublished: list[int]


def trained_rows(table: FeatureTable) -> NDArray[np.bool_]:
    """Which rows the model was trained on, shape (n,)."""
    trained = set(table.source["study"]["trained"])
    return np.array([digest in trained for digest in table.image_hashes])


def cases(table: FeatureTable, draws: int) -> Iterator[Case]:
    """The tests that a table has enough images for.

    For guilty models the published set has an exact share of training images, filled up with
    others; for innocent models the images that it was not trained on are split at random. The
    unpublished set never has a training image or an image of the published set.

    Parameters
    ----------
    table : FeatureTable
        Of a model of the study.
    draws : int
        Random choices of images per number and share.
    """
    study, used = table.source["study"], trained_rows(table)
    shares = SHARES if study["kind"] == "guilty" else (0.0,)
    for n in SIZES:
        for share in shares:
            wanted = round(share * n)
            if used.sum() < wanted or (~used).sum() < 2 * n - wanted:
                continue
            for draw in range(draws):
                rng = np.random.default_rng((study["place"], n, round(100 * share), draw))
                inside = rng.permutation(np.flatnonzero(used))[:wanted].tolist()
                others = rng.permutation(np.flatnonzero(~used))[: 2 * n - wanted].tolist()
                published = inside + others[: n - wanted]
                yield Case(n, share, draw, published, others[n - wanted :])


def evaluate(name: str, table: FeatureTable, *, draws: int, seed: int) -> list[Row]:
    """Every rule on every case of a model.

    Parameters
    ----------
    name : str
        Of the model.
    table : FeatureTable
        Its features with differences from the base model.
    draws : int
        As in :func:`cases`.
    seed : int
        Of the tests.

    Returns
    -------
    list[dict[str, Any]]
        A row per case, rule and mode, with ``p``.
    """
    study = table.source["study"]
    told = {key: study[key] for key in ("kind", "images", "steps", "rank")}
    told |= {"own_set": study["asked"] == study["taught"]}
    rows = []
    for case in cases(table, draws):
        for rule in RULES:
            chosen = table.columns(rule.columns).values
            for mode in modes(rule, study["kind"]):
                found = compare_sets(
                    chosen[case.published],
                    chosen[case.unpublished],
                    SetTestConfig(
                        mode=mode,
                        scorer=rule.scorer,
                        permutations=(
                            PERMUTATIONS if rule.scorer == "mean" else PERMUTATIONS_LEARNT
                        ),
                        seed=seed,
                    ),
                )
                rows.append(
                    {"model": name, **told, "n": case.n, "share": case.share, "draw": case.draw}
                    | {"rule": rule.name, "mode": mode, "p": found.p_value, "auc": found.auc}
                )
    return rows


def modes(rule: Rule, kind: str) -> tuple[Mode, ...]:
    """The tests that a rule is given.

    Permutations of learnt rules are slow, so their guilty models are tested in mode ``default``
    only, which also reaches smaller p-values. The published tests are for published rules.
    """
    if rule.scorer == "mean":
        return ("permutation", "default")
    known: tuple[Mode, ...] = ("default", "permutation") if kind == "innocent" else ("default",)
    return (*known, "paper", "official") if rule.name in _PUBLISHED else known


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Share of tests with p up to each level, by rule, mode, number and share of images.

    Parameters
    ----------
    rows : Sequence[dict[str, Any]]
        Of :func:`evaluate`.

    Returns
    -------
    list[dict[str, Any]]
        With numbers of models and tests and the median p.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row[part] for part in ("kind", "rule", "mode", "n", "share"))
        groups.setdefault(key, []).append(row)
    table = []
    for key, members in groups.items():
        values = np.array([row["p"] for row in members])
        entry: Row = dict(zip(("kind", "rule", "mode", "n", "share"), key, strict=True))
        entry |= {"models": len({row["model"] for row in members}), "tests": len(members)}
        entry |= {f"at_{level:g}": float((values <= level).mean()) for level in LEVELS}
        table.append(entry | {"median_p": float(np.median(values))})
    return table


def single_images(tables: Mapping[str, FeatureTable]) -> list[Row]:
    """How many training images single-image attacks find at 1 % false alarms.

    Parameters
    ----------
    tables : Mapping[str, FeatureTable]
        By model; innocent ones are left out.

    Returns
    -------
    list[dict[str, Any]]
        A row per attack: mean and largest TPR over the models. The threshold of each model is the
        first percentile of the images that it was not trained on.
    """
    rows = []
    for prefix in ("", "diff:"):
        for attack in SINGLE:
            rates = []
            for table in tables.values():
                used = trained_rows(table)
                if table.source["study"]["kind"] != "guilty" or (~used).sum() < 1 / _FALSE_ALARMS:
                    continue
                values = table.columns([prefix + attack]).values[:, 0]
                limit = np.quantile(values[~used], _FALSE_ALARMS, method="lower")
                rates.append(float((values[used] < limit).mean()))
            if rates:
                rows.append(
                    {"attack": prefix + attack, "models": len(rates)}
                    | {"mean_tpr": float(np.mean(rates)), "largest_tpr": max(rates)}
                )
    return rows


def plot_power(summary: Sequence[Row], path: Path) -> None:
    """Plot the share of guilty models found at p <= 0.001 by number of images, a frame per share.

    Parameters
    ----------
    summary : Sequence[dict[str, Any]]
        Of :func:`summarise`.
    path : Path
        The PNG file.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    figure = new_figure(11, 4)
    frames = figure.subplots(1, len(SHARES), sharey=True)
    shown = (
        ("losses, difference", "permutation"),
        ("losses, difference", "default"),
        ("CDI, difference", "default"),
        ("CDI, white box", "default"),
        ("CDI, grey box", "default"),
    )
    colours = (COLOURS["guilty"], "#e6ab02", COLOURS["innocent"], COLOURS["reference"], "#000000")
    for axes, share in zip(frames, SHARES, strict=True):
        for (rule, mode), colour in zip(shown, colours, strict=True):
            line = sorted(
                (row["n"], row["at_0.001"])
                for row in summary
                if (row["rule"], row["mode"], row["share"]) == (rule, mode, share)
            )
            axes.plot(
                [n for n, _ in line],
                [rate for _, rate in line],
                "o-",
                color=colour,
                label=f"{rule}, {mode}",
            )
        axes.set_xscale("log")
        axes.set_xticks(SIZES, [str(n) for n in SIZES])
        axes.minorticks_off()
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("images per set")
        axes.set_title(f"{100 * share:.0f} % of P used", fontsize=10)
    frames[0].set_ylabel("guilty models with p <= 0.001")
    frames[0].legend(fontsize=7, frameon=False)
    save_figure(figure, path)
