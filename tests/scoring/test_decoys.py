"""Scores by decoys: which coaters count as decoys, and what a score set keeps of them."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.decoy_sets import ranked, shared_decoys

from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError, ScoreError
from siren_ext.scoring.decoys import (
    INDEX,
    Ends,
    decoy_file,
    decoy_seed,
    decoys_of,
    score_decoys,
    way_of,
)
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Coater, Path]:
    """Pictures, a coater and its decoys."""
    data, coater, folder = shared_decoys(tmp_path_factory.getbasetemp())
    return data.root, coater, folder


def test_every_decoy_scores_the_pictures(made: tuple[Path, Coater, Path], tmp_path: Path) -> None:
    pictures, coater, folder = made
    suspect = score_folder(pictures, coater)
    scored = score_decoys(suspect, pictures, coater, folder)
    scored.save(tmp_path / "scores.json")
    found = decoys_of(ScoreSet.load(tmp_path / "scores.json"))
    assert found is not None
    for one in found.decoys:
        alone = score_folder(pictures, Coater.load(decoy_file(folder, one.number)))
        assert one.scores == alone.scores.tolist()
        # the owner's clean images themselves: the way has not begun
        assert abs(way_of(alone.scores, one.ends)) < 0.05
    assert decoys_of(suspect) is None


def test_decoys_of_somebodys_choice_are_refused(
    made: tuple[Path, Coater, Path], tmp_path: Path
) -> None:
    pictures, coater, folder = made
    suspect, out = score_folder(pictures, coater), tmp_path / "decoys"
    shutil.copytree(folder, out)
    shutil.copy(decoy_file(folder, 1), decoy_file(out, 2))
    with pytest.raises(CoaterError, match="is not the coater that"):
        score_decoys(suspect, pictures, coater, out)
    index = json.loads((out / INDEX).read_text())
    index["decoys"][1]["coater"] = index["decoys"][0]["coater"]
    (out / INDEX).write_text(json.dumps(index))
    with pytest.raises(CoaterError, match="was trained with the seed"):
        score_decoys(suspect, pictures, coater, out)
    index["decoys"] = index["decoys"][1:]
    (out / INDEX).write_text(json.dumps(index))
    with pytest.raises(CoaterError, match="does not list decoys 1, 2, 3"):
        score_decoys(suspect, pictures, coater, out)
    index["decoys"] = []
    (out / INDEX).write_text(json.dumps(index))
    with pytest.raises(CoaterError, match="has no finished decoy"):
        score_decoys(suspect, pictures, coater, out)
    other = replace(suspect, hashes=("0" * 64,) * len(suspect))
    with pytest.raises(ScoreError, match="changed while they were scored"):
        score_decoys(other, pictures, coater, folder)


def test_stored_scores_must_be_of_the_coaters_own_decoys() -> None:
    whole = ranked(0.5, [0.1, 0.2, 0.3])
    assert decoys_of(whole) is not None
    with pytest.raises(ScoreError, match="not those of decoys 1 to 3 of this coater"):
        decoys_of(replace(whole, coater="c" * 64))
    for change in (
        lambda one: one.update(seed=7),
        lambda one: one.update(number=3),
        lambda one: one["scores"].pop(),
        lambda one: one.update(coater="a" * 64),
    ):
        source = copy.deepcopy(whole.source)
        change(source["decoys"]["decoys"][1])
        with pytest.raises(ScoreError, match="not those of decoys 1 to 3 of this coater"):
            decoys_of(replace(whole, source=source))
    for bad in (None, 3, {}, {"recipe": "x"}):
        with pytest.raises(ScoreError, match="scores by decoys"):
            decoys_of(replace(whole, source={"decoys": bad}))


def test_seeds_follow_from_the_coater_alone() -> None:
    seeds = {decoy_seed(one * 64, number) for one in "abc" for number in range(1, 100)}
    assert len(seeds) == 297
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert decoy_seed("a" * 64, 1) == decoy_seed("a" * 64, 1)


def test_the_way_from_clean_to_coated() -> None:
    ends = Ends(clean=4.0, coated=2.0)
    assert way_of([4.0, 4.0], ends) == 0
    assert way_of([1.0, 3.0], ends) == 1
    assert way_of([5.0], ends) == -0.5
    # a coater that can't tell its coating: no division by zero, and no reversed sign
    assert way_of([1.0], Ends(1.0, 1.0)) == 0
    assert way_of([0.5], Ends(1.0, 2.0)) > 0
