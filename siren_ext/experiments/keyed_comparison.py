"""Keyed against unkeyed coating: detection rate at each accepted risk, and PSNR.

Reads the folders of finished detection studies, one per coater and set, run with equal settings
(the key of a study with a keyed coater follows from the study's seed). Studies of both kinds give
the paper's KS test against the clean reference; keyed ones also give the keyed test, which needs no
reference. Both tests use many draws of 30 mimicries. For the keyed test the table also has p on all
images: the largest of a guilty model, and the smallest of an innocent one. Files: OUT (a CSV table,
a row per study and test) and a plot beside it.

Example::

    python -m siren_ext.experiments.keyed_comparison runs/*_unkeyed runs/*_keyed --out keyed.csv
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from siren_ext.cli.common import command, say
from siren_ext.coater.config import CoaterConfig
from siren_ext.errors import ConfigError, ScoreError
from siren_ext.experiments.pictures import COLOURS, new_figure, save_figure
from siren_ext.experiments.result import Protocol, read_result
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.study import experiment_key
from siren_ext.experiments.tables import percent
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import contributions
from siren_ext.stats.keyed_bounds import message_tail
from siren_ext.stats.resample import resampled_ks

LEVELS = (1e-2, 1e-3, 1e-4, 1e-6, 1e-9)
KS, KEYED = "KS against the reference", "keyed, no reference"
# A draw of the keyed test takes about 1 ms; this many give the share with an error below 0.5 %.
_KEYED_REPEATS = 2000

Row = dict[str, Any]
Shares = dict[str, list[NDArray[np.float64]]]


def keyed_rejections(
    features: NDArray[np.float64],
    message: NDArray[Any],
    *,
    size: int,
    repeats: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Compute p of the keyed test on many draws of images.

    Parameters
    ----------
    features : NDArray[np.float64]
        (n, k), of all images.
    message : NDArray
        (k,) of -1 and +1.
    size : int
        images of a draw, without replacement.
    repeats : int
        draws.
    rng : np.random.Generator
        draws the images.

    Returns
    -------
    NDArray[np.float64]
        (repeats,): an upper bound of the share of all messages that reach the statistic
        (``message_tail``), which unlike a rank among decoys can fall below any level. The null
        hypothesis is that of :mod:`siren_ext.stats.keyed`.
    """
    evidence = contributions(features)
    found = np.empty(repeats)
    for repeat in range(repeats):
        summed = evidence[rng.choice(len(evidence), size, replace=False)].sum(axis=0)
        found[repeat] = message_tail(summed, float(summed @ message))
    return found


def read_study(folder: Path, *, keyed_repeats: int = _KEYED_REPEATS) -> list[Row]:
    """Compute the detection rates of a study.

    Parameters
    ----------
    folder : Path
        of a finished detection study.
    keyed_repeats : int
        draws of the keyed test.

    Returns
    -------
    list[dict[str, Any]]
        a row per test with the shares of guilty and innocent models accused, over all seeds.

    Raises
    ------
    ScoreError
        the folder holds no finished detection study.
    """
    path = folder / "detection.json"
    result = read_result(path)
    try:
        bits = CoaterConfig.from_dict(result.coater_settings).message_bits
    except ConfigError as error:
        raise ScoreError(f"{path}: coater_settings: {error}") from error
    protocol = result.protocol
    head: Row = {
        "set": result.name,
        "coater": "keyed" if bits else "unkeyed",
        "bits": bits,
        "psnr_db": result.files.psnr_db.mean,
        "local_de00_p99": result.files.local_de00_p99.mean,
        "images": protocol.size,
    }
    roles = {row.model: row.role for row in result.models}
    if {*roles.values()} != {"guilty", "innocent", "reference"}:
        raise ScoreError(
            f"{path} has models of the kinds {', '.join(sorted(roles.values())) or 'none'}; "
            "expected guilty, innocent and reference. Run the study again."
        )
    pools = {name: ScoreSet.load(folder / "scores" / f"{name}.json") for name in roles}
    if bits and any(pool.features is None for pool in pools.values()):
        raise ScoreError(f"The scores in {folder} hold no features; run the study again.")
    rng = np.random.default_rng((protocol.seed, 13))
    rows = [_ks_row(head, roles, pools, protocol, rng)]
    if bits:
        rows.append(_keyed_row(head, roles, pools, protocol, keyed_repeats, rng))
    return rows


def _ks_row(
    head: Row,
    roles: Mapping[str, str],
    pools: Mapping[str, ScoreSet],
    protocol: Protocol,
    rng: np.random.Generator,
) -> Row:
    """The paper's test of every model against the reference."""
    reference = next(pools[name] for name, role in roles.items() if role == "reference")
    shares: Shares = {"guilty": [], "innocent": []}
    for name, role in roles.items():
        if role != "reference":
            found = resampled_ks(
                pools[name].scores,
                reference.scores,
                size=protocol.size,
                repeats=protocol.repeats,
                reference_size=protocol.against,
                share=protocol.low_end,
                rng=rng,
            )
            shares[role].append(np.asarray(found.tpr(LEVELS)))
    return {**head, "test": KS, "seeds": len(shares["guilty"]), **_columns(shares)}


