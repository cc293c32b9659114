from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from siren_ext.errors import ConfigError
from siren_ext.experiments import rows
from siren_ext.experiments.rows import read_rows, update_rows, write_rows
from siren_ext.files import locked


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


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ConfigError, match="can't be read as a table"):
        read_rows(tmp_path / "some.csv")


def added(old: list[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    return [*old, row]


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"

    def writer(name: str) -> None:
        for number in range(15):
            update_rows(path, partial(added, row={"name": name, "number": number}))

    threads = [threading.Thread(target=writer, args=(name,)) for name in "ab"]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(read_rows(path)) == 30


def test_a_table_that_stays_taken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_PATIENCE", 0)
    path = tmp_path / "some.csv"
    with locked(path), pytest.raises(ConfigError, match="is being written by another run"):
        update_rows(path, lambda old: old)
