"""Single-file checkpoints of Stable Diffusion's layouts, without a folder beside them."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.hostile_files import check_reader
from support.original_format import original_format
from support.tiny_families import tiny_family
from support.tiny_models import need_models, shared_model

from siren_ext.diffusion import checkpoint_settings, families, pipelines, single_file
from siren_ext.errors import ModelError

need_models()
pytestmark = pytest.mark.models


# "t h" and "th e</w>": the word 'the' is one token
MERGES = '"bpe_simple_vocab_16e6.txt#version: 0.2\nt h\nth e</w>\nc a\n'


@pytest.fixture
def tiny(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, Path]:
    """A tiny pipeline, its weights as one file, and its sizes instead of those of 1.x."""
    folder = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    for part in ("unet", "vae", "text_encoder"):
        settings = json.loads((folder / part / "config.json").read_text())
        known = {name: settings[name] for name in checkpoint_settings.SD1[part] if name in settings}
        monkeypatch.setitem(checkpoint_settings.SD1, part, checkpoint_settings.SD1[part] | known)
    whole = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    path = tmp_path / "own.safetensors"
    save_file(original_format(whole), path)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packages")])
    return whole, path


def carry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str = "clip") -> Path:
    """An installed package that carries a small vocabulary and can't be imported."""
    folder = tmp_path / "packages" / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('it was imported')")
    packed = gzip.compress(MERGES.encode())
    (folder / "bpe_simple_vocab_16e6.txt.gz").write_bytes(packed)
    monkeypatch.setattr(single_file, "VOCABULARY_SHA256", hashlib.sha256(packed).hexdigest())
    return folder / "bpe_simple_vocab_16e6.txt.gz"


@pytest.mark.parametrize("package", ["clip", "open_clip"])
def test_file_alone_with_a_carried_vocabulary(
    tiny: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    whole, path = tiny
    carry(tmp_path, monkeypatch, package)
    single = pipelines.load_pipeline(path, device="cpu", dtype=torch.float32)
    for name in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(single, name).state_dict(), getattr(whole, name).state_dict()
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert single.tokenizer("the").input_ids == [515, 513, 516]
    assert single.tokenizer.model_max_length == 77
    assert single.scheduler.config.prediction_type == "epsilon"
    assert single.tokenizer.pad_token == "<|endoftext|>"


def test_file_alone_with_the_tokenizer_beside_it(tiny: tuple[Any, Path]) -> None:
    whole, path = tiny
    beside = path.with_suffix("") / "tokenizer"
    beside.mkdir(parents=True)
    for file, text in zip(
        ("vocab.json", "merges.txt"), single_file.tokenizer_files(MERGES), strict=True
    ):
        (beside / file).write_text(text, encoding="utf-8")
    single = pipelines.load_pipeline(path, device="cpu", dtype=torch.float32)
    assert single.tokenizer("the").input_ids == [515, 513, 516]
    assert torch.equal(single.unet.conv_in.weight, whole.unet.conv_in.weight)


def test_nowhere_a_vocabulary(
    tiny: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = tiny
    with pytest.raises(ModelError, match=r"siren-ext\[single-file\].*merges\.txt.*own/tokenizer"):
        pipelines.load_pipeline(path, device="cpu")
    carry(tmp_path, monkeypatch).write_bytes(gzip.compress(b"something else"))
    with pytest.raises(ModelError, match="CLIP's vocabulary is too large"):
        pipelines.load_pipeline(path, device="cpu")


def test_an_adapter_is_no_base_model(tmp_path: Path) -> None:
    path = tmp_path / "lora.safetensors"
    save_file({"lora_unet_mid_block.lora_down.weight": torch.zeros(2, 3)}, path)
    with pytest.raises(ModelError, match="is an adapter, such as a LoRA; expected a whole model"):
        pipelines.load_pipeline(path, device="cpu")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", "own.safetensors contains only weights"),
        (
            "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
            "contains only weights",
        ),
    ],
)
def test_other_families_need_a_folder(tiny: tuple[Any, Path], name: str, words: str) -> None:
    _, path = tiny
    state = load_file(path)
    if name.endswith("0.0.weight"):  # inpainting: nine channels
        state[name] = state[name].repeat(1, 3, 1, 1)[:, :9].contiguous()
    else:
        del state[name]
    save_file(state, path)
    with pytest.raises(ModelError, match=words):
        pipelines.load_pipeline(path, device="cpu")


