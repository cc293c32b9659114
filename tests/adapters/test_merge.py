"""Exact merging on a toy network: sums, undoing, and files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toy_adapters import CONV, NORM, POINT, TEXT, K, good, normal, same, states, toy, write

from siren_ext.adapters.merge import load_adapter, merge_adapter
from siren_ext.adapters.read import read_adapter
from siren_ext.errors import AdapterError


def test_merging_adds_alpha_over_rank_times_the_product(tmp_path: Path) -> None:
    path = write(tmp_path, good())
    pipeline, tensors = toy(), good()
    before = states(pipeline)
    summary = load_adapter(pipeline, path, scale=0.5)
    assert (summary.modules, summary.text_modules, summary.ranks) == (3, 1, (2, 3))
    after = states(pipeline)
    down, up = tensors[f"{K}.lora_down.weight"], tensors[f"{K}.lora_up.weight"]
    key = "0.down_blocks.0.to_k.weight"
    torch.testing.assert_close(after[key], before[key] + 0.5 * (1.5 / 3) * up @ down)
    down, up = tensors[f"{CONV}.lora_down.weight"], tensors[f"{CONV}.lora_up.weight"]
    key = "0.down_blocks.0.conv.weight"
    change = torch.einsum("or,rikl->oikl", up.flatten(1), down)  # absent alpha means rank
    torch.testing.assert_close(after[key], before[key] + 0.5 * change)
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert len(changed) == 3


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float16])
def test_alpha_may_be_any_kind_of_number(tmp_path: Path, dtype: torch.dtype) -> None:
    """sd-scripts' svd_merge_lora.py writes alpha as a whole number, others in half precision."""
    tensors = good() | {f"{K}.alpha": torch.tensor(2, dtype=dtype)}
    pipeline = toy()
    before = states(pipeline)
    load_adapter(pipeline, write(tmp_path, tensors))
    down, up = tensors[f"{K}.lora_down.weight"], tensors[f"{K}.lora_up.weight"]
    key = "0.down_blocks.0.to_k.weight"
    torch.testing.assert_close(
        states(pipeline)[key], before[key] + (2 / 3) * up @ down, atol=1e-6, rtol=1e-6
    )


