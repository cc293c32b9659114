"""The start coater: Reptile's arithmetic, tasks, going on after a stop, and the command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.stopping import StopAtQuestion
from support.tiny_models import draw_images
from support.toy_training import SMALL, Toy

from siren_ext.coater.coater import Coater
from siren_ext.errors import Cancelled, CoaterError, ConfigError, DatasetError
from siren_ext.training.reptile import MetaConfig, MetaRun, TaskConfig, reptile, train_start
from siren_ext.training.tasks import SHARED_CAPTION, ArrayPictures, CorpusTasks, SetTasks, Task

INNER = TaskConfig(steps=3, batch_size=2, denoised=1, learning_rate=5e-3, extractor_rate=5e-3)
CONFIG = MetaConfig(tasks=3, task_images=3, plain_tasks=1)


def toy(task: Task) -> Toy:
    made = Toy(16)
    made.prompt = task.prompt
    return made


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> SetTasks:
    root = tmp_path_factory.mktemp("sets")
    draw_images(root / "red_cats", 4, size=16)
    draw_images(root / "dogs", 2, size=20)
    return SetTasks.open([root])


def start_of(tasks: SetTasks, config: MetaConfig = CONFIG, **options: Any) -> Coater:
    options = {"coater": SMALL, "device": "cpu"} | options
    return train_start(tasks, toy, config, options.pop("inner", INNER), **options)


# -- the update ---------------------------------------------------------------------------


def weights(value: float) -> dict[str, torch.Tensor]:
    names = ("generator.a", "extractor.layers.b", "extractor.linear.weight")
    return {name: torch.full((2,), value) for name in names}


def test_update_by_hand() -> None:
    """Start 1, adapted 3, a quarter of the way: 1.5 (SIREN, Eq. 9 and 10)."""
    start, following = reptile(weights(1.0), weights(3.0), 0.25, "default")
    for name, value in start.items():
        assert value.tolist() == [1.5, 1.5]
        assert torch.equal(following[name], value)


def test_official_update_goes_on_from_the_adapted_weights() -> None:
    """Both move by a quarter of 2, but for the extractor's last layer."""
    start, following = reptile(weights(1.0), weights(3.0), 0.25, "official")
    assert [float(v[0]) for v in start.values()] == [1.5, 1.5, 1.0]
    assert [float(v[0]) for v in following.values()] == [3.5, 3.5, 3.0]


def one_task(tasks: SetTasks, **changes: Any) -> tuple[MetaRun, dict[str, torch.Tensor]]:
    """A run after one task, and the weights as they were adapted by it."""
    config = dataclasses.replace(CONFIG, **changes)
    run = MetaRun(tasks, toy, config, INNER, coater=SMALL, start=None, device="cpu")
    trainer = run._trainer(start=run._coater(run.next))
    while trainer.step < INNER.steps:
        trainer.advance()
    run.adapt()
    return run, trainer.coater.tensors()


def test_rate_one_gives_the_adapted_weights(tasks: SetTasks) -> None:
    run, adapted = one_task(tasks, meta_rate=1.0)
    for name, value in run.start.items():
        torch.testing.assert_close(value, adapted[name], rtol=0, atol=1e-6)


def test_rate_zero_leaves_the_start_alone(tasks: SetTasks) -> None:
    before = MetaRun(tasks, toy, CONFIG, INNER, coater=SMALL, start=None, device="cpu").start
    run, adapted = one_task(tasks, meta_rate=0.0)
    assert all(torch.equal(run.start[name], value) for name, value in before.items())
    assert not torch.equal(
        adapted["generator.final_layer.weight"], before["generator.final_layer.weight"]
    )
    official, _ = one_task(tasks, meta_rate=0.0, variant="official")
    assert torch.equal(
        official._coater(official.next).generator.final_layer.weight,
        adapted["generator.final_layer.weight"],
    )


@pytest.mark.parametrize("variant", ["default", "official"])
def test_what_is_saved(tasks: SetTasks, variant: str) -> None:
    """The start by Reptile; the weights that went on by the published code."""
    config = dataclasses.replace(CONFIG, variant=variant)
    run = MetaRun(tasks, toy, config, INNER, coater=SMALL, start=None, device="cpu")
    for _ in range(2):
        run.adapt()
    made = run.finish().tensors()
    kept = run.start if variant == "default" else run.next
    assert all(torch.equal(made[name], value) for name, value in kept.items())
    same = all(torch.equal(run.start[name], value) for name, value in run.next.items())
    assert same == (variant == "default")


# -- a run --------------------------------------------------------------------------------


def test_a_start_is_a_coater_that_tells_how_it_was_made(tasks: SetTasks, tmp_path: Path) -> None:
    made = start_of(tasks)
    made.save(tmp_path / "start.safetensors")
    read = Coater.load(tmp_path / "start.safetensors")
    assert read.fingerprint == made.fingerprint
    told = read.provenance
    assert told["meta"]["tasks"] == 3
    assert told["training"]["steps"] == 3
    assert told["tasks_sha256"] == tasks.hash
    assert {"q", "psnr", "auc"} <= set(told["figures"])
    assert not any(p.requires_grad for p in made.extractor.parameters())


