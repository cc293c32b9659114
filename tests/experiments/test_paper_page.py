"""The page of the paper's tables, from rows that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from siren_ext.errors import ConfigError
from siren_ext.experiments.paper_page import check_table, merged, page_text
from siren_ext.experiments.paper_tables import STUDY, TABLES
from siren_ext.experiments.rows import read_rows, write_rows

ROLES = ("guilty", "innocent")


def found(role: str, model: int, **more: Any) -> dict[str, Any]:
    known = {"table": "table_11", "row": "15 steps", "set": "icons", "role": role, "model": model}
    rates = {"tpr_0.01": 0.5 if role == "guilty" else 0.0, "tpr_0.0001": 0.25}
    return known | rates | {"p_few": 0.2, "p_pictures": 2e-5, "p_file": None} | more


def test_rows_are_put_into_the_table() -> None:
    rows = [found("guilty", 0, p_bits=0.3)]
    rows += [found("guilty", 1, **{"tpr_0.01": 1.0, "p_pictures": 3e-7, "p_bits": 0.2})]
    rows += [found("innocent", 0, p_pictures=0.5), found("innocent", 1, p_file=1e-4)]
    text = page_text(rows)
    assert (
        "| 15 steps | 100 % | 75 % (50 to 100) | 25 % (25 to 25) | 0 % (0 to 0) | 0.2, 0.2 | "
        "2e-05, 3e-07 | 0.3, 0.2 | 1 of 2 | 2 |"
    ) in text
    assert "| 35 steps | 100 % | not measured, because no run of it is finished yet |" in text
    assert "key, all pictures | key, file's bits | innocent by key | models |" in text
    assert "- clip skip 4 and 6: not measured, because the bundled model's text enc" in text


def test_columns_that_no_row_fills_are_left_out() -> None:
    nothing = {"p_few": None, "p_pictures": None}
    rows = [found(role, 0, table="table_10_ks", row="text", **nothing) for role in ROLES]
    text = page_text(rows)
    assert "| row | paper | KS, .01 | KS, 1e-4 | innocent, .01 | models |" in text
    assert "| text | high, value lost | 50 % | 25 % | 0 % | 1 |" in text
    assert "| text, reference too | not in the paper | not measured" in text


def test_a_page_without_rows_says_that_nothing_is_measured() -> None:
    text = page_text([])
    assert "| --- |" not in text
    assert "Not measured, because no run of it is finished yet: nothing; crop to a tenth" in text


def test_what_differs_from_the_paper_stands_below_figures() -> None:
    remark = TABLES["figure_4"].difference
    assert remark not in page_text([])
    row = found("guilty", 0, table="figure_4", row="LoRA", study=STUDY)
    assert remark in page_text([row])
    # it speaks of no other study, and of no table that is half measured
    other = page_text([row | {"study": "another"}])
    assert remark not in other
    warning = "**Some figures of this page are of other images"
    assert warning in other
    assert warning not in page_text([row])
    half = [found("guilty", 0, table="appendix_b", row="16 bits", study=STUDY)]
    assert TABLES["appendix_b"].difference not in page_text(half)


def test_how_pictures_look_stands_at_the_end() -> None:
    rows = [
        found("guilty", 0, table="table_10", row="JPEG 50", psnr=31.24, eff0_similarity="0.5"),
        found("guilty", 1, table="table_10", row="JPEG 50", psnr=None, eff0_similarity=0.6),
        found("guilty", 0, table="table_10", row="nothing", psnr="", eff0_similarity=0.4444),
    ]
    text = page_text(rows)
    assert "| models | similarity | PSNR |" in text
    line = next(one for one in text.splitlines() if one.startswith("| JPEG 50 |"))
    assert line.endswith("| 2 | 0.550 | 31.2 dB |")
    assert "| 1 | 0.444 |  |" in text
    assert "similarity | PSNR" not in page_text(rows[2:])


def test_plots_stand_below_their_table() -> None:
    rows = [found("guilty", 0)]
    assert "![Ways of asking](a.png)" in page_text(rows, {"table_11": "a.png"})
    # a plot shows one set
    both = [*rows, found("guilty", 0, set="faces")]
    assert "![" not in page_text(both, {"table_11": "a.png"})


def test_tables_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    rows = [found("guilty", 0), found("guilty", 1, study="a"), found("guilty", 0, set="faces")]
    check_table([], path, "b", "icons")
    check_table(rows, path, "a", "icons")  # earlier tables do not say of what study they are
    check_table(rows, path, "b", "faces")
    with pytest.raises(ConfigError, match="figures of icons with other images, another coater"):
        check_table(rows, path, "b", "icons")
    old = [found("guilty", 0), found("guilty", 1, p_file=0.5)]
    with pytest.raises(ConfigError, match="by an earlier version, whose p_file is of the bits"):
        check_table(old, path, "a", "icons")
    check_table([row | {"p_bits": 0.5} for row in old], path, "a", "icons")
    with pytest.raises(ConfigError, match="it has no column table"):
        check_table([{"a": "1"}], path, "a", "icons")


def test_rows_of_a_new_run_replace_the_old_ones(tmp_path: Path) -> None:
    old = [found("guilty", 0), found("guilty", 1), found("guilty", 0, set="faces")]
    new = [found("guilty", 0, p_few=0.1)]
    assert merged(old, new) == [old[1], old[2], new[0]]
    write_rows(old, tmp_path / "some.csv")
    assert page_text(read_rows(tmp_path / "some.csv")) == page_text(old)
