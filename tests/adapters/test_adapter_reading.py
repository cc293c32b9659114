"""Strict reading and exact merging, on a toy network and hostile files; no diffusion library."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from typer.testing import CliRunner

from siren_ext.adapters import files as adapter_files
from siren_ext.adapters.changes import lora_delta
from siren_ext.adapters.files import adapter_hash
from siren_ext.adapters.merge import load_adapter, merge_adapter
from siren_ext.adapters.names import kohya_names, text_name
from siren_ext.adapters.read import read_adapter, read_summary
from siren_ext.adapters.write import save_kohya
from siren_ext.errors import AdapterError

K = "lora_unet_down_blocks_0_to_k"
CONV = "lora_unet_down_blocks_0_conv"
POINT = "lora_unet_down_blocks_0_proj_in"
NORM = "lora_unet_down_blocks_0_norm"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


def tree(**children: nn.Module) -> nn.Module:
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


def toy(dtype: torch.dtype = torch.float32) -> Any:
    """A UNet and a text encoder in name only."""
    generator = torch.Generator().manual_seed(0)
    block = tree(
        to_k=nn.Linear(6, 4),
        conv=nn.Conv2d(4, 6, 3),
        proj_in=nn.Conv2d(4, 4, 1),
        norm=nn.GroupNorm(2, 4),
        to_v=nn.Linear(6, 4, bias=False),
    )
    layer = tree(self_attn=tree(q_proj=nn.Linear(4, 4)))
    pipeline = SimpleNamespace(
        unet=tree(down_blocks=nn.ModuleList([block])),
        text_encoder=tree(encoder=tree(layers=nn.ModuleList([layer]))),
    )
    for network in (pipeline.unet, pipeline.text_encoder):
        for weight in network.parameters():
            weight.data = torch.randn(weight.shape, generator=generator).to(dtype)
            weight.requires_grad_(False)
    return pipeline


def states(pipeline: Any) -> dict[str, torch.Tensor]:
    both = (pipeline.unet, pipeline.text_encoder)
    return {f"{i}.{k}": v.clone() for i, n in enumerate(both) for k, v in n.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def good() -> dict[str, torch.Tensor]:
    alpha = torch.tensor(1.5)
    return {
        f"{K}.lora_down.weight": normal(3, 6),
        f"{K}.lora_up.weight": normal(4, 3),
        f"{K}.alpha": alpha,
        f"{CONV}.lora_down.weight": normal(2, 4, 3, 3),
        f"{CONV}.lora_up.weight": normal(6, 2, 1, 1),
        f"{TEXT}.lora_down.weight": normal(2, 4),
        f"{TEXT}.lora_up.weight": normal(4, 2),
        f"{TEXT}.alpha": alpha.clone(),
    }


def write(folder: Path, tensors: dict[str, torch.Tensor], name: str = "a.safetensors") -> Path:
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, folder / name)
    return folder / name


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


def test_convolution_delta_equals_the_convolutions() -> None:
    down, up, x = normal(4, 5, 3, 3), normal(6, 4, 1, 1), normal(2, 5, 8, 8)
    conv = torch.nn.functional.conv2d
    through = conv(conv(x, down, padding=1), up) * (2.0 / 4)
    ours = conv(x, lora_delta(down, up, 2.0), padding=1)
    torch.testing.assert_close(ours, through, atol=1e-4, rtol=1e-4)
    point, mid = normal(4, 5, 1, 1), normal(3, 4, 3, 3)
    last = normal(6, 3, 1, 1)
    through = conv(conv(conv(x, point), mid, padding=1), last) * (2.0 / 4)
    ours = conv(x, lora_delta(point, last, 2.0, mid), padding=1)
    torch.testing.assert_close(ours, through, atol=1e-4, rtol=1e-4)


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
    with pytest.raises(AdapterError, match="taken out already"):
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
    ({f"{K}.alpha": torch.tensor(float("nan"))}, "undefined numbers"),
    ({f"{K}.lora_up.weight": torch.full((4, 3), torch.inf)}, "infinite"),
    ({f"{K}.lora_up.weight": torch.ones(4, 3, dtype=torch.int8)}, "int8 numbers"),
    ({f"{K}.lora_down.weight": torch.ones(0, 6)}, "empty"),
    ({f"{K}.lora_up.weight": torch.full((4, 3), 3e38)}, "infinite weights"),
    ({f"{K}.lora_A.weight": torch.ones(3, 6)}, "second of its kind"),
    ({TEXT.replace("_te_", "_te1_") + ".alpha": torch.ones(())}, "second of its kind"),
    ({"diffusion_model.down_blocks.0.to_k.diff": torch.ones(4, 6)}, "no complete set"),
    ({f"{K}.hada_w1_a": torch.ones(4, 2)}, "no complete set"),
    ({f"{POINT}.hada_w1_a": torch.ones(4, 2), f"{POINT}.hada_w1_b": torch.ones(2, 4),
      f"{POINT}.hada_w2_a": torch.ones(4, 3), f"{POINT}.hada_w2_b": torch.ones(2, 4)}, "hada_w2_a"),
    ({f"{POINT}.lokr_w1": torch.ones(2, 2), f"{POINT}.lokr_w2": torch.ones(2, 3)}, "lokr_w2 2x3"),
    ({f"{POINT}.lokr_w1": torch.ones(2, 2), f"{POINT}.lokr_t2": torch.ones(2, 2)}, "no complete"),
    ({"lora_unet_down_blocks_0_to_v.diff_b": torch.ones(4)}, "bias 4 where the model has none"),
    ({f"{NORM}.w_norm": torch.ones(5)}, "diff 5, weight 4"),
    ({f"{POINT}.weight": torch.ones(3), f"{POINT}.on_input": torch.tensor(0)}, "3 where the model"),
    ({f"{POINT}.weight": torch.ones(4), f"{POINT}.on_input": torch.tensor(2)}, "neither 0 nor 1"),
    ({f"{POINT}.ia3_l": torch.ones(4, 1)}, "without its settings"),
    ({"bundle_emb.word.string_to_param.*": torch.ones(4, 4)}, "bundle_emb"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_wrong_files_change_nothing(tmp_path: Path, change: Any, words: str) -> None:
    tensors = {k: v for k, v in (good() | change).items() if v is not None}
    path, pipeline = write(tmp_path, tensors), toy()
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
        f"{K}.oft_blocks": torch.ones(2, 2),
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
    assert all(word in text for word in ("oft_blocks", "lora_unet_gone", "down 2x5", "in part"))
    after = states(pipeline)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"0.down_blocks.0.to_k.weight", "0.down_blocks.0.conv.weight"}
    none = write(tmp_path, {"lora_unet_gone.diff": torch.ones(2, 2)}, "none.safetensors")
    with pytest.raises(AdapterError, match="lacks"):
        load_adapter(toy(), none, allow_partial=True)
    strange = write(tmp_path, {"a.b": torch.ones(2)}, "strange.safetensors")
    with pytest.raises(AdapterError, match=r"a\.b"):
        load_adapter(toy(), strange, allow_partial=True)
    bad = write(tmp_path, good() | {f"{K}.alpha": torch.tensor(float("nan"))}, "nan.safetensors")
    with pytest.raises(AdapterError, match="undefined"):
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


def header(entries: dict[str, Any], body: bytes = b"\0" * 8) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(start: int, stop: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, stop]}


HOSTILE: dict[str, bytes] = {
    "no header": b"",
    "huge header": b"\xff" * 100,
    "header past the end": struct.pack("<Q", 1000) + b"{}",
    "overlapping": header({"a.alpha": entry(0, 8, [2]), "b.alpha": entry(4, 8, [1])}),
    "past the end": header({"a.alpha": entry(0, 80, [20])}),
    "wrong size": header({"a.alpha": entry(0, 8, [2**62, 2**62])}),
    "hole": header({"a.alpha": entry(4, 8, [1])}),
    "nested": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "unknown format": header({"a.alpha": {**entry(0, 8, [2]), "dtype": "OBJECT"}}),
    "metadata not text": header({"__metadata__": {"a": [1]}, "a.alpha": entry(0, 8, [2])}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(AdapterError, match="can't be read"):
        read_adapter(path, allow_partial=True)


def test_files_of_other_kinds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AdapterError, match="no adapter file"):
        read_adapter(tmp_path / "absent.safetensors")
    for name in ("a.pt", "b.bin", "c.ckpt"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(AdapterError, match="run code"):
            read_adapter(tmp_path / name)
    with pytest.raises(AdapterError, match="run code"):
        read_adapter(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AdapterError, match="folder without an adapter"):
        read_adapter(tmp_path / "empty")
    path = write(tmp_path, good())
    monkeypatch.setattr(adapter_files, "MAX_HEADER", 10)
    with pytest.raises(AdapterError, match="announces a header"):
        read_adapter(path)
    monkeypatch.setattr(adapter_files, "MAX_BYTES", 10)
    with pytest.raises(AdapterError, match="at most"):
        read_adapter(path)


def test_hashes_are_those_of_kohya(tmp_path: Path) -> None:
    import hashlib

    from safetensors.torch import save

    path = tmp_path / "a.safetensors"
    modules = {K: (normal(3, 6), normal(4, 3), 1.5)}
    written = save_kohya(path, modules, {"ss_seed": "1", "other": "x"})
    tensors = load_file(path)
    raw = save(tensors, {"ss_seed": "1"})
    body = raw[int.from_bytes(raw[:8], "little") + 8 :]
    assert tensors[f"{K}.alpha"].shape == ()
    summary = read_summary(path)
    assert written == summary
    assert summary.hash == hashlib.sha256(body).hexdigest()
    assert summary.metadata["sshs_model_hash"] == summary.hash
    assert len(summary.metadata["sshs_legacy_hash"]) == 8
    assert summary.claims()["hash"] == "matches"
    save_file(tensors, tmp_path / "edited.safetensors", {"sshs_model_hash": "0" * 64})
    assert adapter_hash(tmp_path / "edited.safetensors") == summary.hash
    assert "differs" in read_summary(tmp_path / "edited.safetensors").claims()["hash"]


def test_writing_refuses_nothing_and_nonsense(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no module"):
        save_kohya(tmp_path / "a.safetensors", {}, {})
    endless = {K: (normal(3, 6) * float("inf"), normal(4, 3), 1.0)}
    with pytest.raises(AdapterError, match="diverged"):
        save_kohya(tmp_path / "a.safetensors", endless, {})
    assert not list(tmp_path.iterdir())


def test_keys_are_those_of_kohya() -> None:
    assert set(kohya_names(toy())) == {K, CONV, POINT, K.replace("to_k", "to_v"), TEXT}
    assert text_name("text_model.encoder.x") == "lora_te_text_model_encoder_x"


def claiming(tmp_path: Path, **metadata: Any) -> Path:
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    save_file(good(), tmp_path / "claims.safetensors", texts)
    return tmp_path / "claims.safetensors"


def test_claims_are_read_as_hints(tmp_path: Path) -> None:
    path = claiming(
        tmp_path,
        ss_sd_model_name="v1-5.safetensors",
        ss_resolution="(512, 512)",
        ss_epoch="8",
        ss_dataset_dirs={"4_siren": {"n_repeats": 4, "img_count": 6}, "x": 3},
        ss_tag_frequency={"4_siren": {"a cat": 2, "red": 5}, "b": {"red": 1}},
    )
    claims = read_summary(path).claims()
    assert claims["base model"] == "v1-5.safetensors"
    assert (claims["resolution"], claims["epochs"]) == ("(512, 512)", "8")
    assert claims["folders"] == {"4_siren": 6}
    assert claims["tags"] == {"red": 6, "a cat": 2}
    odd = claiming(
        tmp_path,
        ss_sd_model_name="\x1b[2J" + "x" * 1000,
        ss_tag_frequency="[" * 100_000,
        ss_dataset_dirs="[]",
    )
    claims = read_summary(odd).claims()
    assert "\x1b" not in claims["base model"]
    assert len(claims["base model"]) == 200
    assert "tags" not in claims
    assert "folders" not in claims


def inspect(*arguments: object) -> Any:
    import typer

    from siren_ext.cli import adapter as module

    app = typer.Typer()
    app.callback()(lambda: None)
    module.register(app)
    return CliRunner().invoke(app, ["adapter", *(str(one) for one in arguments)])


def test_command_shows_what_a_file_holds(tmp_path: Path) -> None:
    path = claiming(tmp_path, ss_sd_model_name="v1-5.safetensors\x1b[2J")
    result = inspect(path)
    assert result.exit_code == 0, result.output
    for text in (read_summary(path).hash, "3 lora", "hints, never proof", "base model: v1-5"):
        assert text in result.output
    assert "\x1b" not in result.output
    facts = json.loads(inspect(path, "--json").output)
    assert facts["kinds"] == {"lora": 3}
    assert str(tmp_path) not in json.dumps(facts)
    odd = write(tmp_path, good() | {f"{K}.oft_blocks": torch.ones(1)}, "odd.safetensors")
    assert inspect(odd).exit_code == 2
    shown = inspect(odd, "--allow-partial")
    assert shown.exit_code == 0
    assert "oft_blocks" in shown.output