def _keyed_row(
    head: Row,
    roles: Mapping[str, str],
    pools: Mapping[str, ScoreSet],
    protocol: Protocol,
    repeats: int,
    rng: np.random.Generator,
) -> Row:
    """The keyed test of every model, on draws and on all images."""
    message = experiment_key(protocol.seed, head["bits"]).signs()
    shares: Shares = {"guilty": [], "innocent": []}
    whole: dict[str, list[float]] = {"guilty": [], "innocent": []}
    for name, role in roles.items():
        features = pools[name].features
        if role == "reference" or features is None:
            continue
        summed = contributions(features).sum(axis=0)
        whole[role].append(message_tail(summed, float(summed @ message)))
        size = protocol.size
        p = keyed_rejections(features, message, size=size, repeats=repeats, rng=rng)
        shares[role].append((p[:, None] <= np.array(LEVELS)).mean(axis=0))
    extremes = {
        "guilty_largest_p_all": max(whole["guilty"]),
        "innocent_smallest_p_all": min(whole["innocent"]),
    }
    seeds = len(shares["guilty"])
    return {**head, "test": KEYED, "seeds": seeds, **extremes, **_columns(shares)}


def _columns(shares: Shares) -> Row:
    """Mean share per role and level, and the lowest of the guilty models."""
    row: Row = {}
    for role, table in shares.items():
        for place, level in enumerate(LEVELS):
            values = [float(one[place]) for one in table]
            row[f"{role}_at_{level:g}"] = float(np.mean(values))
            if role == "guilty":
                row[f"lowest_at_{level:g}"] = min(values)
    return row


def plot_comparison(rows: Sequence[Row], path: Path) -> None:
    """Plot the share of accused models against the accepted risk, a frame per set.

    Parameters
    ----------
    rows : Sequence[dict[str, Any]]
        of :func:`read_study`.
    path : Path
        the PNG file.
    """
    sets = list(dict.fromkeys(row["set"] for row in rows))
    figure = new_figure(4.5 * len(sets), 4.8)
    frames = figure.subplots(1, len(sets), squeeze=False, sharey=True)[0]
    for axes, name in zip(frames, sets, strict=True):
        for row in (row for row in rows if row["set"] == name):
            style = {"marker": "o" if row["test"] == KEYED else "s"}
            style["linestyle"] = "-" if row["coater"] == "keyed" else "--"
            for role in ("guilty", "innocent"):
                share = [100 * row[f"{role}_at_{level:g}"] for level in LEVELS]
                noise = row["psnr_db"]
                label = f"{row['coater']} ({'' if noise is None else f'{noise:.1f} dB'}), "
                label += f"{row['test']}: {role}"
                axes.plot(LEVELS, share, color=COLOURS[role], label=label, **style)
        axes.set_xscale("log")
        axes.invert_xaxis()
        axes.set_ylim(-2, 102)
        axes.set_title(f"{name}, {rows[0]['images']} images")
        axes.set_xlabel("accepted risk alpha")
        axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.15))
    frames[0].set_ylabel("accused (%)")
    save_figure(figure, path)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "keyed_comparison",
    example="python -m siren_ext.experiments.keyed_comparison runs/*_unkeyed runs/*_keyed "
    "--out keyed.csv",
)
def keyed_comparison(
    folders: Annotated[list[Path], typer.Argument(help="Folders of finished detection studies.")],
    out: Annotated[Path, typer.Option("--out", help="CSV table; a plot (.png) goes beside it.")],
) -> None:
    """Compare keyed and unkeyed coaters by detection studies that ran with equal settings."""
    rows = [row for folder in folders for row in read_study(folder)]
    write_rows(rows, out)
    plot_comparison(rows, out.with_suffix(".png"))
    for row in rows:
        caught = ", ".join(f"{percent(row[f'guilty_at_{a:g}'])} at {a:g}" for a in LEVELS)
        noise = "" if row["psnr_db"] is None else f" at {row['psnr_db']:.1f} dB"
        say(f"{row['set']}, {row['coater']}{noise}, {row['test']}: caught {caught}")
        if row["test"] == KEYED:
            guilty, innocent = row["guilty_largest_p_all"], row["innocent_smallest_p_all"]
            say(f"  on all images: guilty p <= {guilty:.2g}, innocent p >= {innocent:.2g}")
    say(f"{out}\n{out.with_suffix('.png')}")


if __name__ == "__main__":
    app()
