"""How models are asked for key samples, and what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.toy_source import SIDE, scene, toy_model, write_scenes

from siren_ext.attribution.distances import l2
from siren_ext.attribution.key_queries import Asking, KeySample, Redrawing, common_query
from siren_ext.attribution.source_config import SourceConfig
from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.errors import ConfigError
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.function import FunctionSuspect
from siren_ext.suspects.responses import Refused

CONFIG = SourceConfig(repeats=2, pictures=3)


def keys_in(folder: Path, count: int = 3) -> list[KeySample]:
    data = write_scenes(folder, range(count))
    return [KeySample(item.path, item.caption or "", item.name) for item in data.items]


def asking(tmp_path: Path, query: str = "img2img", **changes) -> Asking:
    return Asking(CONFIG, query, l2, SIDE, tmp_path / "answers", **changes)  # type: ignore[arg-type]


def test_known_samples_are_near_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    keys, calls = keys_in(tmp_path / "keys"), []
    model = toy_model("m", [0, 1])
    inner = model.redraw
    model.redraw = lambda *given: calls.append(1) or inner(*given)  # type: ignore[func-returns-value]
    found = asking(tmp_path).answers("m", model, keys)
    assert found.distances.shape == (3, 2)
    assert (found.nearest[:2] < 0.1).all()
    assert found.nearest[2] > 0.15
    assert found.requests == len(calls) == 6
    again = asking(tmp_path).answers("other name", model, keys)
    np.testing.assert_array_equal(again.distances, found.distances)
    assert len(calls) == 6
    # another strength is another question
    stronger = replace(asking(tmp_path), config=replace(CONFIG, strength=0.9))
    stronger.answers("m", model, keys)
    assert len(calls) == 12


def test_the_distance_is_that_of_the_picture_file(tmp_path: Path) -> None:
    keys = keys_in(tmp_path / "keys", 1)
    found = asking(tmp_path, "t2i").answers("m", toy_model("m", [0]), keys)
    assert len(found.files[0]) == 3
    by_hand = [
        float(l2(keys[0].view(SIDE), KeySample(file, "", "").view(SIDE))[0])
        for file in found.files[0]
    ]
    assert found.distances[0].tolist() == by_hand
    assert found.nearest[0] == min(by_hand)


def test_refused_pictures_are_missing(tmp_path: Path) -> None:
    keys = keys_in(tmp_path / "keys", 2)
    model = toy_model("m", [0, 1])
    inner = model.redraw

    def picky(image, plan, index, strength):
        if index in (0, 1, 3):
            raise Refused("not this one")
        return inner(image, plan, index, strength)

    model.redraw = picky
    found = asking(tmp_path).answers("m", model, keys)
    assert np.isnan(found.distances).tolist() == [[True, False], [True, True]]
    assert found.missed == 3
    assert np.isnan(found.nearest).tolist() == [False, True]
    assert [len(files) for files in found.files] == [1, 0]


def test_the_least_able_model_decides_how_all_are_asked(tmp_path: Path) -> None:
    able, unable = toy_model("a", []), toy_model("b", [], redraws=False)
    assert common_query({"source": able}, CONFIG) == ("img2img", "")
    query, note = common_query({"source": able, "suspicious model": unable}, CONFIG)
    assert query == "t2i"
    assert note.startswith("The suspicious model can't redraw pictures: Its function takes")
    folder = FolderSuspect(tmp_path)
    query, note = common_query({"source": able, "suspicious model": folder}, CONFIG)
    assert query == "pool"
    assert "only pictures are at hand" in note
    with pytest.raises(ConfigError, match="Key images can't be redrawn"):
        list(Redrawing(unable, keys_in(tmp_path / "keys"), SIDE, 0.5).generate(plan_of_one()))


def plan_of_one():
    from siren_ext.suspects.base import PromptPlan

    return PromptPlan(count=1)


def test_a_folder_is_searched_for_the_nearest_picture(tmp_path: Path) -> None:
    keys = keys_in(tmp_path / "keys")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, seed in (("a", 77), ("b", 1), ("c", 78)):
        write_picture(Picture(to_uint8(scene(seed))), pictures / f"{name}.png")
    found = asking(tmp_path, "pool").answers("m", FolderSuspect(pictures), keys)
    assert found.nearest[1] == 0
    assert found.files[1][0].name == "b.png"
    assert found.nearest[0] > 0.1
    assert found.requests == 3
    # of a model as many pictures are compared as there are in the folder
    limited = asking(tmp_path, "pool", pool=3).answers("m", toy_model("m", [0, 1, 2]), keys)
    assert limited.requests == 3
    assert (limited.nearest < 0.1).all()


def test_a_counted_model_stays_counted(tmp_path: Path) -> None:
    from siren_ext.suspects.base import Metered, Usage

    model = FunctionSuspect("m", lambda prompt, seed: scene(seed), lambda *given: given[0])
    assert not isinstance(Redrawing(model, keys_in(tmp_path / "keys"), SIDE, 0.5), Metered)
    model.usage = Usage(3)  # type: ignore[attr-defined]
    wrapped = Redrawing(model, keys_in(tmp_path / "keys"), SIDE, 0.5)
    assert isinstance(wrapped, Metered)
    assert wrapped.usage.requests == 3
