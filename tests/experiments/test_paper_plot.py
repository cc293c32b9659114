from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from siren_ext.experiments import __main__ as program
from siren_ext.experiments.paper_plot import plot_table, plotted
from siren_ext.experiments.rows import write_rows


def row(name: str, role: str = "guilty", **more: Any) -> dict[str, Any]:
    known = {"table": "table_11", "row": name, "set": "icons", "role": role, "model": 0}
    rates = {"tpr_0.01": 0.0, "tpr_0.0001": 0.0, "p_few": 0.5, "p_bits": 0.5}
    return known | rates | {"p_pictures": 1e-4, "p_file": 1e-5} | more


ROWS = [
    row("15 steps"),
    row("35 steps", p_file="", p_pictures="1e-30"),
    row("35 steps", "innocent"),
]


def test_tables_of_two_rows_are_plotted() -> None:
    assert plotted(ROWS) == ["table_11"]
    assert plotted(ROWS[:1]) == []
    assert plotted([ROWS[0], row("35 steps", "innocent")]) == []
    assert plotted([ROWS[0], row("35 steps", p_pictures="")]) == []


def test_a_plot_grows_with_the_rows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_table(ROWS, "table_11", tmp_path / "a.png")
    plot_table([*ROWS, row("guidance 5"), row("the class")], "table_11", tmp_path / "b.png")
    sizes = [Image.open(tmp_path / f"{name}.png").size for name in "ab"]
    assert sizes[1][1] > sizes[0][1]
    # every kind of model has its colour: orange and blue of guilty and innocent ones
    colours = {
        colour for _, colour in Image.open(tmp_path / "a.png").convert("RGB").getcolors(10**6)
    }
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)} <= colours


def test_the_command_writes_plots_beside_the_page(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_rows(ROWS, tmp_path / "table.csv")
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    program._write_page(page, tmp_path / "table.csv")
    assert "(results/experiments_table_11.png)" in page.read_text()
    assert (tmp_path / "docs" / "results" / "experiments_table_11.png").is_file()
