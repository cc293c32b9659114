"""Single-file checkpoints of Stable Diffusion 1.x's layout, without a folder beside them."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_pipelines import original_format
from tiny_models import need_models, shared_model

from siren_ext import pipelines, single_file
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
        known = {name: settings[name] for name in single_file.SD1[part] if name in settings}
        monkeypatch.setitem(single_file.SD1, part, single_file.SD1[part] | known)
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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", "own.safetensors holds weights alone"),
        ("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", "no cond_"),
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


def test_known_settings_are_those_of_stable_diffusion_1() -> None:
    """The published models' parameter counts, without any memory taken."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        text = single_file.SD1["text_encoder"]
        found = {
            "unet": UNet2DConditionModel.from_config(single_file.SD1["unet"]),
            "vae": AutoencoderKL.from_config(single_file.SD1["vae"]),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**text)),
        }
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in found.items()}
    assert counts == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}


def test_numbers_of_the_vocabulary() -> None:
    """256 letters, 256 at a word's end, the merges, two marks; '!' is 0, as in CLIP."""
    vocabulary = json.loads(single_file.tokenizer_files(MERGES)[0])
    assert list(vocabulary.values()) == list(range(2 * 256 + 3 + 2))
    assert (vocabulary["!"], vocabulary["a</w>"], vocabulary["the</w>"]) == (0, 320, 513)
    assert vocabulary["<|endoftext|>"] == 516