@settings(max_examples=25)
@given(
    scale=st.floats(-3, 3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 2**31),
)
def test_undoing_restores_every_bit(
    tmp_path_factory: pytest.TempPathFactory, scale: float, dtype: torch.dtype, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("undo")
    first = write(folder, {k: v * normal(1, seed=seed) if v.ndim else v for k, v in good().items()})
    dora = {f"{K}.dora_scale": torch.rand(4, 1) + 0.5}
    second = write(folder, good() | dora, "b.safetensors")
    pipeline = toy(dtype)
    before = states(pipeline)
    merges = [merge_adapter(pipeline, read_adapter(p), scale=scale) for p in (first, second)]
    for merge in reversed(merges):
        merge.undo()
    assert same(before, states(pipeline))


def test_undoing_in_the_wrong_order_is_refused(tmp_path: Path) -> None:
    adapter, pipeline = read_adapter(write(tmp_path, good())), toy()
    first, second = merge_adapter(pipeline, adapter), merge_adapter(pipeline, adapter)
    with pytest.raises(AdapterError, match="Undo later merges first"):
        first.undo()
    second.undo()
    with pytest.raises(AdapterError, match="already been undone"):
        second.undo()
    merged = merge_adapter(toy(), adapter)
    merged._saved[0][0].data = merged._saved[0][0].data.half()
    with pytest.raises(AdapterError, match="changed"):
        merged.undo()


BROKEN: list[tuple[Any, str]] = [
    ({"lora_unet_nowhere.lora_down.weight": torch.ones(1, 1),
      "lora_unet_nowhere.lora_up.weight": torch.ones(1, 1)}, "lora_unet_nowhere"),
    ({"lora_te2_text_model_encoder_layers_0_self_attn_q_proj.diff": torch.ones(4, 4)}, "lora_te2"),
    ({f"{K}.dora_scale": torch.ones(1)}, "dora scale 1, weight 4x6"),
    ({f"{K}.oft_blocks": torch.ones(2, 2)}, "oft_blocks"),
    ({f"{K}.boft_blocks": torch.ones(2, 2, 2)}, "boft_blocks"),
    ({f"{K}.a1.weight": torch.ones(2, 2)}, "a1.weight"),  # GLoRA
    ({f"{K}.lora_up.0": torch.ones(2, 1)}, "lora_up.0"),  # DyLoRA
    ({f"{K}.lora_up.weight": None}, r"to_k \(with alpha, down: no complete set"),
    ({f"{K}.lora_down.weight": torch.ones(3, 7)}, "down 3x7"),
    ({f"{K}.lora_down.weight": torch.ones(2, 6)}, "down 2x6"),
    ({f"{CONV}.lora_up.weight": torch.ones(6, 2)}, "down 2x4x3x3, up 6x2"),
    ({f"{CONV}.lora_mid.weight": torch.ones(2, 2, 3, 3)}, "mid 2x2x3x3"),
    ({f"{K}.alpha": torch.ones(2)}, "not one number"),
    ({f"{K}.alpha": torch.tensor(0.0)}, "alpha is 0"),
    ({f"{K}.alpha": torch.tensor(0)}, "alpha is 0, which"),
    ({f"{K}.alpha": torch.tensor(True)}, "bool numbers"),
    ({f"{K}.alpha": torch.tensor(1 + 1j)}, "complex64 numbers"),
    ({f"{K}.alpha": torch.tensor(float("nan"))}, "infinite or NaN values"),
    ({f"{K}.lora_up.weight": torch.full((4, 3), torch.inf)}, "infinite"),
    ({f"{K}.lora_up.weight": torch.ones(4, 3, dtype=torch.int8)}, "int8 numbers"),
    ({f"{K}.lora_down.weight": torch.ones(0, 6)}, "empty"),
    ({f"{K}.lora_up.weight": torch.full((4, 3), 3e38)}, "infinite weights"),
    ({f"{K}.lora_A.weight": torch.ones(3, 6)}, "given twice"),
    ({TEXT.replace("_te_", "_te1_") + ".alpha": torch.ones(())}, "given twice"),
    ({"diffusion_model.down_blocks.0.to_k.diff": torch.ones(4, 6)}, "no complete set"),
    ({f"{K}.hada_w1_a": torch.ones(4, 2)}, "no complete set"),
    ({f"{POINT}.hada_w1_a": torch.ones(4, 2), f"{POINT}.hada_w1_b": torch.ones(2, 4),
      f"{POINT}.hada_w2_a": torch.ones(4, 3), f"{POINT}.hada_w2_b": torch.ones(2, 4)}, "hada_w2_a"),
    ({f"{POINT}.lokr_w1": torch.ones(2, 2), f"{POINT}.lokr_w2": torch.ones(2, 3)}, "lokr_w2 2x3"),
    ({f"{POINT}.lokr_w1": torch.ones(2, 2), f"{POINT}.lokr_t2": torch.ones(2, 2)}, "no complete"),
    ({"lora_unet_down_blocks_0_to_v.diff_b": torch.ones(4)}, "bias 4, the model has none"),
    ({f"{NORM}.w_norm": torch.ones(5)}, "diff 5, weight 4"),
    ({f"{POINT}.weight": torch.ones(3), f"{POINT}.on_input": torch.tensor(0)}, "3, the model has"),
    ({f"{POINT}.weight": torch.ones(4), f"{POINT}.on_input": torch.tensor(2)}, "neither 0 nor 1"),
    ({f"{POINT}.ia3_l": torch.ones(4, 1)}, "without its settings"),
    ({"bundle_emb.word.string_to_param.*": torch.ones(4, 4)}, "bundle_emb"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_wrong_files_change_nothing(tmp_path: Path, change: Any, words: str) -> None:
    tensors = {k: v for k, v in (good() | change).items() if v is not None}
    try:
        path = write(tmp_path, tensors)
    except KeyError:
        pytest.skip("this release of safetensors can't write such numbers")
    pipeline = toy()
    before = states(pipeline)
    with pytest.raises(AdapterError, match=words):
        load_adapter(pipeline, path)
    assert same(before, states(pipeline))


def test_all_that_is_wrong_is_listed(tmp_path: Path) -> None:
    more = {f"lora_unet_gone_{i}.diff": torch.ones(2, 2) for i in range(20)}
    more[f"{K}.lora_down.weight"] = torch.ones(3, 7)
    with pytest.raises(AdapterError, match=r"20 modules .* and 8 more.* 1 more don't fit") as error:
        load_adapter(toy(), write(tmp_path, good() | more))
    assert "lora_unet_gone_0" in str(error.value)


def test_a_partial_load_says_what_it_left_out(tmp_path: Path) -> None:
    odd = {
        f"{K}.boft_blocks": torch.ones(2, 2),
        "lora_unet_gone.diff": torch.ones(2, 2),
        f"{TEXT}.lora_down.weight": torch.ones(2, 5),
    }
    path, pipeline = write(tmp_path, good() | odd), toy()
    before = states(pipeline)
    merge = merge_adapter(
        pipeline, read_adapter(path, allow_partial=True), allow_partial=True, keep=False
    )
    text = " ".join(merge.warnings)
    assert len(merge.warnings) == 3
    assert all(
        word in text
        for word in ("boft_blocks", "lora_unet_gone", "down 2x5", "only loaded in part")
    )
    after = states(pipeline)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"0.down_blocks.0.to_k.weight", "0.down_blocks.0.conv.weight"}
    none = write(tmp_path, {"lora_unet_gone.diff": torch.ones(2, 2)}, "none.safetensors")
    with pytest.raises(AdapterError, match="are not in this model"):
        load_adapter(toy(), none, allow_partial=True)
    strange = write(tmp_path, {"a.b": torch.ones(2)}, "strange.safetensors")
    with pytest.raises(AdapterError, match=r"a\.b"):
        load_adapter(toy(), strange, allow_partial=True)
    bad = write(tmp_path, good() | {f"{K}.alpha": torch.tensor(float("nan"))}, "nan.safetensors")
    with pytest.raises(AdapterError, match="infinite or NaN"):
        read_adapter(bad, allow_partial=True)


def test_one_module_under_two_names_is_refused(tmp_path: Path) -> None:
    both = {f"{K}.diff": torch.ones(4, 6), "down_blocks.0.to_k.diff": torch.ones(4, 6)}
    with pytest.raises(AdapterError, match="changed twice"):
        load_adapter(toy(), write(tmp_path, both))


def test_linear_and_pointwise_factors_are_the_same(tmp_path: Path) -> None:
    """SD 1.x has 1x1 convolutions where SD 2.x and SDXL have linear layers."""
    flat = {f"{POINT}.lora_down.weight": normal(2, 4), f"{POINT}.lora_up.weight": normal(4, 2)}
    square = {key: value[..., None, None] for key, value in flat.items()}
    one, other = toy(), toy()
    load_adapter(one, write(tmp_path, flat))
    load_adapter(other, write(tmp_path, square, "b.safetensors"))
    assert same(states(one), states(other))
    assert not same(states(one), states(toy()))
    long = {
        key.replace("proj_in", "to_k"): value[..., None, None]
        for key, value in {
            f"{POINT}.lora_down.weight": normal(2, 6),
            f"{POINT}.lora_up.weight": normal(4, 2),
        }.items()
    }
    load_adapter(one, write(tmp_path, long, "c.safetensors"))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (f"{K}.oft_blocks.0", "OFT of another form"),
        (f"{K}.oft_r", "OFT of another form"),
        (f"{K}.boft_blocks", "BOFT of another form"),
        (f"{K}.a1.weight", "GLoRA"),
        (f"{K}.lora_up.0", "DyLoRA"),
        (f"{K}.scalar", "LyCORIS with a trained scalar"),
        ("base_model.model.to_k.vera_lambda_b", "VeRA of peft"),
        ("bundle_emb.word.clip_l", "textual inversion inside an adapter"),
        ("first_stage_model.decoder.conv_in.weight", "part of a whole checkpoint"),
        ("blocks.0.gate", "no factor of an adapter"),
    ],
)
def test_keys_that_are_not_read_are_named_with_their_kind(
    tmp_path: Path, key: str, words: str
) -> None:
    path = write(tmp_path, good() | {key: torch.ones(2, 2)})
    with pytest.raises(AdapterError) as error:
        read_adapter(path)
    assert f"1 keys that aren't understood: {key} ({words}); expected LoRA" in str(error.value)


