"""How often each p of the product is small for innocent models, and whether plans keep their word.

    python -m siren_ext.experiments.levels --out runs/levels --page docs/figures.md

Innocent and guilty models are simulated, so the truth is known. A stopped run is resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from siren_ext.cli.common import command, say, watched
from siren_ext.cli.options import Quiet
from siren_ext.documents import read_json
from siren_ext.errors import ConfigError
from siren_ext.experiments.pages import table, write_between
from siren_ext.experiments.powers import NEAR, PLANS, Planned
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.sizes import SIMULATIONS, Simulation
from siren_ext.files import write_json
from siren_ext.progress import Progress
from siren_ext.stats.shares import exact_interval

Row = dict[str, Any]

LEVELS = (0.05, 0.01, 0.001)
BLOCK = 1000
"""Runs between two saves."""
_ROUNDING = 1 + 1e-9  # p that equals a level up to rounding counts as reaching it


class Levels:
    """What was simulated so far, in a folder.

    Parameters
    ----------
    out : Path
        The folder.
    runs, power_runs : int
        Innocent models for each p, guilty ones for each plan.
    seed : int
        Seed of everything.
    progress : Progress
        One unit per block or plan.

    Raises
    ------
    ConfigError
        The folder holds a run with other settings, or what is no run.
    """

    def __init__(
        self, out: Path, runs: int, power_runs: int, seed: int, progress: Progress
    ) -> None:
        self.file, self.progress = out / "levels.json", progress
        self.settings = {"runs": runs, "power_runs": power_runs, "seed": seed}
        out.mkdir(parents=True, exist_ok=True)
        self.kept: dict[str, Any] = {"settings": self.settings, "blocks": {}, "plans": {}}
        if self.file.is_file():
            found = read_json(self.file, error=ConfigError)
            if not isinstance(found, dict) or {*found} != {*self.kept}:
                raise ConfigError(f"{self.file} holds no simulations; choose another --out.")
            if found["settings"] != self.settings:
                raise ConfigError(
                    f"{self.file} is of a run with other settings; choose another folder for --out."
                )
            self.kept = found

    def sizes(self, simulations: Sequence[Simulation]) -> list[Row]:
        """Simulate innocent models.

        Parameters
        ----------
        simulations : Sequence[Simulation]
            What to draw.

        Returns
        -------
        list[dict[str, Any]]
            For every p: its name, what was simulated, runs, and for each level the number of runs
            with p at most the level, their share, and its exact 95 % interval.
        """
        rows, runs = [], int(self.settings["runs"])
        for index, one in enumerate(simulations):
            blocks = self.kept["blocks"].setdefault(one.name, {})
            starts = range(0, runs, BLOCK)
            self.progress.stage(one.name, len(starts), len(blocks))
            for start in starts:
                if str(start) not in blocks:
                    rng = np.random.default_rng((self.settings["seed"], 1, index, start))
                    drawn = one.draw(min(BLOCK, runs - start), rng)
                    blocks[str(start)] = {name: _counts(p) for name, p in drawn.items()}
                    write_json(self.file, self.kept)
                    self.progress.advance(1)
            names = dict.fromkeys(name for block in blocks.values() for name in block)
            for name in names:
                counts = np.sum([block[name] for block in blocks.values()], axis=0)
                rows.append(_size(name, one.name, runs, [int(count) for count in counts]))
        return rows

    def powers(self, plans: Sequence[Planned]) -> list[Row]:
        """Make plans and simulate verdicts on guilty models.

        Parameters
        ----------
        plans : Sequence[Planned]
            The plans.

        Returns
        -------
        list[dict[str, Any]]
            For every plan: its name, its settings, runs, number of images, stated and simulated
            power, and their difference.
        """
        runs, rows = int(self.settings["power_runs"]), []
        done = self.kept["plans"]
        names = [f"{one.name} {one.setting}" for one in plans]
        self.progress.stage("Plans", len(plans), sum(name in done for name in names))
        for index, (one, name) in enumerate(zip(plans, names, strict=True)):
            if name not in done:
                rng = np.random.default_rng((self.settings["seed"], 2, index))
                claim = one.check(runs, rng)
                done[name] = [claim.images, claim.stated, claim.simulated]
                write_json(self.file, self.kept)
                self.progress.advance(1)
            images, stated, simulated = done[name]
            row = {"plan": one.name, "settings": one.setting, "runs": runs, "images": images}
            row |= {"stated": stated, "simulated": simulated, "difference": stated - simulated}
            rows.append(row)
        return rows


def _counts(p: Any) -> list[int]:
    return [int((p <= level * _ROUNDING).sum()) for level in LEVELS]


def _size(name: str, drawn: str, runs: int, counts: Sequence[int]) -> Row:
    row: Row = {"p": name, "simulated": drawn, "runs": runs}
    for level, count in zip(LEVELS, counts, strict=True):
        low, high = exact_interval(count, runs)
        row |= {f"count_{level:g}": count, f"share_{level:g}": count / runs}
        row |= {f"low_{level:g}": low, f"high_{level:g}": high}
    return row


def size_table(rows: Sequence[Row]) -> str:
    """The sizes in Markdown.

    Parameters
    ----------
    rows : Sequence[dict[str, Any]]
        Of :meth:`Levels.sizes`.

    Returns
    -------
    str
        A table, with a newline at the end.
    """
    head = ["p", "simulated", *(f"at {level:g}" for level in LEVELS)]
    cells = []
    for row in rows:
        shares = [
            f"{_percent(row[f'share_{level:g}'])} ({_percent(row[f'low_{level:g}'])} to "
            f"{_percent(row[f'high_{level:g}'])})"
            for level in LEVELS
        ]
        cells.append([row["p"], row["simulated"], *shares])
    return table(head, cells)


def power_table(rows: Sequence[Row]) -> str:
    """The plans in Markdown, summed up for each kind.

    Parameters
    ----------
    rows : Sequence[dict[str, Any]]
        Of :meth:`Levels.powers`.

    Returns
    -------
    str
        A table, with a newline at the end.
    """
    cells = []
    for name in dict.fromkeys(row["plan"] for row in rows):
        found = [row["difference"] for row in rows if row["plan"] == name]
        worst = f"{100 * max(found):+.1f}", f"{100 * min(found):+.1f}"
        near = sum(abs(one) <= NEAR for one in found)
        cells.append([f"`{name}`" if name.startswith("--") else name, f"{len(found)}", *worst])
        cells[-1].append(f"{near} of {len(found)}")
    head = "plan", "settings", "stated too much by", "too little by", f"within {100 * NEAR:.0f}"
    return table(head, cells)


def _percent(share: float) -> str:
    """A share with as many digits as 20,000 runs can tell."""
    return f"{100 * share:.2f} %" if share < 0.02 else f"{100 * share:.1f} %"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(app, "levels", example="python -m siren_ext.experiments.levels --out runs/levels")
def levels(
    out: Annotated[Path, typer.Option("--out", help="Folder for CSV tables and finished work.")],
    page: Annotated[
        Path | None, typer.Option("--page", help="Page whose tables are replaced.")
    ] = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="Innocent models for each p.")
    ] = 20_000,
    power_runs: Annotated[
        int, typer.Option("--power-runs", min=1, help="Guilty models for each plan.")
    ] = 8000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Simulate the size of every p and the power of every plan. A stopped run is resumed."""
    with watched(quiet) as progress:
        work = Levels(out, runs, power_runs, seed, progress)
        sizes, powers = work.sizes(SIMULATIONS), work.powers(PLANS)
    for name, rows in (("sizes.csv", sizes), ("powers.csv", powers)):
        write_rows(rows, out / name, digits=5)
        say(str(out / name))
    text = f"{size_table(sizes)}\n{power_table(powers)}"
    say(text)
    if page is not None:
        write_between(page, "levels", text)


if __name__ == "__main__":
    app()
