"""Files of scores: exact, joined, and refused when they make no sense."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from support.hostile_files import check_reader, wrong_values
from support.looks import table
from support.score_sets import drawn, pool

from siren_ext.documents import MAX_JSON_BYTES
from siren_ext.errors import ScoreError
from siren_ext.scoring.score_set import MAX_BYTES, ScoreSet, require_same_coater


def make(scores=(1.0, 2.0), **changes):
    return pool(scores, **{"failures": (("x.png", "broken"),)} | changes)


def test_round_trip_is_exact(tmp_path):
    values = np.random.default_rng(0).normal(size=50) * 1e-3
    before = make(values, names=tuple(f"ü<{i}>\n.png" for i in range(50)))
    before.save(tmp_path / "scores.json")
    after = ScoreSet.load(tmp_path / "scores.json")
    np.testing.assert_array_equal(after.scores, before.scores)
    for part in ("names", "hashes", "coater", "source", "failures"):
        assert getattr(after, part) == getattr(before, part)


def test_joining():
    both = ScoreSet.concat([make(), make((3.0,))])
    assert both.scores.tolist() == [1.0, 2.0, 3.0]
    assert both.source["kind"] == "joined"
    assert len(both.failures) == 2
    with pytest.raises(ScoreError, match="different coaters"):
        ScoreSet.concat([make(), make(coater="d" * 64)])
    with pytest.raises(ScoreError, match="at least one"):
        ScoreSet.concat([])
    with pytest.raises(ScoreError, match="can't be compared"):
        require_same_coater(make(), make(coater="d" * 64))


def test_parts_must_agree_and_be_finite():
    with pytest.raises(ScoreError, match="expected equal numbers of each"):
        make(names=("a",))
    with pytest.raises(ScoreError, match=r"score of 00001.png is not a finite"):
        make((1.0, float("nan")))
    with pytest.raises(ValueError, match="read-only"):
        make().scores[0] = 5


def edited(**changes):
    return json.dumps(make().to_dict() | changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format": "other"}', "has the format 'other'; expected 'siren_ext.scores'"),
        (edited(version=99), "has the version 99; expected 1"),
        (edited(version=True), "has the version True; expected 1"),
        (edited(images=[]), r"images is \[\]; expected a list of 1"),
        (edited(images={"a": 1}), r"images is {'a': 1}; expected a list of 1"),
        (edited(images=[[1]]), r"images\[0\] is \[1\]; expected named values"),
        (edited(images=[{"name": "a", "sha256": ""}]), r"images\[0\] has no score"),
        (
            edited(images=[{"name": "a", "sha256": "", "score": "1"}]),
            "score is '1'; expected a num",
        ),
        (edited(images=[{"name": "a", "sha256": "", "score": True}]), "score is True; expected a"),
        (edited(images=[{"name": "a", "sha256": "", "score": 1e31}]), "score is 1e\\+31; expected"),
        (edited(images=[{"name": "a", "sha256": "xyz", "score": 1}]), "'xyz'; expected 64 hexad"),
        (edited(images=[{"name": "a", "sha256": "a" * 64 + "\n", "score": 1}]), "expected 64 hex"),
        (edited(images=[{"name": "a" * 9000, "sha256": "", "score": 1}]), "9,000 characters"),
        (edited().replace("1.0", "NaN"), "contains NaN; expected finite"),
        (edited().replace("1.0", "1e999"), "contains 1e999; expected numbers below"),
        (edited(source=[]), r"source is \[\]; expected named values"),
        (edited(coater=None), "coater is None; expected text of at most 4096 characters"),
        (edited(failures=["x"]), r"failures\[0\] is 'x'; expected named values"),
    ],
)
def test_hostile_files_are_refused_with_a_reason(tmp_path, text, words):
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(ScoreError, match=words):
        ScoreSet.load(path)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "scores.json"
    make(features=np.ones((2, 3))).save(path)
    check_reader(path, ScoreSet.load, ScoreError)


def test_wrong_values_are_refused(tmp_path):
    good = make().to_dict()
    for what, data in wrong_values(good):
        if what in ("no source", "no failures"):
            continue  # they may be left out
        if what in ("source = {'a': 1}", "failures = []", "failures = [[]]"):
            continue
        with pytest.raises(ScoreError, match=r"expected|has no|unknown"):
            pytest.fail(f"{what}: {ScoreSet.from_dict(data)}")


def test_huge_or_missing_files_are_refused(tmp_path):
    with pytest.raises(ScoreError, match="can't be read"):
        ScoreSet.load(tmp_path / "none.json")
    with (tmp_path / "scores.json").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(ScoreError, match="has 536,870,913 bytes; expected at most 536,870,912"):
        ScoreSet.load(tmp_path / "scores.json")


def test_a_file_of_many_pictures_is_read_again(tmp_path):
    """With 48 features and their control, 20,000 pictures have more than 64 MiB."""
    make().save(tmp_path / "scores.json")
    with (tmp_path / "scores.json").open("ab") as stream:
        stream.write(b" " * MAX_JSON_BYTES)
    assert ScoreSet.load(tmp_path / "scores.json").names == make().names


ALIKE = {"looks": table(40, 5)}


def test_score_files_keep_the_looks(tmp_path: Path) -> None:
    before = drawn(5, **ALIKE)
    before.save(tmp_path / "scores.json")
    after = ScoreSet.load(tmp_path / "scores.json")
    np.testing.assert_array_equal(after.looks, before.looks)
    np.testing.assert_array_equal(ScoreSet.concat([after, after]).looks[40:], before.looks)
    assert ScoreSet.concat([after, dataclasses.replace(after, looks=None)]).looks is None
    with pytest.raises(ScoreError, match="3 looks for each image; expected 8"):
        dataclasses.replace(before, looks=np.zeros((40, 3)))
    with pytest.raises(ScoreError, match="looks of shape"):
        dataclasses.replace(before, looks=np.zeros((39, 8)))
