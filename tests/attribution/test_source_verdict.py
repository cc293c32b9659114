"""Who is accused, and who is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.toy_source import write_scenes

from siren_ext.attribution.key_queries import Answers, KeySample
from siren_ext.attribution.source_config import SourceConfig
from siren_ext.attribution.source_verdict import (
    judge_source,
    key_rows,
    split_innocent,
    threshold_for,
)
from siren_ext.errors import ConfigError, ScoreError

NAN = float("nan")


def answers(hits: int, total: int = 30, far: float = 0.18) -> Answers:
    near = np.array([0.1] * hits + [far] * (total - hits))
    return Answers(near[:, None], ((Path("x.png"),),) * total, total)


def innocents(*hits: int) -> dict[str, Answers]:
    return {f"i{number}": answers(count) for number, count in enumerate(hits)}


def test_many_hits_accuse_and_few_do_not() -> None:
    found = judge_source(answers(20), {}, innocents(1, 2, 0), SourceConfig())
    assert found.outcome == "found"
    assert found.confidence == 20 / 30
    assert found.p_at_rate < found.p_value < 1e-3
    assert "reproduces 20 of 30 key samples" in found.headline
    assert found.models == {"i0": (1, 30), "i1": (2, 30), "i2": (0, 30)}
    assert any("all 3 of them in at most 1 of 4 cases" in note for note in found.notes)
    assert judge_source(answers(3), {}, innocents(1, 2, 0), SourceConfig()).outcome == "open"


def test_without_a_measured_rate_nobody_is_accused() -> None:
    found = judge_source(answers(30), {}, innocents(0, 0), SourceConfig())
    assert found.outcome == "open"
    assert found.p_value < 1e-3
    assert any("nobody is accused" in note for note in found.notes)
    assert not any("in at most 1 of" in note for note in found.notes)


def test_an_innocent_model_with_as_many_hits_stops_the_accusation() -> None:
    rest = [0] * 8
    assert judge_source(answers(12), {}, innocents(*rest, 11), SourceConfig()).outcome == "found"
    found = judge_source(answers(12), {}, innocents(*rest, 12), SourceConfig())
    assert found.p_value < 1e-3
    assert found.outcome == "open"


def test_an_innocent_model_with_fewer_answers_and_as_large_a_share_stops_it_too() -> None:
    models = {**innocents(0, 0, 0), "short": answers(8, 10)}
    found = judge_source(answers(24), {}, models, SourceConfig())
    assert found.p_value < 1e-3
    assert found.hits > found.innocent.best
    assert found.outcome == "open"
    assert judge_source(answers(25), {}, models, SourceConfig()).outcome == "found"


def test_a_small_share_is_never_enough() -> None:
    many = {f"i{number}": answers(0, 300) for number in range(3)}
    found = judge_source(answers(80, 300), {}, many, SourceConfig())
    assert found.p_value < 1e-10
    assert found.outcome == "open"


def test_the_threshold_is_given_chosen_or_the_papers() -> None:
    known, innocent = [answers(30).nearest], [answers(0, far=0.33).nearest]
    assert threshold_for([], [], SourceConfig()).delta == 0.15
    assert threshold_for(known, innocent, SourceConfig(delta=0.2)).origin == "given"
    chosen = threshold_for(known, innocent, SourceConfig())
    assert (chosen.delta, chosen.origin) == (0.1, "known")
    with pytest.raises(ConfigError, match="holds for the distance l2, not for l2_tiled"):
        threshold_for([], innocent, SourceConfig(distance="l2_tiled"))


def test_models_that_chose_the_threshold_do_not_measure_the_rate() -> None:
    pool = [np.array([float(number)]) for number in range(7)]
    choosing, measuring = split_innocent(pool, True)
    assert [len(choosing), len(measuring)] == [2, 5]
    assert {float(one[0]) for one in choosing} & {float(one[0]) for one in measuring} == set()
    assert len(split_innocent(pool[:4], True)[1]) == 3
    assert split_innocent(pool[:3], True) == (pool[:3], pool[:3])
    assert split_innocent(pool, False) == ([], pool)
    known = {"k": answers(30)}
    found = judge_source(answers(30), known, innocents(0, 0, 0), SourceConfig())
    assert found.outcome == "open"
    assert any("The same innocent models chose" in note for note in found.notes)
    found = judge_source(answers(30), known, innocents(0, 0, 0, 0), SourceConfig())
    assert (found.outcome, found.innocent.models) == ("found", 3)


def test_missing_answers_are_told_and_do_not_count() -> None:
    near = np.array([0.1] * 10 + [NAN] * 5)[:, None]
    found = judge_source(Answers(near, ((),) * 15, 15), {}, innocents(0, 0, 0), SourceConfig())
    assert (found.hits, found.total) == (10, 10)
    assert any("5 pictures were asked" in note for note in found.notes)
    with pytest.raises(ScoreError, match="returned no picture for any key sample"):
        judge_source(Answers(np.full((3, 1), NAN), ((),) * 3, 3), {}, {}, SourceConfig())


def test_models_without_an_answer_neither_choose_nor_measure() -> None:
    mute = Answers(np.full((30, 1), NAN), ((),) * 30, 30)
    known = {"mute": mute, "k": answers(30)}
    found = judge_source(answers(30), known, {"mute": mute, **innocents(0, 0, 0)}, SourceConfig())
    assert found.threshold.origin == "known"
    assert found.outcome == "open"
    assert any("chose the threshold and measured the rate" in note for note in found.notes)
    models = {"mute": mute, **innocents(0, 0, 0, 0)}
    found = judge_source(answers(30), known, models, SourceConfig())
    assert found.outcome == "found"
    assert found.innocent.models == 3
    assert found.models["mute"] == (0, 0)


def test_rows_of_the_report(tmp_path: Path) -> None:
    data = write_scenes(tmp_path, range(2))
    keys = [KeySample(item.path, "c", item.name, 0.05) for item in data.items]
    first, second = key_rows(keys, np.array([0.1, NAN]), 0.15)
    assert (first["source"], first["base"], first["suspect"]) == (0.05, None, 0.1)
    assert (first["reproduced"], second["reproduced"], second["suspect"]) == (True, False, None)
