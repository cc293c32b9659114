"""Personalisation: targets, loss, exact resumption, and a file that merges to what was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.adapters.merge import load_adapter
from siren_ext.adapters.read import read_summary
from siren_ext.adapters.summary import AdapterSummary
from siren_ext.adapters.write import save_kohya
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.errors import Cancelled, ConfigError, DatasetError
from siren_ext.personalize import run
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.data import TrainingData, caption, prepare
from siren_ext.personalize.lora import LoraWeights, text_targets, unet_targets
from siren_ext.personalize.run import personalize
from siren_ext.progress import NULL, Progress

need_models()
pytestmark = pytest.mark.models

SMALL = PersonalizeConfig(
    steps=6, batch_size=3, rank=4, alpha=4.0, conv_rank=2, conv_alpha=1.0, precision="float32",
    learning_rate=1e-2, warmup=2, caption_dropout=0.2,
)  # fmt: skip


def small(**changes: Any) -> PersonalizeConfig:
    return PersonalizeConfig.from_dict(SMALL.to_dict() | changes)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module")
def model(root: Path) -> Path:
    return shared_model(root, "tiny", "epsilon")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("data"), 4))


class StopAt(Progress):
    """Cancels (or fails hard) once so many training steps are done."""

    def __init__(self, steps: int, error: type[BaseException] = Cancelled) -> None:
        super().__init__()
        self.left, self.error, self.training = steps, error, False
        self.notes: list[str] = []

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.training = label == "Personalising"
        self.done = done

    def advance(self, units: int = 1, note: str = "") -> None:
        if self.training:
            self.notes.append(note)
            self.left -= 1
            if self.left == 0:
                raise self.error("stopped")


def trained(out: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(out)


def load(model: Path, dtype: torch.dtype = torch.float32) -> Any:
    return pipelines.load_pipeline(model, device="cpu", dtype=dtype)


def test_targets_are_kohyas(model: Path) -> None:
    unet = load(model).unet
    plain = unet_targets(unet, small(conv_rank=0))
    assert all(".attentions." in path for path in plain)
    assert "mid_block.attentions.0.proj_in" in plain
    assert "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj" in plain
    assert set(plain.values()) == {(4, 4.0)}
    wide = unet_targets(unet, SMALL)
    extra = set(wide) - set(plain)
    assert {wide[path] for path in extra} == {(2, 1.0)}
    assert "down_blocks.0.resnets.0.conv1" in extra
    assert "down_blocks.0.downsamplers.0.conv" in extra
    assert "up_blocks.0.upsamplers.0.conv" in extra
    assert not any("time_emb" in path or path in ("conv_in", "conv_out") for path in wide)


@pytest.mark.parametrize("text", [False, True])
def test_merged_file_equals_the_trained_network(model: Path, tmp_path: Path, text: bool) -> None:
    config = small(train_text_encoder=text)
    pipeline = load(model)
    weights = LoraWeights(pipeline, config)
    noise, prompts = torch.randn(2, 4, 4, 4), ["a cat", "a dog"]

    def predict(pipe: Any) -> torch.Tensor:
        with torch.no_grad():
            embeds = pipelines.encode_prompts(pipe, prompts)
            return pipe.unet(noise, 300, embeds, return_dict=False)[0]

    untouched = predict(load(model))
    torch.testing.assert_close(predict(pipeline), untouched, atol=1e-6, rtol=0)
    generator = torch.Generator().manual_seed(1)
    weights.restore(torch.randn(weights.vector.shape, generator=generator) * 0.1)
    save_kohya(tmp_path / "a.safetensors", weights.modules(), {})
    merged = load(model)
    summary = load_adapter(merged, tmp_path / "a.safetensors")
    assert summary.modules == len(weights.names)
    assert (summary.text_modules > 0) == text
    if text:
        assert summary.text_modules == len(text_targets(merged.text_encoder, config)) == 12
    torch.testing.assert_close(predict(merged), predict(pipeline), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(predict(merged), untouched, atol=1e-3)


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


def test_whole_run_writes_kohya_metadata(model: Path, data: ImageSet, tmp_path: Path) -> None:
    watch = StopAt(10**9)
    summary = personalize(
        data, model, SMALL, tmp_path / "lora.safetensors", device="cpu", progress=watch
    )
    assert isinstance(summary, AdapterSummary)
    facts = summary.metadata
    assert facts["ss_network_module"] == "networks.lora"
    assert facts["ss_network_dim"] == "4"
    assert json.loads(facts["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "1.0"}
    assert facts["ss_output_name"] == "lora"
    assert facts["ss_num_train_images"] == "4"
    assert facts["ss_base_model_version"] == "sd_v1"
    assert facts["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert facts["sshs_model_hash"] == summary.hash
    folders = json.loads(facts["ss_dataset_dirs"])
    assert [v["img_count"] for v in folders.values()] == [4]
    assert not any(str(data.root) in text or str(tmp_path) in text for text in facts.values())
    assert summary.ranks == (2, 4)
    assert [p.name for p in tmp_path.iterdir()] == ["lora.safetensors"]
    assert len(watch.notes) == SMALL.steps
    assert "loss 0." in watch.notes[-1] or "loss 1." in watch.notes[-1]
    assert "s/step" in watch.notes[-1]
    ups = [v for k, v in trained(tmp_path / "lora.safetensors").items() if "lora_up" in k]
    assert all(up.abs().max() > 0 for up in ups)


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
        monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)
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

    monkeypatch.setattr(run, "SAVE_SECONDS", 0.0)
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
    other = personalize(data, model, small(steps=1, seed=1), out, device="cpu")
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


def test_batches_go_round_and_depend_on_seed_and_step_only(data: ImageSet) -> None:
    rows = np.array([0, 1, 1, 2, 3], np.int64)
    latents = torch.arange(8.0).view(2, 4, 1, 1, 1)
    table = TrainingData(latents, torch.arange(1, 5), ("", "a", "b", "c", "d"), rows)
    config = small(batch_size=5, caption_dropout=0.0)
    for step in (0, 7):
        batch = table.batch(step, config)
        again = table.batch(step, config)
        assert torch.equal(batch.latents, again.latents)
        assert batch.seed == again.seed
        assert sorted((batch.latents.flatten() % 4).tolist()) == [0, 1, 1, 2, 3]
        assert torch.equal(batch.texts, (batch.latents.flatten() % 4).long() + 1)
    assert table.batch(0, config).seed != table.batch(1, config).seed
    dropped = table.batch(0, small(batch_size=5, caption_dropout=1.0))
    assert dropped.texts.tolist() == [0] * 5
    assert table.epochs(small(steps=6, batch_size=3)) == 4


def test_captions_and_prompts(data: ImageSet, tmp_path: Path) -> None:
    item = data.items[0]
    assert caption(item, SMALL) == item.caption
    assert caption(item, small(prompt="an image of a thing")) == "an image of a thing"
    with pytest.raises(DatasetError, match="class words"):
        caption(item, small(prompt="an image of a {class}"))
    bare = ImageSet.open(draw_images(tmp_path / "bare" / "3_red bird", 2, captions=False).parent)
    assert caption(bare.items[0], SMALL) == "red bird"
    assert caption(bare.items[0], small(prompt="a photo of {class}")) == "a photo of red bird"
    none = ImageSet.open(draw_images(tmp_path / "none", 1, captions=False))
    with pytest.raises(DatasetError, match="no caption"):
        caption(none.items[0], SMALL)


def test_broken_images_are_left_out(model: Path, tmp_path: Path) -> None:
    folder = draw_images(tmp_path / "data", 3)
    (folder / "1.png").write_bytes(b"not a picture")
    summary = personalize(
        ImageSet.open(folder), model, small(steps=1), tmp_path / "a.safetensors", device="cpu"
    )
    assert summary.metadata["ss_num_train_images"] == "2"


def test_wrong_settings_are_named(model: Path, data: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected one in \.safetensors"):
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


def test_summary_can_be_read_again(model: Path, data: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    made = personalize(data, model, small(steps=1, save_precision="float16"), out, device="cpu")
    assert read_summary(out) == made
    assert {v.dtype for v in trained(out).values()} == {torch.float16}
