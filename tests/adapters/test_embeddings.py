"""Textual inversion is read as diffusers reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_models import need_models
from support.toy_adapters import normal

from siren_ext.adapters.keys import TEXT, TEXT_2
from siren_ext.adapters.merge import merge_adapter
from siren_ext.adapters.read import read_adapter
from siren_ext.diffusion import pipelines
from siren_ext.errors import AdapterError

need_models()
pytestmark = pytest.mark.models


@pytest.mark.parametrize("rows", [1, 3])
def test_textual_inversion_is_read_as_diffusers_reads_it(
    pipeline: Any, folder: Path, tmp_path: Path, rows: int
) -> None:
    vectors = normal(rows, 32)
    save_file({"<mine>": vectors}, tmp_path / "learned_embeds.safetensors")
    other = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    other.load_textual_inversion(str(tmp_path / "learned_embeds.safetensors"))
    prompt = "a photo of <mine>, a cat"
    theirs = pipelines.encode_prompts(other, [other.maybe_convert_prompt(prompt, other.tokenizer)])
    before = pipelines.encode_prompts(pipeline, [prompt])
    tokenizer, state = pipeline.tokenizer, pipeline.text_encoder.state_dict()
    merge = merge_adapter(pipeline, read_adapter(tmp_path))
    torch.testing.assert_close(pipelines.encode_prompts(pipeline, [prompt]), theirs)
    assert not torch.allclose(before, theirs, atol=1e-3)
    merge.undo()
    assert pipeline.tokenizer is tokenizer
    assert pipeline.text_encoder.state_dict().keys() == state.keys()
    assert torch.equal(pipelines.encode_prompts(pipeline, [prompt]), before)


def test_textual_inversion_of_the_other_kinds(pipeline: Any, sdxl: Any, tmp_path: Path) -> None:
    save_file({"emb_params": normal(2, 32)}, tmp_path / "mystyle.safetensors")
    adapter = read_adapter(tmp_path / "mystyle.safetensors")
    assert adapter.words == ("mystyle",)
    plain = pipelines.encode_prompts(pipeline, ["mystyles", "in mystyle"])
    merge_adapter(pipeline, adapter)
    after = pipelines.encode_prompts(pipeline, ["mystyles", "in mystyle"])
    assert torch.equal(plain[0], after[0])
    assert not torch.equal(plain[1], after[1])
    with pytest.raises(AdapterError, match="no strength"):
        merge_adapter(pipeline, adapter, scale=0.5)
    wide = tmp_path / "wide.safetensors"
    save_file({"emb_params": normal(2, 48)}, wide)
    with pytest.raises(AdapterError, match="width 48"):
        merge_adapter(pipeline, read_adapter(wide))
    save_file({"clip_l": normal(2, 32), "clip_g": normal(2, 32)}, wide)
    with pytest.raises(AdapterError, match="second text encoder"):
        merge_adapter(pipeline, read_adapter(wide))


def test_two_words_for_one_text_encoder(pipeline: Any, tmp_path: Path) -> None:
    prompt = "a photo of <one> and <two>"
    tokenizer, before = pipeline.tokenizer, pipelines.encode_prompts(pipeline, [prompt])
    seen, merges = [before], []
    for word, rows, seed in (("<one>", 2, 1), ("<two>", 1, 2)):
        path = tmp_path / f"{word[1:-1]}.safetensors"
        save_file({word: normal(rows, 32, seed=seed)}, path)
        merges.append(merge_adapter(pipeline, read_adapter(path)))
        seen.append(pipelines.encode_prompts(pipeline, [prompt]))
    assert not torch.allclose(seen[1], seen[0], atol=1e-3)
    assert not torch.allclose(seen[2], seen[1], atol=1e-3)
    for merge, earlier in zip(reversed(merges), reversed(seen[:-1]), strict=True):
        merge.undo()
        assert torch.equal(pipelines.encode_prompts(pipeline, [prompt]), earlier)
    assert pipeline.tokenizer is tokenizer


@pytest.mark.parametrize(("name", "component"), [("clip_l", TEXT), ("clip_g", TEXT_2)])
def test_one_vector_of_sdxl_is_named_after_its_file(
    tmp_path: Path, name: str, component: str
) -> None:
    save_file({name: normal(2, 32)}, tmp_path / "mystyle.safetensors")
    (found,) = read_adapter(tmp_path / "mystyle.safetensors").embeddings
    assert (found.word, found.component) == ("mystyle", component)
