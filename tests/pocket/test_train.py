"""Training the pocket model: what it writes loads anywhere and can be begun from."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_models import need_models

from siren_ext.errors import ConfigError, ModelError
from siren_ext.pocket import parts, train

need_models()
pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def small() -> Any:
    """Narrow networks: the real ones take too long."""
    with pytest.MonkeyPatch.context() as patch:
        tiny = parts.Design((32, 32, 64), (1, 1, 2), "v_prediction")
        patch.setitem(parts.DESIGNS, "pocket", tiny)
        patch.setitem(parts.DESIGNS, "small", replace(tiny, prediction="epsilon"))
        yield


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of three pictures and a random autoencoder under TAESD's names."""
    from diffusers import AutoencoderTiny

    root = tmp_path_factory.mktemp("sources")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    np.save(root / "images.npy", pixels)
    texts = ("a photo of a red cat", "a clip art of fish", "a house")
    rows = [{"caption": text, "source": "test"} for text in texts]
    (root / "captions.json").write_text(json.dumps(rows), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderTiny(scaling_factor=1.0)
    for part, offset in (("encoder", 0), ("decoder", 1)):
        named = {}
        for key, value in getattr(vae, part).layers.state_dict().items():
            index, rest = key.split(".", 1)
            named[f"{int(index) + offset}.{rest}"] = value.clone()
        save_file(named, root / f"taesd_{part}.safetensors")
    return root


def run(sources: Path, work: Path, out: Path, *more: str) -> None:
    where = ["--corpus", sources, "--taesd", sources, "--work", work, "--out", out]
    train.main([str(word) for word in (*where, "--batch", 2, "--lr", "1e-3", *more)])


@pytest.fixture(scope="module")
def exported(small: None, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("exported")
    with torch.random.fork_rng(devices=[]):
        run(sources, root / "work", root / "out", "--steps", "2")
    return root


def test_export_is_complete(exported: Path) -> None:
    from siren_ext.diffusion.load import load_pipeline
    from siren_ext.diffusion.pipelines import encode_prompts, native_size

    out = exported / "out"
    for name in ("vocab.json", "merges.txt"):
        mine, theirs = exported / "work" / "tokenizer" / name, out / "tokenizer" / name
        assert mine.read_bytes() == theirs.read_bytes()
    assert (out / "tokenizer" / "tokenizer_config.json").exists()
    pipeline = load_pipeline(out, device="cpu", dtype=torch.float32)
    assert native_size(pipeline) == 128
    texts = encode_prompts(pipeline, ["a red cat", "a house"])
    assert texts.shape == (2, parts.MAX_TOKENS, parts.WIDTH)
    assert not torch.allclose(texts[0], texts[1])


def test_text_encoder_has_the_names_that_old_and_new_transformers_read(exported: Path) -> None:
    from transformers import CLIPTextModel

    folder = exported / "out" / "text_encoder"
    named = load_file(folder / "model.safetensors")
    assert all(key.startswith("text_model.") for key in named)
    assert not any(key.startswith("text_model.text_model.") for key in named)
    model, told = CLIPTextModel.from_pretrained(
        folder, local_files_only=True, output_loading_info=True
    )
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    for key, value in model.state_dict().items():
        full = key if key.startswith("text_model.") else f"text_model.{key}"
        if full in named:
            assert torch.equal(value.float(), named[full].float()), key


def weights(model: Path) -> dict[str, torch.Tensor]:
    named = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")
    return named | load_file(model / "text_encoder" / "model.safetensors")


def test_training_begins_from_an_exported_model(
    exported: Path, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a learning rate of nearly nothing the result is the start, not a fresh draw."""
    monkeypatch.setattr(train, "learning_rate", lambda *_: 1e-12)
    start = ("--start", str(exported / "out"), "--steps", "1")
    with torch.random.fork_rng(devices=[]):
        run(sources, tmp_path / "work", tmp_path / "out", *start, "--seed", "5")
    before, after = weights(exported / "out"), weights(tmp_path / "out")
    assert before.keys() == after.keys()
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=1e-3, atol=1e-6)
    again = tmp_path / "work" / "tokenizer" / "vocab.json"
    assert again.read_bytes() == (exported / "work" / "tokenizer" / "vocab.json").read_bytes()


def test_a_start_that_predicts_noise_learns_its_last_layer_anew(
    exported: Path, sources: Path, tmp_path: Path
) -> None:
    model, noise = exported / "out", tmp_path / "noise"
    shutil.copytree(model, noise)
    file = noise / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    assert config["prediction_type"] == "v_prediction"
    file.write_text(json.dumps({**config, "prediction_type": "epsilon"}), encoding="utf-8")
    for start, same in ((model, True), (noise, False)):
        out = tmp_path / f"out_{start.name}"
        run(sources, tmp_path / f"work_{start.name}", out, "--start", start, "--steps", 0)
        mine, theirs = weights(out), weights(start)
        differ = {name for name in theirs if not torch.equal(mine[name], theirs[name])}
        assert differ == (set() if same else {"conv_out.weight", "conv_out.bias"})
        assert same or not mine["conv_out.weight"].any()


def test_a_finished_run_exports_again(exported: Path, sources: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        run(sources, exported / "work", tmp_path / "out", "--steps", "2")
    again, first = weights(tmp_path / "out"), weights(exported / "out")
    assert again.keys() == first.keys()
    assert all(torch.equal(again[key], value) for key, value in first.items())


def test_a_start_that_does_not_fit_is_refused(
    exported: Path, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    with pytest.raises(ConfigError, match=r"does not contain vocab\.json, merges\.txt; expected"):
        run(sources, work, out, "--start", str(tmp_path), "--steps", "1")
    parts.make_tokenizer(["quite other words"], work / "tokenizer")
    start = ("--start", str(exported / "out"), "--steps", "1")
    with pytest.raises(ConfigError, match="Use a new --work folder"):
        run(sources, work, out, *start)
    wider = parts.Design((32, 64, 64), (1, 1, 2), "v_prediction")
    tokenizer = parts.load_tokenizer(exported / "work" / "tokenizer")
    with pytest.raises(ModelError, match=r"unet of .* does not have the shape"):
        parts.load_weights(
            exported / "out",
            unet=parts.make_unet(wider),
            text=parts.make_text_encoder(tokenizer),
        )


def test_a_model_that_predicts_noise_trains_on_part_of_the_corpus(
    small: None, sources: Path, tmp_path: Path
) -> None:
    from siren_ext.diffusion.load import load_pipeline

    work, out = tmp_path / "work", tmp_path / "out"
    options = ("--design", "small", "--precision", "float32", "--steps", "2")
    with torch.random.fork_rng(devices=[]):
        run(sources, work, out, *options, "--pictures", "2", "--no-mirror")
    assert np.load(work / "latents.npy").shape == (1, 2, 4, 16, 16)
    scheduler = load_pipeline(out, device="cpu", dtype=torch.float32).scheduler
    assert scheduler.config.prediction_type == "epsilon"
    with pytest.raises(ConfigError, match=r"latents of 2 pictures, 1 each; this call needs 2, 2"):
        run(sources, work, out, *options, "--pictures", "2")


def test_chosen_pictures_are_spread_over_the_corpus() -> None:
    assert train.chosen(10, None).tolist() == list(range(10))
    assert train.chosen(10, 20).tolist() == list(range(10))
    assert train.chosen(11, 3).tolist() == [0, 5, 10]
