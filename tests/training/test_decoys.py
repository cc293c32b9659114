"""Decoys are made like the coater, with seeds that nobody chooses, and resume."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.decoy_sets import SIDE, decoys_of_toy, owned, shared_decoys, true_coater
from support.stopping import Watched
from support.toy_training import Toy

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, CoaterError, ConfigError
from siren_ext.scoring.decoys import INDEX, decoy_file, decoy_seed, read_index, recipe_of
from siren_ext.training.decoys import decoys_against, make_decoys

Shared = tuple[ImageSet, Coater, Path]


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return shared_decoys(tmp_path_factory.getbasetemp())


def test_decoys_have_the_recipe_and_seeds_of_their_own(shared: Shared) -> None:
    data, coater, folder = shared
    index = read_index(folder, coater)
    assert [one.number for one in index.decoys] == [1, 2, 3, 4]
    made = [Coater.load(decoy_file(folder, one.number)) for one in index.decoys]
    assert len({coater.fingerprint, *(one.fingerprint for one in made)}) == 5
    for number, one in enumerate(made, start=1):
        assert recipe_of(one) == recipe_of(coater) == one.provenance["decoy"]["recipe"]
        seed = one.provenance["training"]["seed"]
        assert seed == decoy_seed(coater.fingerprint, number) != 4
    for ends in (index.ends, *(one.ends for one in index.decoys)):
        assert ends.coated < ends.clean
    # the same call changes nothing
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert decoys_of_toy(coater, data, folder, count=4) == index
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times


def test_a_stopped_run_resumes_with_the_same_decoys(tmp_path: Path, shared: Shared) -> None:
    data, coater, folder = shared
    for stop in (3, 24):  # in the first decoy, and in the second
        with pytest.raises(Cancelled):
            decoys_against(
                coater, data, Toy(SIDE), tmp_path, count=2, device="cpu", progress=Watched(stop)
            )
    assert len(read_index(tmp_path, coater).decoys) == 1
    found, whole = decoys_of_toy(coater, data, tmp_path), read_index(folder, coater)
    assert found.decoys == whole.decoys[:2]
    assert found.ends == whole.ends
    assert not list(tmp_path.glob("*.state"))


def test_other_images_recipes_and_coaters_are_refused(tmp_path: Path, shared: Shared) -> None:
    data, coater, folder = shared
    out = tmp_path / "decoys"
    with pytest.raises(CoaterError, match="does not have the images"):
        decoys_of_toy(coater, owned(tmp_path / "other", 2, seed=1), out)
    with pytest.raises(ConfigError, match="The number of decoys"):
        decoys_of_toy(coater, data, out, count=0)
    shutil.copytree(folder, out)
    other = true_coater(data, seed=5)
    with pytest.raises(CoaterError, match="lists decoys of another coater"):
        decoys_of_toy(other, data, out, count=1)
    # a file in place of decoy 5 that was trained with a seed of somebody's choice
    other.save(decoy_file(out, 5))
    with pytest.raises(CoaterError, match="was trained with the seed 5; decoy 5"):
        decoys_of_toy(coater, data, out, count=5)
    other.provenance["training"] |= {
        "seed": decoy_seed(coater.fingerprint, 5), "learning_rate": 0.002
    }  # fmt: skip
    other.save(decoy_file(out, 5))
    with pytest.raises(CoaterError, match="was not trained in the same way as the coater"):
        decoys_of_toy(coater, data, out, count=5)
    (out / INDEX).write_text("{}")
    with pytest.raises(CoaterError, match="Make the decoys again"):
        decoys_of_toy(coater, data, out, count=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": {"coater": "a"}}, "was adapted from another one"),
        ({"training": None}, "does not say how it was trained"),
    ],
)
def test_coaters_that_can_have_no_decoys(
    shared: Shared, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    coater = copy_of(shared[1], tmp_path)
    coater.provenance |= change
    with pytest.raises(CoaterError, match=message):
        recipe_of(coater)


def copy_of(coater: Coater, folder: Path) -> Coater:
    coater.save(folder / "copy.safetensors")
    return Coater.load(folder / "copy.safetensors")


def test_a_keyed_coater_needs_none() -> None:
    with pytest.raises(CoaterError, match="its key is tested against all other keys"):
        recipe_of(Coater(CoaterConfig(channels=4, message_bits=2, working_size=16)))


def test_the_stand_in_of_the_training_is_needed(shared: Shared, tmp_path: Path) -> None:
    data, coater, file = shared[0], copy_of(shared[1], tmp_path), tmp_path / "coater.safetensors"
    coater.provenance["surrogate_sha256"] = "0" * 64
    coater.save(file)
    with pytest.raises(CoaterError, match="give it with --surrogate"):
        make_decoys(file, data, "pocket", tmp_path / "out")
    (tmp_path / "coater.surrogate.safetensors").write_bytes(b"another")
    with pytest.raises(CoaterError, match="is not the stand-in"):
        make_decoys(file, data, "pocket", tmp_path / "out")
    assert not (tmp_path / "out").exists()
