"""Adapters in whole models: SDXL's names, textual inversion, the self-check, diffusers' reader."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_models import need_models, shared_model

from siren_ext.adapters.keys import UNET, flatten
from siren_ext.adapters.merge import load_adapter, merge_adapter, resolve
from siren_ext.adapters.names import Modules, kohya_names
from siren_ext.adapters.read import read_adapter
from siren_ext.adapters.write import save_kohya
from siren_ext.diffusion import pipelines
from siren_ext.errors import AdapterError, ConfigError
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.local import LocalSuspect, WeightedAdapter, merge_checked

need_models()
pytestmark = pytest.mark.models

TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


@pytest.fixture
def pipeline(folder: Path) -> Any:
    return pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def sdxl() -> Any:
    """A tiny network of SDXL's shape: three levels, none, one and two transformer blocks."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng(devices=[]):
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32, 32, 64),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            cross_attention_dim=32,
            attention_head_dim=4,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=80,
        )
        config = CLIPTextConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=16,
        )
        return SimpleNamespace(
            unet=unet,
            text_encoder=CLIPTextModel(config),
            text_encoder_2=CLIPTextModelWithProjection(config),
        )


def test_sdxl_names_are_those_that_diffusers_reads(sdxl: Any) -> None:
    """kohya names SDXL's UNet in the original's words; diffusers' reader is the judge."""
    from diffusers import StableDiffusionXLPipeline

    known = Modules(sdxl)
    by_path = {target.path: flat for (_, flat), target in known._found.items()
               if "_block" in flat and flat.startswith(("input", "middle", "output"))}  # fmt: skip
    ours: dict[str, torch.Tensor] = {}
    for number, flat in enumerate(by_path.values()):
        ours[f"lora_unet_{flat}.lora_down.weight"] = torch.full((1, 1), float(number))
        ours[f"lora_unet_{flat}.lora_up.weight"] = torch.full((1, 1), float(number))
    layers = [p for p, m in sdxl.unet.named_modules() if type(m).__name__ in ("Linear", "Conv2d")]
    tops = ("time_embedding", "add_embedding", "conv_out")
    assert [p for p in layers if p not in by_path and not p.startswith(tops)] == []
    ours = {k: v for k, v in ours.items() if "layers_0" not in k and "norm" not in k}
    read = StableDiffusionXLPipeline.lora_state_dict
    try:
        theirs, _ = read(dict(ours), unet_config=sdxl.unet.config)
    except ValueError:  # early releases can't read the first convolution
        ours = {key: value for key, value in ours.items() if "input_blocks_0_0" not in key}
        theirs, _ = read(dict(ours), unet_config=sdxl.unet.config)
    found = {int(v): k for k, v in theirs.items() if "down.weight" in k or "lora_A" in k}
    checked = 0
    for number, path in enumerate(by_path):
        if number not in found:
            continue
        place = read_key(found[number])
        assert place == flatten(UNET, path), (found[number], path)
        checked += 1
    assert checked == len(ours) // 2 > 100


def read_key(key: str) -> str:
    from siren_ext.adapters.keys import parse_key

    parsed = parse_key(key)
    assert parsed is not None, key
    return parsed.place.flat


def test_sdxl_text_encoders_and_top_layers(sdxl: Any, tmp_path: Path) -> None:
    names = kohya_names(sdxl)
    assert "lora_te1_text_model_encoder_layers_1_mlp_fc1" in names
    assert "lora_te2_text_projection" in names
    tensors = {}
    places = {
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (16, 16),
        "lora_te2_text_model_encoder_layers_0_self_attn_q_proj": (16, 16),
        "lora_te2_text_projection": (16, 16),
        "lora_unet_label_emb_0_0": (128, 80),
        "lora_unet_time_embed_2": (128, 128),
        "lora_unet_out_2": (4, 32, 3, 3),
    }
    for name, shape in places.items():
        tensors[f"{name}.diff"] = torch.ones(shape)
    save_file(tensors, tmp_path / "a.safetensors")
    fits, warnings = resolve(sdxl, read_adapter(tmp_path / "a.safetensors"))
    assert warnings == ()
    assert sorted(str(target) for target, _ in fits)[-3:] == [
        "unet.add_embedding.linear_1",
        "unet.conv_out",
        "unet.time_embedding.linear_2",
    ]
    two = "base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_"
    tensors = {f"{two}A.weight": torch.ones(1, 16), f"{two}B.weight": torch.ones(16, 1)}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 1}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(AdapterError, match="in more than one network"):
        resolve(sdxl, read_adapter(tmp_path / "adapter_model.safetensors"))


def test_diffusers_reads_what_we_write(pipeline: Any, tmp_path: Path) -> None:
    """The UNet part, read by diffusers' own kohya converter, predicts as our merge does."""
    out = TO_K.replace("attn2_to_k", "attn1_to_out_0")
    modules = {n: (normal(3, 32), normal(32, 3, seed=2), 1.5) for n in (TO_K, out)}
    path = tmp_path / "a.safetensors"
    save_kohya(path, modules, {})
    noise, embeds = normal(1, 4, 4, 4), normal(1, 32, 32)
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name)
    theirs = pipeline.unet(noise, 500, embeds, return_dict=False)[0]
    pipeline.unload_lora_weights()
    plain = pipeline.unet(noise, 500, embeds, return_dict=False)[0]
    load_adapter(pipeline, path)
    ours = pipeline.unet(noise, 500, embeds, return_dict=False)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours, plain, atol=1e-3)


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


def lora(path: Path, size: float, seed: int = 1, name: str = TO_K) -> Path:
    save_kohya(path, {name: (normal(2, 32, seed=seed), size * normal(32, 2), 2.0)}, {})
    return path


