"""The command ``plan``: table, JSON, pilots, bad input."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.score_sets import pool

from siren_ext.stats.power import plan_size

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(call: Call) -> Call:
    """Run ``plan`` in this process: (exit code, stdout, stderr)."""
    return functools.partial(call, "plan")


def scores(path: Path, values: np.ndarray, coater: str = "c" * 64) -> Path:
    """A score file as ``siren-ext score`` writes it."""
    pool(values, hashed=False, coater=coater).save(path)
    return path


def test_effect_table(call: Call) -> None:
    code, out, err = call("--effect", 2, "--references", 100)
    assert code == 0, err
    lines = out.splitlines()
    assert "100 reference images; scores lower by 2.00 standard deviations" in lines[0]
    assert "images for 95%" in lines[1]
    assert lines[2].split()[:3] == ["1", "in", "1,000"]
    assert lines[3].split()[:4] == ["1", "in", "1", "million"]
    assert len({len(line) for line in lines[1:]}) == 1, "columns are aligned"
    fixed, half, most = (int(cell) for cell in lines[3].split()[-3:])
    assert 18 <= fixed <= 24
    assert half <= 0.6 * fixed
    assert half <= most


def test_json_is_the_plan_of_the_library(call: Call) -> None:
    line = ("--effect", 2, "--references", 50, "--alpha", "1e-3", "--power", 0.9, "--seed", 4)
    code, out, _ = call(*line, "--json")
    assert code == 0
    result = json.loads(out)
    rng = np.random.default_rng(4)
    expected = plan_size(2, alpha=1e-3, power=0.9, references=50, rng=rng)
    (row,) = result["rows"]
    assert (row["images"], row["power"]) == (expected.images, expected.power)
    assert (result["basis"], result["references"], result["power"]) == ("effect", 50, 0.9)
    assert row["sequential"]["limit"] == 2 * expected.images
    assert call(*line, "--json")[1] == out, "the same seed gives the same plan"


def test_pilot(call: Call, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    suspect = scores(tmp_path / "s.json", rng.normal(-2, 1, 40))
    reference = scores(tmp_path / "r.json", rng.normal(size=80))
    line = ("--suspect", suspect, "--reference", reference, "--alpha", 1e-4)
    code, out, err = call(*line)
    assert code == 0, err
    assert "against 80 reference images" in out
    assert "in a pilot of 40 and 80 images" in out
    assert "to be careful" in out
    (row,) = json.loads(call(*line, "--json")[1])["rows"]
    assert row["images"] <= row["images_careful"]


def test_pilot_without_effect_is_refused(call: Call, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    high = scores(tmp_path / "s.json", rng.normal(1, 1, 30))
    low = scores(tmp_path / "r.json", rng.normal(size=30))
    code, out, err = call("--suspect", high, "--reference", low)
    assert (code, out) == (2, "")
    assert "not lower than its reference scores" in err


def test_keyed(call: Call) -> None:
    code, out, err = call("--accuracy", 0.7, "--alpha", 1e-3, "--alpha", 1e-4)
    assert code == 0, err
    assert "70% of 48 bits" in out
    assert [len(line.split()) for line in out.splitlines()[2:]] == [4, 4]
    first, second = (int(line.split()[-1]) for line in out.splitlines()[2:])
    assert 1 < first <= second < 30


def test_the_price_of_keys_and_tests_is_planned_for(call: Call) -> None:
    """The verdict multiplies p by 2 for the first test of one key, and by 4 x 6 here."""
    line = ("--accuracy", 0.7, "--alpha", 1e-4, "--json")
    first = json.loads(call(*line)[1])
    later = json.loads(call(*line, "--keys", 4, "--test", 2)[1])
    assert (first["price"], later["price"]) == (2, 24)
    assert first["rows"][0]["alpha"] == later["rows"][0]["alpha"] == 1e-4
    assert first["rows"][0]["images"] < later["rows"][0]["images"]


def test_out_of_reach_says_what_would_help(call: Call) -> None:
    code, out, err = call("--accuracy", 0.9, "--bits", 16, "--alpha", 1e-6)
    assert code == 0
    assert "out of reach" in out
    assert "more bits" in err
    code, out, err = call("--effect", 1, "--references", 1, "--alpha", 1e-6)
    assert code == 0
    assert "out of reach" in out
    assert "more reference images" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--power", "0.9"), "exactly one of"),
        (("--effect", "1", "--accuracy", "0.7"), "exactly one of"),
        (("--suspect", "{tmp}/a.json"), "both --suspect and --reference"),
        (("--suspect", "{tmp}/a.json", "--reference", "{tmp}/b.json"), "a.json"),
        (("--effect", "-1"), "effect is -1"),
        (("--effect", "nan"), "effect is nan"),
        (("--effect", "1", "--alpha", "0"), "alpha is 0"),
        (("--effect", "1", "--power", "1"), "power is 1"),
        (("--effect", "1", "--references", "0"), "references is 0"),
        (("--accuracy", "0.4"), "bit accuracy is 0.4"),
        (("--accuracy", "0.8", "--bits", "0"), "bits is 0"),
    ],
)
def test_mistakes_are_one_message(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = call(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert words in err


def test_other_coater_is_refused(call: Call, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    first = scores(tmp_path / "s.json", rng.normal(-1, 1, 10))
    second = scores(tmp_path / "r.json", rng.normal(size=10), coater="d" * 64)
    code, _, err = call("--suspect", first, "--reference", second)
    assert code == 2
    assert "different coaters" in err


def test_help_shows_an_example(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = call("--help")
    assert code == 0
    assert "Example: siren-ext plan --suspect" in out
