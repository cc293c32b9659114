"""Tasks of meta-learning: from folders, from a corpus, and what is neither."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.tiny_models import draw_images

from siren_ext.errors import DatasetError
from siren_ext.training.tasks import SHARED_CAPTION, ArrayPictures, CorpusTasks, SetTasks


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> SetTasks:
    root = tmp_path_factory.mktemp("sets")
    draw_images(root / "red_cats", 4, size=16)
    draw_images(root / "dogs", 2, size=20)
    return SetTasks.open([root])


def test_sets_from_folders(tasks: SetTasks, tmp_path: Path) -> None:
    drawn = [tasks.draw(3, np.random.default_rng(seed)) for seed in range(12)]
    assert {task.name for task in drawn} == {"red_cats", "dogs"}
    assert {task.prompt for task in drawn} == {"a photo of red cats", "a photo of dogs"}
    sizes = {task.name: len(list(task.pictures.tensors(8))) for task in drawn}
    assert sizes == {"red_cats": 3, "dogs": 2}
    hashes = {task.pictures.hash for task in drawn if task.name == "red_cats"}
    assert len(hashes) > 1
    one = SetTasks.open([tasks.sets[0].root])
    assert [found.name for found in one.sets] == [tasks.sets[0].name]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="neither images nor folders"):
        SetTasks.open([tmp_path / "empty"])
    with pytest.raises(DatasetError, match="is not a folder"):
        SetTasks.open([tmp_path / "absent"])


def test_broken_images_are_left_out_and_named(tmp_path: Path) -> None:
    draw_images(tmp_path / "cats", 2, size=16)
    (tmp_path / "cats" / "torn.png").write_bytes(b"\x89PNG")
    found = SetTasks.open([tmp_path])
    assert [name for name, _ in found.problems] == ["cats/torn.png"]
    assert len(found.sets[0]) == 2


def corpus(folder: Path, count: int = 20) -> Path:
    """Class 'a' is large enough for a task of its own; the drawings all differ."""
    array = np.random.default_rng(0).integers(0, 256, (2 * count, 8, 8, 3), dtype=np.uint8)
    np.save(folder / "images.npy", array)
    rows = [{"caption": "a photo of a", "source": "photo"}] * count
    rows += [{"caption": f"drawing {n}", "source": "art"} for n in range(count)]
    (folder / "captions.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def test_tasks_from_the_corpus(tmp_path: Path) -> None:
    assert SHARED_CAPTION <= 20
    drawn = CorpusTasks(corpus(tmp_path))
    made = [drawn.draw(6, np.random.default_rng(seed)) for seed in range(12)]
    assert {task.name for task in made} == {"a photo of a", "art"}
    for task in made:
        assert isinstance(task.pictures, ArrayPictures)
        low = 0 if task.name == "a photo of a" else 20
        assert len(set(task.pictures.picks)) == 6
        assert all(low <= pick < low + 20 for pick in task.pictures.picks)
    views = list(made[0].pictures.tensors(8))
    expected = drawn.array[made[0].pictures.picks[0]]
    assert np.array_equal((views[0][0] * 255).round().byte().permute(1, 2, 0).numpy(), expected)
    again = drawn.draw(6, np.random.default_rng(3))
    assert again.pictures.hash == made[3].pictures.hash


def test_other_files_are_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"captions\.json can't be read.* siren_ext\.pocket\.corpus"
    ):
        CorpusTasks(tmp_path)
    corpus(tmp_path)
    (tmp_path / "captions.json").write_text("[]")
    with pytest.raises(DatasetError, match="doesn't fit the images: it has 0 entries; expected 40"):
        CorpusTasks(tmp_path)
    np.save(tmp_path / "images.npy", np.zeros((4, 8, 8, 3)))
    with pytest.raises(DatasetError, match="expected N x H x W x 3 bytes"):
        CorpusTasks(tmp_path)
    # a pickle must never be run
    np.save(tmp_path / "images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match="is not a corpus folder"):
        CorpusTasks(tmp_path)
