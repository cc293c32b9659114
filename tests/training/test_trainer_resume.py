"""Stopped runs end like unbroken ones, and states of other runs are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.stopping import StopAfter
from support.tiny_models import tiny_surrogate
from support.toy_training import QUICK, SMALL, Broken, Toy, quick, trainer

from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, CoaterError
from siren_ext.training import train as training
from siren_ext.training.config import TrainConfig
from siren_ext.training.train import train_coater
from siren_ext.training.trainer import CoaterTrainer


@pytest.mark.parametrize(
    "config",
    [
        QUICK,
        quick(objective="published", learn_images=0),
        quick(objective="sum", sphere="radius"),
    ],
)
def test_an_interrupted_run_ends_like_an_unbroken_one(
    few: ImageSet, tmp_path: Path, config: TrainConfig
) -> None:
    whole = train_coater(few, Toy(16), config, coater=SMALL)
    state = tmp_path / "run.state"
    for steps in (1, 2, 4):
        with pytest.raises(Cancelled):
            train_coater(
                few, Toy(16), config, coater=SMALL, resume=state, progress=StopAfter(steps)
            )
        assert state.exists()
    resumed = train_coater(few, Toy(16), config, coater=SMALL, resume=state)
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.provenance == whole.provenance
    assert not state.exists()


def test_an_interrupt_within_a_step_keeps_the_last_whole_one(
    few: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step has half done (running figures, twins) must not get into the file."""
    whole = train_coater(few, Toy(16), QUICK, coater=SMALL)
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    state = tmp_path / "run.state"
    with pytest.raises(KeyboardInterrupt):
        train_coater(few, Broken(4, KeyboardInterrupt()), QUICK, coater=SMALL, resume=state)
    resumed = train_coater(few, Toy(16), QUICK, coater=SMALL, resume=state)
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.provenance == whole.provenance


def test_a_state_of_another_run_is_refused(few: ImageSet, photos: ImageSet, tmp_path: Path) -> None:
    state = tmp_path / "run.state"
    run = trainer(few)
    run.advance()
    run.save(state)
    other, another = Toy(16), Toy(16)
    other.prompt = "another toy"
    another.identity = "of other weights"
    start = Coater(SMALL, seed=9)
    others: tuple[Callable[[], CoaterTrainer], ...] = (
        lambda: trainer(few, quick(seed=1)),
        lambda: trainer(photos),
        lambda: trainer(few, coater=dataclasses.replace(SMALL, bits=3)),
        lambda: trainer(few, start=start),
        lambda: trainer(few, surrogate=other),
        lambda: trainer(few, surrogate=another),
        lambda: trainer(few, surrogate=Toy(32)),
    )
    for make in others:
        with pytest.raises(
            CoaterError, match="belongs to a run with other images, settings, start or m"
        ):
            make().restore(state)
    trainer(few).restore(state)
    trainer(few).restore(tmp_path / "none.state")
    for damage in (b"", state.read_bytes()[:-900], b"\x80\x02K\x01."):
        state.write_bytes(damage)
        with pytest.raises(CoaterError, match="is not a training state"):
            trainer(few).restore(state)
    torch.save([1, 2], state)
    with pytest.raises(CoaterError, match="is not a training state"):
        trainer(few).restore(state)


@pytest.mark.models
def test_a_rehearsing_run_resumes_bit_for_bit(
    few: ImageSet, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    surrogate = tiny_surrogate(tmp_path_factory.getbasetemp())
    config = quick(
        steps=4,
        warmup=1,
        denoised=1,
        round_trips=0,
        rehearse_every=2,
        rehearse_steps=1,
        rehearse_images=2,
    )
    whole = train_coater(few, surrogate, config, coater=SMALL)
    assert "mimicry auc" in whole.provenance["figures"]
    state = tmp_path / "run.state"
    for steps in (2, 1):  # after the first rehearsal, and right before the second
        with pytest.raises(Cancelled):
            train_coater(
                few, surrogate, config, coater=SMALL, resume=state, progress=StopAfter(steps)
            )
    resumed = train_coater(few, surrogate, config, coater=SMALL, resume=state)
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.provenance == whole.provenance


def test_a_coarse_run_resumes_bit_for_bit(few: ImageSet, tmp_path: Path) -> None:
    shape, fitting = dataclasses.replace(SMALL, coarse=2.0), 17
    whole = train_coater(few, Toy(16), quick(steps=4), coater=shape)
    with pytest.raises(Cancelled):
        train_coater(
            few,
            Toy(16),
            quick(steps=4),
            coater=shape,
            resume=tmp_path / "run.state",
            progress=StopAfter(fitting + 2),
        )
    assert (tmp_path / "run.state").exists()
    again = train_coater(few, Toy(16), quick(steps=4), coater=shape, resume=tmp_path / "run.state")
    assert again.fingerprint == whole.fingerprint