def test_lacking_weights_are_not_made_up(
    tiny: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = tiny
    carry(tmp_path, monkeypatch)
    state = load_file(path)
    del state["model.diffusion_model.out.2.weight"]
    save_file(state, path)
    with pytest.raises(ModelError, match=r"own\.safetensors"):
        pipelines.load_pipeline(path, device="cpu")


def open_clip(encoder: Any, prefix: str) -> dict[str, torch.Tensor]:
    """A CLIP text encoder's weights under OpenCLIP's names."""
    state = {key.removeprefix("text_model."): v for key, v in encoder.state_dict().items()}
    found = {
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
    }
    width = len(state["final_layer_norm.bias"])
    projection = state.get("text_projection.weight", torch.eye(width))
    found["text_projection"] = projection.T
    names = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    for number in range(encoder.config.num_hidden_layers):
        old, new = f"encoder.layers.{number}.", f"transformer.resblocks.{number}."
        for kind in ("weight", "bias"):
            for theirs, ours in names.items():
                found[f"{new}{ours}.{kind}"] = state[f"{old}{theirs}.{kind}"]
            three = [state[f"{old}self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            found[f"{new}attn.in_proj_{kind}"] = torch.cat(three)
    return {f"{prefix}{key}": value for key, value in found.items()}


def in_one_file(pipeline: Any) -> dict[str, torch.Tensor]:
    """A pipeline's weights as a checkpoint of Stable Diffusion 2.x or XL."""
    from siren_ext.adapters.names import Modules
    from siren_ext.adapters.names import ldm_path as named

    per_block = int(pipeline.unet.config.layers_per_block)
    late = {target.path: flat for (_, flat), target in Modules(pipeline)._found.items()
            if flat.startswith("output_blocks") and flat.endswith("_conv")}  # fmt: skip
    state = {}
    for key, value in pipeline.unet.state_dict().items():
        # the longest part of a path that has a name of its own in the original
        path, _, kind = key.rpartition(".")
        new = named(path, per_block) or re.sub(
            r"output_blocks_(\d+)_(\d)_conv", r"output_blocks.\1.\2.conv", late.get(path, "")
        )
        assert new, key
        state[f"model.diffusion_model.{new}.{kind}"] = value
    rest = original_format(SimpleNamespace(unet=torch.nn.Identity(), vae=pipeline.vae,
                                           text_encoder=torch.nn.Identity()))  # fmt: skip
    state |= rest
    second = getattr(pipeline, "text_encoder_2", None)
    if second is None:
        state |= open_clip(pipeline.text_encoder, "cond_stage_model.model.")
    else:
        for key, value in pipeline.text_encoder.state_dict().items():
            full = f"text_model.{key.removeprefix('text_model.')}"
            state[f"conditioner.embedders.0.transformer.{full}"] = value
        state |= open_clip(second, "conditioner.embedders.1.model.")
    return {key: value.clone().contiguous() for key, value in state.items()}


@pytest.fixture(params=["sd2", "xl"])
def newer(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Any, Path, str]:
    """As ``tiny``, for Stable Diffusion 2.x and XL; with the name of the family."""
    root = tmp_path_factory.getbasetemp() / "families"
    root.mkdir(exist_ok=True)
    folder = tiny_family(root, request.param)
    parts = checkpoint_settings.SD2 if request.param == "sd2" else checkpoint_settings.XL
    for part in parts:
        file = folder / part / "config.json"
        if file.is_file():
            settings = json.loads(file.read_text())
            # heads and the like are left out of some files where they have their usual value
            known = {name: settings[name] for name in parts[part] if name in settings}
            monkeypatch.setitem(parts, part, parts[part] | known)
    whole = families.load_any_pipeline(folder, device="cpu", dtype=torch.float32)
    path = tmp_path / "own.safetensors"
    save_file(in_one_file(whole), path)
    carry(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packages")])
    return whole, path, request.param


def test_newer_files_alone(newer: tuple[Any, Path, str]) -> None:
    whole, path, name = newer
    if name == "sd2":
        with pytest.raises(ModelError, match="doesn't say what it predicts"):
            families.load_any_pipeline(path, device="cpu", dtype=torch.float32)
        given = path.with_suffix("") / "scheduler" / "scheduler_config.json"
        given.parent.mkdir(parents=True)
        given.write_text('{"prediction_type": "v_prediction"}')
    single = families.load_any_pipeline(path, device="cpu", dtype=torch.float32)
    assert type(single) is type(whole)
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        if hasattr(whole, part):
            ours, theirs = getattr(single, part).state_dict(), getattr(whole, part).state_dict()
            assert set(ours) == set(theirs)
            assert all(torch.equal(ours[key], theirs[key]) for key in ours), part
    padded = single.tokenizer if name == "sd2" else single.tokenizer_2
    assert padded.pad_token == "!"
    kind = "v_prediction" if name == "sd2" else "epsilon"
    assert single.scheduler.config.prediction_type == kind
    facts = families.describe_model(path)
    if name == "xl":
        assert facts["family"] == "StableDiffusionXLPipeline"
        assert facts["sampler"] == "EulerDiscreteScheduler"
        with pytest.raises(ModelError, match="only be used as a suspect, not for training"):
            pipelines.load_pipeline(path, device="cpu")
    else:
        assert facts == {"sampler": "ddim"}


def test_files_that_say_what_they_predict(newer: tuple[Any, Path, str]) -> None:
    _, path, _ = newer
    state = load_file(path)
    save_file(state, path, {"modelspec.prediction_type": "v"})
    single = families.load_any_pipeline(path, device="cpu", dtype=torch.float32)
    assert single.scheduler.config.prediction_type == "v_prediction"
    save_file(state | {"v_pred": torch.zeros(1), "ztsnr": torch.zeros(1)}, path)
    single = families.load_any_pipeline(path, device="cpu", dtype=torch.float32)
    assert single.scheduler.config.prediction_type == "v_prediction"
    assert single.scheduler.config.rescale_betas_zero_snr
    del state["model.diffusion_model.out.2.weight"]
    save_file(state, path, {"modelspec.prediction_type": "v"})
    with pytest.raises(ModelError, match=r"own\.safetensors"):
        families.load_any_pipeline(path, device="cpu", dtype=torch.float32)


def test_numbers_of_the_vocabulary() -> None:
    """256 letters, 256 at a word's end, the merges, two marks; '!' is 0, as in CLIP."""
    vocabulary = json.loads(single_file.tokenizer_files(MERGES)[0])
    assert list(vocabulary.values()) == list(range(2 * 256 + 3 + 2))
    assert (vocabulary["!"], vocabulary["a</w>"], vocabulary["the</w>"]) == (0, 320, 513)
    assert vocabulary["<|endoftext|>"] == 516


def test_damaged_settings_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model_index.json"
    path.write_text(json.dumps({"_class_name": "StableDiffusionPipeline", "unet": ["a", "b"]}))
    but = ("unknown name", "only {}")
    check_reader(path, single_file.read_settings, ModelError, but=but)
    path.write_text("{" + " " * single_file.MAX_SETTINGS + "}")
    with pytest.raises(ModelError, match=r"has 1,048,578 bytes; expected at most 1,048,576"):
        single_file.read_settings(path)
