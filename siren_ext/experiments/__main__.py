"""Measures the tables and figures of SIREN's paper by name: ``python -m siren_ext.experiments``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from siren_ext.baselines.similarity import Embed
from siren_ext.cli.common import command, say, watched
from siren_ext.cli.options import ClassWord
from siren_ext.errors import ConfigError, MissingExtraError
from siren_ext.experiments.layout import open_log
from siren_ext.experiments.options import StudyCoater, StudyImages
from siren_ext.experiments.paper_ablation import QUICK_STEPS, STEPS, ablation_rows
from siren_ext.experiments.paper_attacks import QUICK_UNCOATING, UNCOATING
from siren_ext.experiments.paper_cells import QUICK, Cell, PaperConfig
from siren_ext.experiments.paper_page import TITLE, check_columns, check_table, merged, page_text
from siren_ext.experiments.paper_plot import plot_table, plotted
from siren_ext.experiments.paper_quality import quality_rows
from siren_ext.experiments.paper_study import PaperStudy
from siren_ext.experiments.paper_tables import TABLES
from siren_ext.experiments.picture_quality import quality_networks
from siren_ext.experiments.rows import read_rows, update_rows
from siren_ext.experiments.study import open_set
from siren_ext.files import atomic

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _list() -> None:
    for name, table in TABLES.items():
        say(f"{name}: {table.title}")
        for cell in table.cells:
            say(f"    {cell.row}")


def _cells(name: str, rows: Sequence[str]) -> list[tuple[str, Cell]]:
    """The rows that were asked for, each with the name of its table."""
    if name != "all" and name not in TABLES:
        raise ConfigError(f"There is no table {name!r}; expected all, {', '.join(TABLES)}.")
    wanted = list(TABLES) if name == "all" else [name]
    cells = [(one, cell) for one in wanted for cell in TABLES[one].cells]
    if not rows:
        return cells
    known = [cell.row for _, cell in cells]
    if unknown := sorted(set(rows) - set(known)):
        raise ConfigError(f"There is no row {unknown[0]!r}; expected one of: {'; '.join(known)}.")
    return [(one, cell) for one, cell in cells if cell.row in rows]


def _write_page(page: Path, table: Path) -> None:
    """Write the page from a table that was measured before."""
    if not table.is_file():
        raise ConfigError(f"There is no table {table} yet; name a table to measure, or --csv.")
    rows = read_rows(table)
    check_columns(rows, table)
    pictures = {}
    try:
        for name in plotted(rows):
            path = page.parent / "results" / f"experiments_{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            plot_table(rows, name, path)
            pictures[name] = f"results/{path.name}"
    except MissingExtraError as error:
        say(f"The page has no plots: {error}")
    with atomic(page) as temporary:
        temporary.write_text(page_text(rows, pictures), encoding="utf-8")


def _check_given(name: str, row: Sequence[str] | None, page: Path | None) -> None:
    """Refuse rows of no table and, before hours of work, to replace another page."""
    if row and not name:
        raise ConfigError("--row was given without a table; name the table as well.")
    if page is None or not page.is_file() or not page.stat().st_size:
        return
    with page.open(encoding="utf-8", errors="replace") as stream:
        if stream.readline().strip() != TITLE:
            raise ConfigError(
                f"{page} is another page; it is not replaced. Give another name with --page."
            )


def _networks(folders: Sequence[str], *, needed: bool) -> Mapping[str, Embed]:
    """The networks that compare pictures, before hours of training; none if a package is missing.

    Only tables of quality need them.
    """
    try:
        return quality_networks(folders)
    except MissingExtraError as error:
        if needed or folders:
            raise
        say(f"How similar pictures are is left out: {error}")
        return {}


def _config(quick: bool, seeds: int, innocents: int, first: int) -> PaperConfig:
    """How much is made; 0 models are as many as usual."""
    given = {"seeds": seeds, "innocents": innocents, "first": first}
    chosen = {name: count for name, count in given.items() if count}
    config = PaperConfig.from_dict((QUICK if quick else PaperConfig()).to_dict() | chosen)
    if not any(map(config.numbers, ("guilty", "innocent"))):
        raise ConfigError(
            f"--first is {first}, and numbers end before {max(config.seeds, config.innocents)}, "
            "so no model is left. Ask for more with --seeds or --innocents."
        )
    return config


def _measure(study: PaperStudy, name: str, cell: Cell, table: Path, steps: int) -> None:
    """Measure a row, put it into the table at once, and show it."""
    if cell.needs_others and study.others is None:
        say(f"{name}, {cell.row}, is left out: it needs --others.")
        return
    if cell.fitted is not None:
        rows = ablation_rows(study, name, cell, steps)
    else:
        rows = quality_rows(study, name, cell) if cell.quality else study.rows(name, cell)
    update_rows(table, partial(merged, new=rows))
    for found in rows:
        say(", ".join(f"{key} {value}" for key, value in found.items()))


@command(
    app,
    "experiments",
    example="python -m siren_ext.experiments table_10 --class-word icon --out runs/paper --quick",
)
def experiments(
    name: Annotated[str, typer.Argument(help="A table or figure, or all.")] = "",
    out: Annotated[
        Path, typer.Option("--out", help="Folder of models, pictures and scores.")
    ] = Path("runs/paper"),
    data: StudyImages = "samples",
    coater: StudyCoater = "keyed",
    class_word: ClassWord = "icon",
    base: Annotated[str, typer.Option("--base", help="Base model.")] = "pocket",
    others: Annotated[
        str, typer.Option("--others", help="Other people's images, for attackers who train.")
    ] = "",
    other_coater: Annotated[
        str, typer.Option("--other-coater", help="A coater that uncoating networks are made for.")
    ] = "samples",
    row: Annotated[
        list[str] | None, typer.Option("--row", help="Only this row; may be repeated.")
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option("--network", help="dino=FOLDER or clip=FOLDER, for pictures' quality."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Minutes for a row, rough.")] = False,
    seeds: Annotated[int, typer.Option("--seeds", min=0, help="Guilty models of a row.")] = 0,
    innocents: Annotated[
        int, typer.Option("--innocents", min=0, help="Innocent models of a row.")
    ] = 0,
    first: Annotated[
        int,
        typer.Option(
            "--first",
            min=0,
            help="Leave out models before this number (from 0), which were measured elsewhere.",
        ),
    ] = 0,
    csv: Annotated[Path | None, typer.Option("--csv", help="Table; by default in OUT.")] = None,
    page: Annotated[Path | None, typer.Option("--page", help="Page to write.")] = None,
    every: Annotated[bool, typer.Option("--list", help="Name all tables and rows.")] = False,
) -> None:
    """Measure a table of SIREN's paper on models of this machine.

    Everything finished is kept in OUT, also between tables; the same call resumes a stopped one.
    With --page and without a name, the page is written from the table as it is.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.devices import pick_device

    table = csv or out / "experiments.csv"
    _check_given(name, row, page)
    if every or not name:
        if page is not None and not every:
            _write_page(page, table)
        else:
            _list()
        return
    cells = _cells(name, row or [])
    config = _config(quick, seeds, innocents, first)
    loaded = Coater.load(coater_path(coater), device=pick_device("auto"))
    if not loaded.keyed:
        raise ConfigError(f"{coater} is not keyed; the tables need a keyed coater, such as keyed.")
    networks = _networks(network or (), needed=any(one.quality for _, one in cells))
    settings = config.to_dict() | {"seeds": None}  # any number
    del settings["innocents"], settings["first"]
    open_log(out, {"study": "paper", "settings": settings})
    with watched(False) as progress:
        strangers = open_set(others) if others else None
        study = PaperStudy(
            open_set(data), loaded, class_word, base, out, config, progress, strangers,
            other_coater=Coater.load(coater_path(other_coater), device=pick_device("auto")),
            uncoating=QUICK_UNCOATING if quick else UNCOATING, networks=networks,
        )  # fmt: skip
        check_table(read_rows(table), table, study.name, study.data.name)
        for one, cell in cells:
            _measure(study, one, cell, table, QUICK_STEPS if quick else STEPS)
    if page is not None:
        _write_page(page, table)
    nothing = "None of these rows is measured by this command; the page says where, or why not."
    say(str(table) if table.is_file() else nothing)


if __name__ == "__main__":
    app()