def suspect(folder: Path, *used: WeightedAdapter, **options: Any) -> LocalSuspect:
    return LocalSuspect(folder, used, **{"device": "cpu", "dtype": torch.float32} | options)


def test_several_adapters_are_merged_and_recorded(folder: Path, tmp_path: Path) -> None:
    a, b = lora(tmp_path / "a.safetensors", 1.0), lora(tmp_path / "b.safetensors", 1.0, 5)
    both = suspect(folder, WeightedAdapter(a, 0.5), WeightedAdapter(b))
    facts = both.describe()
    assert [(one["file"], one["weight"]) for one in facts["adapters"]] == [
        ("a.safetensors", 0.5),
        ("b.safetensors", 1.0),
    ]
    merged = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    load_adapter(merged, a, scale=0.5)
    load_adapter(merged, b)
    ours, theirs = (kohya_names(p)[TO_K].weight for p in (both.pipeline, merged))
    assert torch.equal(ours, theirs)
    dead = lora(tmp_path / "dead.safetensors", 0.0)
    with pytest.raises(AdapterError, match=r"dead.*changes nothing"):
        _ = suspect(folder, WeightedAdapter(a), WeightedAdapter(dead)).pipeline


def test_self_check_leaves_nothing_behind_when_it_fails(pipeline: Any, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in pipeline.unet.state_dict().items()}
    adapter = read_adapter(lora(tmp_path / "a.safetensors", 1e-7))
    with pytest.raises(AdapterError, match="changes nothing"):
        merge_checked(pipeline, adapter)
    now = pipeline.unet.state_dict()
    assert all(torch.equal(now[key], before[key]) for key in now)
    # a change far below the steps of bfloat16, in a model whose weights are bfloat16 numbers
    kohya_names(pipeline)[TO_K].weight.mul_(16)
    pipeline.unet.bfloat16().float()
    coarse = {k: v.clone() for k, v in pipeline.unet.state_dict().items()}
    small = read_adapter(lora(tmp_path / "b.safetensors", 5e-4))
    with pytest.raises(AdapterError, match="survives rounding to bfloat16"):
        merge_checked(pipeline, small, final_dtype=torch.bfloat16)
    now = pipeline.unet.state_dict()
    assert all(torch.equal(now[key], coarse[key]) for key in now)


def test_partial_load_reaches_the_record(folder: Path, tmp_path: Path) -> None:
    modules = {n: (normal(2, 32), normal(32, 2), 2.0) for n in (TO_K, "lora_unet_gone")}
    path = tmp_path / "a.safetensors"
    save_kohya(path, modules, {})
    with pytest.raises(AdapterError, match="lora_unet_gone"):
        _ = suspect(folder, WeightedAdapter(path)).pipeline
    facts = suspect(folder, WeightedAdapter(path), allow_partial=True).describe()
    assert "lora_unet_gone" in facts["warnings"][0]
    visible = TO_K.replace("attn2_to_k", "attn1_to_out_0")
    whole = lora(tmp_path / "whole.safetensors", 5.0, name=visible)
    facts = suspect(folder, WeightedAdapter(whole), allow_partial=True).describe()
    assert facts.get("warnings", []) == []


def test_generate_says_what_was_left_out(folder: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from siren_ext.cli.app import app

    path = tmp_path / "a.safetensors"
    save_kohya(path, {n: (normal(2, 32), normal(32, 2), 2.0) for n in (TO_K, "lora_unet_gone")}, {})
    line = ["generate", "--base", str(folder), "--adapter", f"{path}:0.5", "--prompt", "a cat"]
    line += ["-n", "1", "--steps", "1", "--device", "cpu", "-q", "--out"]
    refused = CliRunner().invoke(app, [*line, str(tmp_path / "refused")])
    assert refused.exit_code == 2
    assert "lora_unet_gone" in refused.output
    done = CliRunner().invoke(app, [*line, str(tmp_path / "out"), "--allow-partial"])
    assert done.exit_code == 0, done.output
    assert "Warning: a.safetensors was loaded in part only" in done.output
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["suspect"]["adapters"][0]["weight"] == 0.5
    assert "lora_unet_gone" in record["suspect"]["warnings"][0]


def test_embeddings_need_their_word_in_every_prompt(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mystyle.safetensors"
    save_file({"emb_params": 5 * normal(2, 32)}, path)
    plan = {"count": 1, "steps": 2, "guidance": 1.0}
    source = suspect(folder, WeightedAdapter(path))
    with pytest.raises(AdapterError, match="in every prompt"):
        list(source.generate(PromptPlan(prompts=("a mystyle cat", "a cat"), **plan)))
    styled = next(source.generate(PromptPlan(prompts=("a mystyle cat",), **plan))).image
    plain = next(suspect(folder).generate(PromptPlan(prompts=("a mystyle cat",), **plan))).image
    assert (styled - plain).abs().max() > 1e-4


def test_adapters_are_named_with_their_weight(tmp_path: Path) -> None:
    assert WeightedAdapter.parse("a.safetensors:0.7") == WeightedAdapter(Path("a.safetensors"), 0.7)
    assert WeightedAdapter.parse("a:b", 0.5) == WeightedAdapter(Path("a:b"), 0.5)
    assert WeightedAdapter.parse("c:/a.safetensors").path == Path("c:/a.safetensors")
    (tmp_path / "x:1").mkdir()
    assert WeightedAdapter.parse(str(tmp_path / "x:1")).weight == 1.0
    with pytest.raises(ConfigError, match="expected a number"):
        WeightedAdapter.parse("a:nan")
