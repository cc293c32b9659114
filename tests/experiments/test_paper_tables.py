"""The list of the paper's tables: complete, and made of settings that exist."""

from __future__ import annotations

import pytest

from siren_ext.attacks.registry import ATTACKS
from siren_ext.attacks.weights import KNOWN
from siren_ext.experiments.paper_attacks import training_of
from siren_ext.experiments.paper_cells import Cell
from siren_ext.experiments.paper_tables import TABLES
from siren_ext.suspects.base import PromptPlan

CELLS = [(name, cell) for name, table in TABLES.items() for cell in table.cells]


@pytest.mark.parametrize(
    ("name", "cell"), CELLS, ids=lambda one: one.row if isinstance(one, Cell) else one
)
def test_rows_have_settings_that_exist(name: str, cell: Cell) -> None:
    training_of(cell.made.training)
    assert cell.uncoat in ("", "coater", "key", "own", "half")
    PromptPlan.from_dict({"prompts": ["a"], **cell.asked})
    assert cell.made.weights in ("", *KNOWN)
    assert all(step.name in ATTACKS for step in (*cell.made.handling, *cell.after))
    assert 0 < cell.made.share <= 1


def test_every_table_says_what_is_measured_or_why_not() -> None:
    for name, table in TABLES.items():
        assert table.cells or table.elsewhere or table.missing, name
        assert table.reported.endswith("."), name
        rows = [cell.row for cell in table.cells] + [row for row, _ in table.missing]
        assert len(set(rows)) == len(rows), name
    assert len([1 for name, _ in CELLS if name == "table_10"]) == 14  # nothing, and thirteen
