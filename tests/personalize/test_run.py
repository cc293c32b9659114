"""Personalisation: loss, exact resumption, settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.short_runs import SMALL, StopAt, load, small
from support.tiny_models import need_models, shared_model

from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.errors import Cancelled, ConfigError
from siren_ext.personalize import loop, run
from siren_ext.personalize.data import prepare
from siren_ext.personalize.lora import LoraWeights
from siren_ext.personalize.run import personalize
from siren_ext.progress import NULL

need_models()
pytestmark = pytest.mark.models


def test_training_draws_nothing_from_the_global_generator(model: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = LoraWeights(load(model), SMALL).vector
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert torch.equal(one, LoraWeights(load(model), SMALL).vector)
    assert not torch.equal(one, LoraWeights(load(model), small(seed=1)).vector)


@pytest.mark.parametrize("vae", ["tiny", "kl"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_loss_falls(root: Path, data: ImageSet, vae: Any, prediction: Any) -> None:
    model = shared_model(root, vae, prediction)
    pipeline = load(model)
    config = small(steps=25, snr_gamma=5.0 if vae == "kl" else 0.0, caption_dropout=0.0)
    trainer = run.Trainer(pipeline, prepare(data, pipeline, config, NULL), config)

    def measure() -> float:
        batch = trainer.data.batch(0, config)
        with torch.no_grad():
            return trainer_loss(trainer, batch)

    before = measure()
    for _ in range(config.steps):
        trainer.advance()
    assert measure() < 0.9 * before
    assert all(
        p.grad is None
        for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder)
        for p in network.parameters()
    )


def trainer_loss(trainer: run.Trainer, batch: Any) -> float:
    total = 0.0
    for seed in range(4):
        total += float(
            pipelines.denoising_loss(
                trainer.pipeline,
                batch.latents,
                trainer._prompt_embeds(batch.texts),
                generator=torch.Generator().manual_seed(seed),
            ).mean()
        )
    return total


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt, SystemError])
def test_resumed_run_equals_an_unbroken_one(
    model: Path,
    data: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    config = small(train_text_encoder=error is KeyboardInterrupt)
    whole = personalize(data, model, config, tmp_path / "whole.safetensors", device="cpu")
    out = tmp_path / "broken.safetensors"
    if error is SystemError:  # as a kill would: nothing is saved but the periodic state
        monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    with pytest.raises(error):
        personalize(data, model, config, out, device="cpu", progress=StopAt(3, error))
    assert not out.exists()
    assert (tmp_path / "broken.safetensors.state").exists()
    watch = StopAt(10**9)
    resumed = personalize(data, model, config, out, device="cpu", progress=watch)
    assert watch.done == 3
    assert resumed.hash == whole.hash
    assert not (tmp_path / "broken.safetensors.state").exists()


def test_state_of_another_run_and_damaged_state_are_refused(
    model: Path, data: ImageSet, tmp_path: Path
) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(Cancelled):
        personalize(data, model, SMALL, out, device="cpu", progress=StopAt(2))
    with pytest.raises(ConfigError, match="belongs to a stopped run"):
        personalize(data, model, small(seed=9), out, device="cpu")
    (tmp_path / "a.safetensors.state").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="can't be read as the state"):
        personalize(data, model, SMALL, out, device="cpu")


def test_interrupt_inside_an_update_keeps_the_last_whole_state(
    model: Path, data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.safetensors"
    step = torch.optim.AdamW.step
    calls = 0

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        result = step(self, *args, **kwargs)
        if calls == 3:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        personalize(data, model, SMALL, out, device="cpu")
    state = torch.load(tmp_path / "a.safetensors.state", weights_only=True)
    assert state["step"] == 2
    monkeypatch.undo()
    resumed = personalize(data, model, SMALL, out, device="cpu")
    whole = personalize(data, model, SMALL, tmp_path / "b.safetensors", device="cpu")
    assert resumed.hash == whole.hash


def test_finished_run_is_not_repeated(model: Path, data: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    first = personalize(data, model, small(steps=1), out, device="cpu")
    stamp = out.stat().st_mtime_ns
    assert personalize(data, model, small(steps=1), out, device="cpu") == first
    assert out.stat().st_mtime_ns == stamp
    other = personalize(data, model, small(steps=1, seed=1), out, device="cpu", force=True)
    assert other.hash != first.hash


def test_accumulated_pieces_give_the_gradient_of_the_batch(model: Path, data: ImageSet) -> None:
    def gradient(**changes: Any) -> torch.Tensor:
        config = small(batch_size=4, max_grad_norm=0.0, **changes)
        pipeline = load(model)
        trainer = run.Trainer(pipeline, prepare(data, pipeline, config, NULL), config)
        batch = trainer.data.batch(0, config)
        trainer._backward(batch)
        trainer.weights.collect()
        return trainer.weights.vector.grad.clone()

    torch.testing.assert_close(
        gradient(), gradient(gradient_checkpointing=True), atol=1e-6, rtol=1e-4
    )
    assert gradient(accumulation=2).isfinite().all()


def test_bfloat16_run_keeps_float32_masters(model: Path, data: ImageSet, tmp_path: Path) -> None:
    pipeline = load(model, torch.bfloat16)
    config = small(learning_rate=1e-6)
    trainer = run.Trainer(pipeline, prepare(data, pipeline, config, NULL), config)
    start = trainer.weights.vector.detach().clone()
    live = [p.clone() for p in trainer.weights.live]
    for _ in range(4):
        trainer.advance()
    assert {p.dtype for p in trainer.weights.live} == {torch.bfloat16}
    assert trainer.weights.vector.dtype == torch.float32
    moved = (trainer.weights.vector - start).abs()
    assert 0 < moved.max() < 1e-5  # smaller than bfloat16's steps at the start values ...
    downs = zip(live[::2], trainer.weights.live[::2], strict=True)
    changed = [float((a != b).float().mean()) for a, b in downs]
    assert np.mean(changed) < 0.2  # ... so most live numbers have not moved yet
    out = personalize(
        data, model, small(precision="bfloat16"), tmp_path / "a.safetensors", device="cpu"
    )
    assert out.metadata["ss_mixed_precision"] == "bf16"


def test_wrong_settings_are_named(model: Path, data: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a name ending in \.safetensors"):
        personalize(data, model, SMALL, tmp_path / "a.pt", device="cpu")
    with pytest.raises(ConfigError, match="multiple of 8"):
        personalize(data, model, small(resolution=30), tmp_path / "a.safetensors", device="cpu")
    with pytest.raises(ConfigError, match="rank"):
        small(rank=0)
    with pytest.raises(ConfigError, match="precision"):
        small(precision="float16")


def test_learning_rate_schedule() -> None:
    config = small(warmup=4, steps=104, schedule="cosine", learning_rate=1.0)
    rates = [run.learning_rate(step, config) for step in range(104)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4] == 1.0
    assert rates[54] == pytest.approx(0.5)
    assert rates[-1] < 0.01
    assert run.learning_rate(50, small(learning_rate=1.0)) == 1.0
