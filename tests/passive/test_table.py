"""Feature tables: files, columns, differences, and what does not fit together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.passive.table import FeatureTable

HASHES = tuple(f"{number:064x}" for number in range(3))
SOURCE = {"suspect": {"model": "pocket"}, "settings": {"seed": 0}}


def table(scale: float = 1.0, order: tuple[int, ...] = (0, 1, 2)) -> FeatureTable:
    values = scale * np.array([[0.1, 2.0], [3.0, 4.0], [5.0, 1 / 3]])
    names = np.array(["a.png", "b.png", "c.png"])
    rows = list(order)
    return FeatureTable(
        ("loss", "pia"),
        values[rows],
        tuple(names[rows].tolist()),
        tuple(HASHES[row] for row in rows),
        SOURCE,
    )


def test_a_file_gives_the_same_values(tmp_path: Path) -> None:
    first = table()
    first.save(tmp_path / "table.json")
    again = FeatureTable.load(tmp_path / "table.json")
    assert np.array_equal(again.values, first.values)
    assert (again.names, again.images, again.image_hashes) == (
        first.names,
        first.images,
        first.image_hashes,
    )
    assert again.source == SOURCE
    assert FeatureTable.from_dict(first.to_dict()).names == first.names
    with pytest.raises(ValueError, match="read-only"):
        again.values[0, 0] = 1.0


def test_columns_and_rows() -> None:
    small = table().columns(["pia"]).rows([2, 0])
    assert small.values.tolist() == [[1 / 3], [2.0]]
    assert small.images == ("c.png", "a.png")
    assert small.image_hashes == (HASHES[2], HASHES[0])
    with pytest.raises(ScoreError, match="no column secmi; it has loss, pia"):
        table().columns(["secmi"])


def test_a_control_is_matched_by_image() -> None:
    both = table().minus(table(0.5, order=(2, 0, 1)))
    assert both.names == ("loss", "pia", "diff:loss", "diff:pia")
    assert np.allclose(both.difference().values, 0.5 * table().values)
    assert np.array_equal(both.suspect().values, table().values)
    assert np.allclose(both.control().values, 0.5 * table().values)
    assert both.control().names == ("loss", "pia")
    assert both.source["control"] == SOURCE["suspect"]
    assert both.minus(table()).names == both.names


def test_what_does_not_match_is_refused() -> None:
    with pytest.raises(ScoreError, match=r"not measured on c\.png"):
        table().minus(table().rows([0, 1]))
    other = FeatureTable(("loss", "pia"), table().values, table().images, HASHES, {"settings": 1})
    with pytest.raises(ScoreError, match="expected the same settings"):
        table().minus(other)
    with pytest.raises(ScoreError, match="has no differences"):
        table().control()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("loss",)}, "expected a row for each image"),
        ({"images": ("a.png",)}, "expected a row for each image"),
        ({"image_hashes": HASHES[:2]}, "expected a row for each image"),
        ({"names": ("loss", "loss")}, "different names for all columns"),
        ({"values": np.full((3, 2), np.nan)}, r"feature loss of a\.png is not a finite number"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    parts = vars(table()) | change
    with pytest.raises(ScoreError, match=message):
        FeatureTable(**parts)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("format",), "siren_ext.scores", "has the format 'siren_ext.scores'"),
        (("rows",), [], "rows is .*; expected a list of 1 to"),
        (("rows", 0, "values"), [1.0], r"has 1 values for a\.png; expected 2"),
        (("rows", 0, "sha256"), "abc", "expected 64 hexadecimal digits"),
        (("more",), 1, "unknown name 'more'"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, place: tuple[str | int, ...], value: object, message: str
) -> None:
    data = table().to_dict()
    part = data
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    (tmp_path / "table.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ScoreError, match=message):
        FeatureTable.load(tmp_path / "table.json")
