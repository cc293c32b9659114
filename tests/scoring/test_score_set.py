"""Files of scores: exact, joined, and refused when they make no sense."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.score_sets import pool

from siren_ext.errors import ScoreError
from siren_ext.scoring.score_set import ScoreSet, require_same_coater


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
    with pytest.raises(ScoreError, match="as many of each"):
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
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not a score file"),
        ('{"format": "other"}', "not a score file"),
        (edited(version=99), "has version 99"),
        (edited(images=[]), "no list of scored images"),
        (edited(images={"a": 1}), "no list of scored images"),
        (edited(images=[[1]]), "'name' is missing|'sha256' is missing"),
        (edited(images=[{"name": "a", "sha256": "", "score": "1"}]), "image 0: 'score' is 1"),
        (edited(images=[{"name": "a", "sha256": "", "score": True}]), "'score' is True"),
        (edited(images=[{"name": "a", "sha256": "xyz", "score": 1}]), "64 hexadecimal"),
        (edited(images=[{"name": "a" * 9000, "sha256": "", "score": 1}]), "not a text of at most"),
        (edited().replace("1.0", "NaN"), "NaN, which is not a finite"),
        (edited().replace("1.0", "1e999"), "'score' is inf"),
        (edited(source=[]), "'source' is not an object"),
        (edited(coater=None), "'coater' is missing"),
        (edited(failures=["x"]), "'name' is missing"),
    ],
)
def test_hostile_files_are_refused_with_a_reason(tmp_path, text, words):
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(ScoreError, match=words):
        ScoreSet.load(path)


def test_huge_or_missing_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ScoreError, match="can't be read"):
        ScoreSet.load(tmp_path / "none.json")
    make().save(tmp_path / "scores.json")
    monkeypatch.setattr("siren_ext.scoring.score_set.read_json.__defaults__", (10,))
    with pytest.raises(ScoreError, match="at most 10 are read"):
        ScoreSet.load(tmp_path / "scores.json")
