"""The start coater: Reptile's arithmetic, going on after a stop, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from support.stopping import StopAtQuestion
from support.tiny_models import draw_images
from support.toy_training import SMALL, Toy

from siren_ext.coater.coater import Coater
from siren_ext.errors import Cancelled, CoaterError, ConfigError
from siren_ext.training.reptile import MetaConfig, MetaRun, TaskConfig, reptile, train_start
from siren_ext.training.tasks import SetTasks, Task

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
    while trainer.state.step < INNER.steps:
        trainer.advance()
    run.adapt()
    return run, trainer.state.coater.tensors()


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
    with pytest.raises(CoaterError, match="has already finished 2 tasks"):
        start_of(tasks, dataclasses.replace(CONFIG, tasks=1), resume=state)
    longer = start_of(tasks, dataclasses.replace(CONFIG, tasks=4), resume=state)
    assert longer.provenance["meta"]["tasks"] == 4


@pytest.mark.parametrize("bad", [{"variant": "paper"}, {"meta_rate": 1.5}, {"tasks": 0}])
def test_impossible_settings(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        MetaConfig(**bad)


def test_a_state_is_not_continued_with_another_model(tasks: SetTasks, tmp_path: Path) -> None:
    state = tmp_path / "start.state"
    with pytest.raises(Cancelled):
        start_of(tasks, resume=state, identity="one", progress=StopAtQuestion(4))
    with pytest.raises(CoaterError, match="other images, settings, start or model"):
        start_of(tasks, resume=state, identity="other")
    start_of(tasks, resume=state, identity="one")