def test_equal_seeds_give_equal_starts(tasks: SetTasks) -> None:
    made = [start_of(tasks, dataclasses.replace(CONFIG, seed=s)).fingerprint for s in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_first_tasks_from_random_weights_are_plain(tasks: SetTasks) -> None:
    """Detection alone; a coater that is trained already has every term on at once."""
    fresh = MetaRun(tasks, toy, CONFIG, INNER, coater=SMALL, start=None, device="cpu")
    assert fresh._trainer(coater=SMALL).config.warmup == INNER.steps
    fresh.done = 1
    assert fresh._trainer(coater=SMALL).config.warmup == 0
    begun = MetaRun(tasks, toy, CONFIG, INNER, coater=None, start=Coater(SMALL), device="cpu")
    assert begun._trainer(start=begun.coater).config.warmup == 0


def test_begins_with_a_trained_coater_and_leaves_it_alone(tasks: SetTasks) -> None:
    given = Coater(SMALL, seed=4)
    before = given.fingerprint
    still = start_of(tasks, dataclasses.replace(CONFIG, meta_rate=0.0), start=given)
    assert given.fingerprint == before == still.fingerprint
    assert start_of(tasks, start=given).fingerprint != before


@pytest.mark.parametrize("variant", ["default", "official"])
def test_an_interrupted_run_ends_like_an_unbroken_one(
    tasks: SetTasks, tmp_path: Path, variant: str
) -> None:
    config = dataclasses.replace(CONFIG, variant=variant)
    whole = start_of(tasks, config)
    state = tmp_path / "start.state"
    # in the first task (nothing kept), after it, and in the middle of the last
    for questions, kept in ((1, False), (3, True), (6, True)):
        with pytest.raises(Cancelled):
            start_of(tasks, config, resume=state, progress=StopAtQuestion(questions + 1))
        assert state.exists() == kept
    resumed = start_of(tasks, config, resume=state)
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.provenance == whole.provenance
    assert not state.exists()


def test_time_is_up_after_a_whole_task(tasks: SetTasks) -> None:
    cut = start_of(tasks, minutes=0.0)
    assert cut.provenance["meta"]["tasks"] == 1
    same = start_of(tasks, dataclasses.replace(CONFIG, tasks=1))
    assert (cut.fingerprint, cut.provenance) == (same.fingerprint, same.provenance)


def test_a_state_of_another_run_is_refused(tasks: SetTasks, tmp_path: Path) -> None:
    state = tmp_path / "start.state"
    with pytest.raises(Cancelled):
        start_of(tasks, resume=state, progress=StopAtQuestion(8))
    for changes in ({"seed": 1}, {"meta_rate": 0.1}, {"variant": "official"}):
        with pytest.raises(CoaterError, match="belongs to a run with other images"):
            start_of(tasks, dataclasses.replace(CONFIG, **changes), resume=state)
    with pytest.raises(CoaterError, match="has finished 2 tasks already"):
        start_of(tasks, dataclasses.replace(CONFIG, tasks=1), resume=state)
    longer = start_of(tasks, dataclasses.replace(CONFIG, tasks=4), resume=state)
    assert longer.provenance["meta"]["tasks"] == 4


@pytest.mark.parametrize("bad", [{"variant": "paper"}, {"meta_rate": 1.5}, {"tasks": 0}])
def test_impossible_settings(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        MetaConfig(**bad)


# -- tasks --------------------------------------------------------------------------------


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
    with pytest.raises(DatasetError, match="is no folder"):
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
    with pytest.raises(DatasetError, match="is no corpus folder"):
        CorpusTasks(tmp_path)
    corpus(tmp_path)
    (tmp_path / "captions.json").write_text("[]")
    with pytest.raises(DatasetError, match="doesn't fit the images; expected 40"):
        CorpusTasks(tmp_path)
    np.save(tmp_path / "images.npy", np.zeros((4, 8, 8, 3)))
    with pytest.raises(DatasetError, match="expected N x H x W x 3 bytes"):
        CorpusTasks(tmp_path)
    # a pickle must never be run
    np.save(tmp_path / "images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match="is no corpus folder"):
        CorpusTasks(tmp_path)


# -- with a diffusion model ---------------------------------------------------------------


@pytest.mark.models
def test_command(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from support.tiny_models import need_models, shared_model
    from typer.testing import CliRunner

    need_models()
    from siren_ext.cli.app import app

    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    draw_images(tmp_path / "sets" / "cats", 3)
    draw_images(tmp_path / "sets" / "dogs", 3)
    out = tmp_path / "start.safetensors"
    words = ["meta", str(tmp_path / "sets"), "--base", str(base), "--out", str(out), "-q"]
    words += ["--tasks", "2", "--device", "cpu"]
    for setting in ("inner.steps=2", "inner.batch_size=2", "coater.channels=4"):
        words += ["--set", setting]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    made = Coater.load(out)
    assert made.provenance["meta"]["tasks"] == 2
    assert made.provenance["training"]["steps"] == 2
    assert (made.config.channels, made.config.working_size) == (4, 16)
    assert not out.with_name(out.name + ".state").exists()
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    neither = CliRunner().invoke(app, ["meta", "--base", str(base), "--out", str(tmp_path / "x")])
    assert neither.exit_code == 2
