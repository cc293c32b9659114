"""The tables of changes of pictures: the same thirteen for both tests."""

from __future__ import annotations

from siren_ext.experiments.paper_cells import Fitted
from siren_ext.experiments.paper_changes import CHANGES


def test_ks_has_every_change_twice() -> None:
    keyed, unkeyed = (CHANGES[name].cells for name in ("table_10", "table_10_ks"))
    assert len(keyed) == 14  # nothing, and thirteen
    assert len(unkeyed) == 27
    assert all(cell.fitted is None for cell in keyed)
    assert all(cell.fitted == Fitted() for cell in unkeyed)
    untouched = {cell.row: cell.after for cell in keyed}
    for cell in unkeyed:
        assert cell.after == untouched[cell.row.removesuffix(", reference too")]
        assert cell.matched == cell.row.endswith(", reference too")
        assert bool(cell.clean.after) == cell.matched
