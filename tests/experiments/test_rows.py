from __future__ import annotations

from pathlib import Path

from siren_ext.experiments.rows import read_rows, write_rows


def test_rows_with_different_columns_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "some.csv"
    write_rows([{"model": "a", "p": 0.123456789}, {"model": "b", "share": 1}], path)
    assert path.read_bytes() == b"model,p,share\na,0.123456789,\nb,,1\n"
    assert read_rows(path) == [
        {"model": "a", "p": "0.123456789", "share": ""},
        {"model": "b", "p": "", "share": "1"},
    ]


def test_fractions_alone_are_rounded(tmp_path: Path) -> None:
    write_rows([{"seed": 1234567, "p": 0.123456789}], tmp_path / "some.csv", digits=3)
    assert read_rows(tmp_path / "some.csv") == [{"seed": "1234567", "p": "0.123"}]


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none.csv") == []
