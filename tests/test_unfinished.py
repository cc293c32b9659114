"""Tables of a stopped run are used again only as they were written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siren_ext.unfinished import read_tables, write_tables

TABLES = {
    "rows": np.array([2, 0, 1]),
    "features": np.arange(12.0).reshape(3, 4).T,  # not contiguous
    "seen": np.array([[True], [False]]),
    "values": np.array([1.5, np.nan], np.float32),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_tables(tmp_path / "tables", "run 1", TABLES, 0o600)
    return tmp_path / "tables"


def test_they_are_read_back(path: Path) -> None:
    found = read_tables(path, "run 1")
    assert found.keys() == TABLES.keys()
    for name, table in TABLES.items():
        assert found[name].dtype == table.dtype
        assert np.array_equal(found[name], table, equal_nan=name == "values")
    assert path.stat().st_mode & 0o077 == 0


def test_another_run_has_none(path: Path, tmp_path: Path) -> None:
    assert read_tables(path, "run 2") == {}
    assert read_tables(tmp_path / "missing", "run 1") == {}
    assert read_tables(tmp_path, "run 1") == {}
    assert read_tables(None, "run 1") == {}


def _header(change: Callable[[dict[str, Any]], None], data: bytes) -> bytes:
    """A safetensors file whose header is changed, but can be read."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    change(header)
    changed = json.dumps(header).encode()
    return len(changed).to_bytes(8, "little") + changed + data[end:]


def _renamed(header: dict[str, Any]) -> None:
    header["rowz"] = header.pop("rows")


def _exchanged(header: dict[str, Any]) -> None:
    places = header["rows"]["data_offsets"], header["values"]["data_offsets"]
    header["rows"] |= {"dtype": "F32", "shape": [2], "data_offsets": places[1]}
    header["values"] |= {"dtype": "I64", "shape": [3], "data_offsets": places[0]}


def _reshaped(header: dict[str, Any]) -> None:
    header["features"]["shape"] = [2, 6]


def _retyped(kind: str, header: dict[str, Any]) -> None:
    header["rows"]["dtype"] = kind
    header["rows"]["shape"] = [24 * 8 // int("".join(filter(str.isdigit, kind.split("_")[0])))]


@pytest.mark.parametrize("kind", ["U64", "F64", "BF16", "F16", "F8_E4M3", "I8"])
def test_numbers_of_another_kind_are_not_used(path: Path, kind: str) -> None:
    path.write_bytes(_header(lambda header: _retyped(kind, header), path.read_bytes()))
    assert read_tables(path, "run 1") == {}


@pytest.mark.parametrize("change", [_renamed, _exchanged, _reshaped])
def test_tables_that_were_changed_are_not_used(
    path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    data = path.read_bytes()
    path.write_bytes(_header(lambda header: None, data))
    assert read_tables(path, "run 1")
    path.write_bytes(_header(change, data))
    assert read_tables(path, "run 1") == {}


@pytest.mark.parametrize("place", [0, 9, -1, -30])
def test_damaged_files_are_not_used(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert read_tables(path, "run 1") == {}
    path.write_bytes(data[:-9])
    assert read_tables(path, "run 1") == {}
