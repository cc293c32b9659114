"""Models of the passive study: numbers, seeds, and what they are trained on."""

from __future__ import annotations

from collections import Counter

import pytest

from siren_ext.errors import ConfigError
from siren_ext.experiments.passive_roster import (
    RANKS,
    STEPS,
    TRAINED,
    PassiveStudyConfig,
    pool_rows,
    roster,
)

CONFIG = PassiveStudyConfig()


def test_two_large_sets_get_every_kind_of_training() -> None:
    models = roster(CONFIG, {"a": 440, "b": 440})
    assert Counter(model.kind for model in models) == {"base": 2, "guilty": 24, "innocent": 48}
    assert len({model.name for model in models}) == len(models)
    guilty = [model for model in models if model.kind == "guilty"]
    assert all(model.asked == model.taught for model in guilty)
    for number in (0, 1):
        seen = {(model.images, model.steps) for model in guilty if model.asked == number}
        assert seen == {(images, steps) for images in TRAINED for steps in STEPS}
    assert {model.rank for model in guilty} == set(RANKS)
    innocent = [model for model in models if model.kind == "innocent"]
    assert Counter(model.asked == model.taught for model in innocent) == {True: 24, False: 24}
    places = [model.place for model in models if model.kind != "base"]
    assert len(set(places)) == len(places)


def test_a_single_small_set() -> None:
    models = roster(PassiveStudyConfig(guilty=4, innocent=4), {"a": 96})
    assert [model.images for model in models if model.kind == "guilty"] == [20, 48, 48, 48]
    assert {model.taught for model in models if model.kind == "innocent"} == {0}
    with pytest.raises(ConfigError, match="a has 39 images; expected 40 or more"):
        roster(CONFIG, {"a": 39})


def test_images_are_chosen_by_seed() -> None:
    model = roster(CONFIG, {"a": 440})[1]
    first = model.chosen(440, CONFIG)
    assert len(set(first)) == model.images
    assert first == sorted(first) == model.chosen(440, CONFIG)
    assert first != model.chosen(440, PassiveStudyConfig(seed=1))
    rows = pool_rows(1000, 0, CONFIG)
    assert len(set(rows)) == 440
    assert rows != pool_rows(1000, 1, CONFIG)
    assert pool_rows(96, 0, CONFIG) == list(range(96))