@pytest.mark.parametrize(
    ("module", "family"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv", "Flux"),
        ("lora_transformer_single_transformer_blocks_0_attn_to_q", "Flux"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv", "Stable Diffusion 3"),
        ("diffusion_model.double_stream_modulation_img.lin", "Flux.2"),
        ("lora_unet_input_blocks_4_1_proj_in", "Stable Diffusion XL"),
        ("diffusion_model.noise_refiner.0.attention.qkv", "Z-Image or Lumina"),
        ("lora_te1_text_model_encoder_layers_9_self_attn_q_proj", "a CLIP text encoder"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", "a T5 text encoder"),
    ],
)
def test_modules_that_are_missing_are_named_with_their_family(
    tmp_path: Path, module: str, family: str
) -> None:
    """The name is the one in the file, not one made from it."""
    factors = {f"{module}.lora_down.weight": normal(2, 4), f"{module}.lora_up.weight": normal(4, 2)}
    with pytest.raises(AdapterError) as error:
        load_adapter(toy(), write(tmp_path, good() | factors))
    wanted = (
        f"1 modules that are not in this model: {module}. These names are used by {family}. Load it"
    )
    assert wanted in str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.float32])
def test_whole_factors_of_lokr_ignore_alpha(tmp_path: Path, dtype: torch.dtype) -> None:
    """ai-toolkit's full rank is 9999999999, which is infinite in half precision."""
    first, second = normal(2, 2), normal(2, 3, seed=2)
    alpha = torch.tensor(9999999999).to(dtype)
    tensors = {f"{K}.lokr_w1": first, f"{K}.lokr_w2": second, f"{K}.alpha": alpha}
    pipeline = toy()
    before = states(pipeline)
    load_adapter(pipeline, write(tmp_path, tensors))
    key = "0.down_blocks.0.to_k.weight"
    change = states(pipeline)[key] - before[key]
    torch.testing.assert_close(change, torch.kron(first, second), atol=1e-6, rtol=1e-6)
    halves = {f"{K}.lokr_w2_a": normal(2, 1), f"{K}.lokr_w2_b": normal(1, 3)}
    del tensors[f"{K}.lokr_w2"]
    endless = {f"{K}.alpha": torch.tensor(torch.inf)}
    with pytest.raises(AdapterError, match="infinite or NaN values"):
        load_adapter(pipeline, write(tmp_path, tensors | halves | endless))
    nothing = {f"{K}.lokr_w2": second, f"{K}.alpha": torch.tensor(torch.nan)}
    with pytest.raises(AdapterError, match="infinite or NaN values"):
        load_adapter(pipeline, write(tmp_path, tensors | nothing))
