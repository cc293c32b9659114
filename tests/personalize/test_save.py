"""What is written reads back as the model in memory, here and in diffusers."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.short_runs import METHODS, PROMPT, WORD, load, picture, short, trained
from support.tiny_models import need_models

from siren_ext.adapters.files import CUSTOM_WEIGHTS, EMBEDDING_WEIGHTS
from siren_ext.adapters.merge import load_adapter
from siren_ext.adapters.read import read_adapter
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import AdapterError, ConfigError
from siren_ext.personalize.config import FOLDERS, WHOLE_MODELS
from siren_ext.personalize.run import personalize
from siren_ext.personalize.save import check_out, save

need_models()
pytestmark = pytest.mark.models


def written(model: Path, data: ImageSet, folder: Path, method: str) -> tuple[Path, Any]:
    """What a short run wrote, and the trained pipeline."""
    config = short(method)
    out = folder / ("model" if method in FOLDERS else "adapter.safetensors")
    trainer = trained(model, data, config, 4)
    save(out, trainer.pipeline, trainer.weights, config, {"siren_run": "x"})
    return out, trainer.pipeline


@pytest.mark.parametrize("method", METHODS)
def test_file_gives_the_pictures_of_the_model(
    model: Path, data: ImageSet, tmp_path: Path, method: str
) -> None:
    out, memory = written(model, data, tmp_path, method)
    fresh = load(out if method in WHOLE_MODELS else model)
    if method not in WHOLE_MODELS:
        summary = load_adapter(fresh, out)
        assert not summary.leftovers
        assert summary.words == ((WORD,) if method in ("textual-inversion", *FOLDERS) else ())
    change = (picture(memory) - picture(load(model))).abs().max()
    assert change > 1e-3
    assert (picture(memory) - picture(fresh)).abs().max() < 0.01 * change


@pytest.mark.parametrize("method", ["textual-inversion", "custom-diffusion"])
def test_diffusers_reads_it(model: Path, data: ImageSet, tmp_path: Path, method: str) -> None:
    out, memory = written(model, data, tmp_path, method)
    fresh = load(model)
    if method == "custom-diffusion":
        # as docs/personalize.md shows it: diffusers wants an entry for each self-attention too
        rest = {name: {} for name in fresh.unet.attn_processors if "attn1" in name}
        fresh.unet.load_attn_procs({**load_file(out / CUSTOM_WEIGHTS), **rest}, _pipeline=fresh)
        assert "CustomDiffusion" in str(fresh.unet.attn_processors.values())
    tensors = load_file(out / EMBEDDING_WEIGHTS if method == "custom-diffusion" else out)
    # the file's tensors as diffusers' loader takes them; it wants a tokenizer that is not fast
    fresh.tokenizer.add_tokens([WORD])
    row = fresh.tokenizer.convert_tokens_to_ids(WORD)
    fresh.text_encoder.resize_token_embeddings(row + 1)
    with torch.no_grad():
        fresh.text_encoder.get_input_embeddings().weight[row] = tensors[WORD][0]
    change = (picture(memory) - picture(load(model))).abs().max()
    assert (picture(memory) - picture(fresh)).abs().max() < 0.01 * change


def test_keys_are_the_usual_ones(model: Path, data: ImageSet, tmp_path: Path) -> None:
    shifts, _ = written(model, data, tmp_path / "a", "svdiff")
    names = load_file(shifts)
    assert all(name.endswith(".delta") and value.ndim == 1 for name, value in names.items())
    assert "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.delta" in names
    folder, _ = written(model, data, tmp_path / "b", "custom-diffusion")
    start = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor."
    assert {f"{start}to_{part}_custom_diffusion.weight" for part in "kv"} < set(
        load_file(folder / CUSTOM_WEIGHTS)
    )
    kinds = read_adapter(folder).summary().kinds
    assert set(kinds) == {"whole"}


def test_a_word_of_several_vectors(model: Path, data: ImageSet, tmp_path: Path) -> None:
    config = short("textual-inversion", token_vectors=3, token_start="cat", steps=2)
    out = tmp_path / "word.safetensors"
    summary = personalize(data, model, config, out, device="cpu")
    assert summary.parameters == 3 * 32
    assert summary.metadata["modelspec.architecture"].endswith("/textual-inversion")
    assert "ss_network_module" not in summary.metadata
    fresh = load(model)
    before = picture(fresh, PROMPT)
    load_adapter(fresh, out)
    assert not torch.allclose(before, picture(fresh, PROMPT))


def test_other_folders_are_not_replaced(model: Path, data: ImageSet, tmp_path: Path) -> None:
    config = short("full", steps=1)
    out = tmp_path / "model"
    out.mkdir()
    (out / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="were not replaced"):
        personalize(data, model, config, out, device="cpu")
    assert (out / "letter.txt").read_text() == "mine"
    with pytest.raises(ConfigError, match="writes one"):
        check_out(tmp_path / "a.safetensors", short("custom-diffusion"))
    check_out(tmp_path / "a.safetensors", config)
    with pytest.raises(ConfigError, match="writes one"):
        check_out(out / "letter.txt", config)
    with pytest.raises(ConfigError, match=r"ending in \.safetensors"):
        check_out(tmp_path / "a", short("svdiff"))
    (out / "letter.txt").unlink()
    first = personalize(data, model, config, out, device="cpu")
    with pytest.raises(ConfigError, match="the base model itself"):
        personalize(data, out, config, tmp_path / "other" / ".." / "model", device="cpu")
    for name in ("model.old", "model.new"):  # somebody's own
        (tmp_path / name).mkdir()
        (tmp_path / name / "letter.txt").write_text("mine")
    second = personalize(data, model, short("full", steps=1, seed=1), out, device="cpu", force=True)
    assert first.hash != second.hash
    assert {path.name for path in tmp_path.iterdir()} == {"model", "model.old", "model.new"}
    assert (tmp_path / "model.old" / "letter.txt").read_text() == "mine"
    (out / "pictures").mkdir()
    with pytest.raises(ConfigError, match="such as pictures, which were not replaced"):
        personalize(data, model, short("full", steps=2), out, device="cpu", force=True)


def test_a_place_that_is_read_only_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and access(path, mode))
    for out in (tmp_path / "a.safetensors", tmp_path / "new" / "a.safetensors"):
        with pytest.raises(ConfigError, match="is read-only"):
            check_out(out, short("svdiff"))
    (tmp_path / "other").mkdir()
    check_out(tmp_path / "other" / "a.safetensors", short("svdiff"))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_name_that_is_no_text_is_told_before_training(tmp_path: Path, method: str) -> None:
    name = os.fsdecode(b"f\xfcchse") + ("" if method in FOLDERS else ".safetensors")
    with pytest.raises(ConfigError, match="not UTF-8"):
        check_out(tmp_path / name, short(method))


def test_a_link_to_a_folder_stays_a_link(model: Path, data: ImageSet, tmp_path: Path) -> None:
    config, target, link = short("full", steps=1), tmp_path / "target", tmp_path / "link"
    personalize(data, model, config, target, device="cpu")
    link.symlink_to(target)
    found = personalize(data, model, short("full", steps=1, seed=1), link, device="cpu", force=True)
    assert link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"target", "link"}
    assert personalize(data, model, config, target, device="cpu", force=True).hash != found.hash


def test_a_damaged_model_is_written_again(model: Path, data: ImageSet, tmp_path: Path) -> None:
    config, out = short("full", steps=1), tmp_path / "model"
    first = personalize(data, model, config, out, device="cpu")
    weights = next((out / "unet").glob("*.safetensors"))
    whole = weights.read_bytes()
    for damage in (lambda: weights.write_bytes(whole[:-4000]), weights.unlink):
        damage()
        assert personalize(data, model, config, out, device="cpu").hash == first.hash
        assert weights.read_bytes() == whole


@pytest.mark.parametrize("method", ["lora", "textual-inversion", "custom-diffusion"])
def test_a_model_of_another_run_is_kept_unless_forced(
    model: Path, data: ImageSet, tmp_path: Path, method: str
) -> None:
    config = short(method, steps=1)
    other = dataclasses.replace(config, seed=config.seed + 1)
    out = tmp_path / ("made" if method == "custom-diffusion" else "made.safetensors")
    first = personalize(data, model, config, out, device="cpu")
    with pytest.raises(ConfigError, match="It was not overwritten; choose a new name"):
        personalize(data, model, other, out, device="cpu")
    assert personalize(data, model, config, out, device="cpu").hash == first.hash
    assert personalize(data, model, other, out, device="cpu", force=True).hash != first.hash


def test_a_file_of_another_program_is_kept(model: Path, data: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "made.safetensors"
    save_file({"lora": torch.zeros(2)}, out)
    config = short("lora", steps=1)
    with pytest.raises(ConfigError, match="It was not overwritten"):
        personalize(data, model, config, out, device="cpu")
    out.write_bytes(b"")  # an empty one is no model
    assert personalize(data, model, config, out, device="cpu").modules


def test_diverged_weights_are_not_written(model: Path, data: ImageSet, tmp_path: Path) -> None:
    for method in METHODS:
        config = short(method)
        trainer = trained(model, data, config, 0)
        with torch.no_grad():
            trainer.weights.vector[0] = torch.nan
        for out in (tmp_path / "a.safetensors", tmp_path / "a"):
            with pytest.raises(AdapterError, match="diverged"):
                save(out, trainer.pipeline, trainer.weights, config, {})
    assert not list(tmp_path.iterdir())


def test_half_precision_file(model: Path, data: ImageSet, tmp_path: Path) -> None:
    config = short("full", steps=1, save_precision="float16")
    out = tmp_path / "model"
    personalize(data, model, config, out, device="cpu")
    file = out / "unet" / "diffusion_pytorch_model.safetensors"
    assert {value.dtype for value in load_file(file).values()} == {torch.float16}
