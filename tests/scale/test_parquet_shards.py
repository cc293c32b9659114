"""Parquet files: which column has the images, and what is refused."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from support.shard_files import parquet

from siren_ext.errors import DatasetError, ImageError, MissingExtraError
from siren_ext.scale import parquet_shards as module
from siren_ext.scale.parquet_shards import ParquetShard

arrow = pytest.importorskip("pyarrow", reason="needs the extra 'parquet'")
parquet_files = pytest.importorskip("pyarrow.parquet", reason="needs the extra 'parquet'")


def write(path: Any, columns: dict[str, Any], described: dict[str, str] | None = None) -> Any:
    table = arrow.table(columns)
    if described is not None:
        features = {name: {"_type": kind} for name, kind in described.items()}
        facts = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(facts)
    parquet_files.write_table(table, path)
    return path


def column_of(path: Any, asked: str = "") -> str:
    with ParquetShard(path, path.name, asked) as shard:
        return shard.column


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"siren-ext\[parquet\]"):
        ParquetShard(tmp_path / "a.parquet", "a.parquet")


def test_the_column_of_images_is_found_or_asked_for(tmp_path) -> None:
    path = tmp_path / "a.parquet"
    two = {"a": [b"1"], "b": [{"bytes": b"2", "path": "x.jpg"}], "text": ["t"]}
    with pytest.raises(
        DatasetError, match=r"2 columns that may contain images \(a, b\).*--image-col"
    ):
        column_of(write(path, two))
    assert column_of(path, "b") == "b"
    assert column_of(write(path, two, {"b": "Image", "a": "Value"})) == "b"
    with pytest.raises(DatasetError, match="no column 'text' with the bytes"):
        column_of(path, "text")
    with pytest.raises(DatasetError, match=r"no column with the bytes.*text \(string\), n \(int64"):
        column_of(write(path, {"text": ["t"], "n": [1]}))
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DatasetError, match=r"a\.parquet is not a Parquet file"):
        column_of(path)


def test_rows_have_names_and_may_have_no_image(tmp_path, monkeypatch) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"0" * 64
    rows = [{"bytes": b"x", "path": "a.JPG"}, {"bytes": png, "path": None}, None]
    rows.append({"bytes": None, "path": "far.png"})
    path = write(tmp_path / "a.parquet", {"image": rows})
    with ParquetShard(path, "a.parquet") as shard:
        samples = list(shard.samples(2))
        assert [list(sample.names) for sample in samples] == [["0.jpg"], ["1.png"], [], ["3.png"]]
        with pytest.raises(ImageError, match="does not contain its bytes"):
            samples[3].save(samples[3].images[0], tmp_path / "copy")
        monkeypatch.setattr(module, "MAX_IMAGE_BYTES", 8)
        with pytest.raises(ImageError, match="72 bytes; expected at most 8"):
            samples[1].save(samples[1].images[0], tmp_path / "copy")
        assert samples[0].changed("0.png", b"new") == {"bytes": b"new", "path": "a.png"}
    monkeypatch.setattr(module, "MAX_COLUMN_BYTES", 100)
    with pytest.raises(DatasetError, match="a group of rows with"):
        ParquetShard(path, "a.parquet")


def test_damage_is_told_with_the_row(data, tmp_path) -> None:
    path = parquet(tmp_path / "a.parquet", data, compression="NONE")
    whole = bytearray(path.read_bytes())
    start = whole.index((data / "5.png").read_bytes())
    whole[start - 60 : start] = bytes(60)
    path.write_bytes(whole)
    with (
        ParquetShard(path, "a.parquet") as shard,
        pytest.raises(DatasetError, match=r"a\.parquet is damaged at row 4 or after it"),
    ):
        list(shard.samples(1))
