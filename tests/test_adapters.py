"""Kohya files: exact merging, strict reading, hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from tiny_models import need_models, shared_model

from siren_ext import adapters, pipelines
from siren_ext.adapters import adapter_hash, kohya_names, load_adapter, lora_delta, save_kohya
from siren_ext.errors import AdapterError

need_models()
pytestmark = pytest.mark.models

LINEAR = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
OUT = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0"
CONV1 = "lora_unet_mid_block_attentions_0_proj_in"
CONV3 = "lora_unet_down_blocks_1_resnets_0_conv1"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


@pytest.fixture
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    return pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)


def random_modules(pipeline: Any, rank: int = 3) -> dict[str, tuple[Any, Any, float]]:
    generator = torch.Generator().manual_seed(0)
    known = kohya_names(pipeline)
    modules = {}
    for name in (LINEAR, OUT, CONV1, CONV3, TEXT):
        weight = known[name].weight
        down = torch.randn(rank, *weight.shape[1:], generator=generator)
        up = torch.randn(weight.shape[0], rank, *(1,) * (weight.ndim - 2), generator=generator)
        modules[name] = (down, up, 1.5)
    return modules


def test_keys_are_those_of_kohya(pipeline: Any) -> None:
    names = kohya_names(pipeline)
    assert {LINEAR, OUT, CONV1, CONV3, TEXT} <= set(names)
    assert all(name.startswith(("lora_unet_", "lora_te_text_model_")) for name in names)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_merging_adds_alpha_over_rank_times_the_product(
    pipeline: Any, tmp_path: Path, scale: float
) -> None:
    modules = random_modules(pipeline)
    path = tmp_path / "a.safetensors"
    summary = save_kohya(path, modules, {"ss_seed": "1"})
    assert (summary.modules, summary.text_modules, summary.ranks) == (5, 1, (3,))
    known = kohya_names(pipeline)
    before = {name: layer.weight.clone() for name, layer in known.items()}
    loaded = load_adapter(pipeline, path, scale=scale)
    assert loaded == summary
    for name, layer in known.items():
        expected = before[name]
        if name in modules:
            down, up, alpha = modules[name]
            product = torch.einsum("or,ri->oi", up.flatten(1), down.flatten(1))
            expected = expected + scale * (alpha / 3) * product.reshape(expected.shape)
        torch.testing.assert_close(layer.weight.data, expected, atol=1e-6, rtol=1e-6)


def test_convolution_delta_equals_the_two_convolutions() -> None:
    generator = torch.Generator().manual_seed(2)
    down = torch.randn(4, 5, 3, 3, generator=generator)
    up = torch.randn(6, 4, 1, 1, generator=generator)
    x = torch.randn(2, 5, 8, 8, generator=generator)
    conv = torch.nn.functional.conv2d
    through = conv(conv(x, down, padding=1), up) * (2.0 / 4)
    torch.testing.assert_close(
        conv(x, lora_delta(down, up, 2.0), padding=1), through, atol=1e-4, rtol=1e-4
    )


def test_absent_alpha_means_rank(pipeline: Any, tmp_path: Path) -> None:
    down, up, _ = random_modules(pipeline)[LINEAR]
    path = tmp_path / "a.safetensors"
    save_file({f"{LINEAR}.lora_down.weight": down, f"{LINEAR}.lora_up.weight": up}, path)
    weight = kohya_names(pipeline)[LINEAR].weight
    expected = weight + up @ down
    load_adapter(pipeline, path)
    torch.testing.assert_close(weight, expected)


def test_hashes_are_those_of_kohya(pipeline: Any, tmp_path: Path) -> None:
    modules = random_modules(pipeline)
    path = tmp_path / "a.safetensors"
    save_kohya(path, modules, {"ss_seed": "1", "other": "x"})
    tensors = load_file(path)
    raw = save(tensors, {"ss_seed": "1"})
    body = raw[int.from_bytes(raw[:8], "little") + 8 :]
    assert tensors[f"{LINEAR}.alpha"].shape == ()
    summary = adapters.read_summary(path)
    assert summary.hash == hashlib.sha256(body).hexdigest()
    assert summary.metadata["sshs_model_hash"] == summary.hash
    assert len(summary.metadata["sshs_legacy_hash"]) == 8
    save_file(tensors, tmp_path / "edited.safetensors", {"ss_seed": "2"})
    assert adapter_hash(tmp_path / "edited.safetensors") == summary.hash


def _with(tensors: dict[str, Any], **more: Any) -> dict[str, Any]:
    return tensors | more


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t | {"lora_unet_nowhere.lora_down.weight": torch.ones(1, 1),
                        "lora_unet_nowhere.lora_up.weight": torch.ones(1, 1)}, "unet_nowhere"),
        (lambda t: t | {f"{LINEAR}.dora_scale": torch.ones(1)}, "dora_scale"),
        (lambda t: t | {"unet.down.lora_A.weight": torch.ones(1, 1)}, "lora_A"),
        (lambda t: {k: v for k, v in t.items() if k != f"{LINEAR}.lora_up.weight"}, "no lora_up"),
        (lambda t: t | {f"{LINEAR}.lora_down.weight": torch.ones(3, 7)}, "3x7"),
        (lambda t: t | {f"{LINEAR}.lora_down.weight": torch.ones(2, 32)}, "down 2x32"),
        (lambda t: t | {f"{CONV3}.lora_up.weight": torch.ones(64, 3)}, "resnets_0_conv1"),
        (lambda t: t | {f"{LINEAR}.alpha": torch.ones(2)}, "not one number"),
        (lambda t: t | {f"{LINEAR}.alpha": torch.tensor(float("nan"))}, "alpha"),
        (lambda t: {}, "no tensors"),
    ],
)  # fmt: skip
def test_wrong_files_change_nothing(pipeline: Any, tmp_path: Path, change: Any, words: str) -> None:
    good = tmp_path / "good.safetensors"
    save_kohya(good, random_modules(pipeline), {})
    bad = tmp_path / "bad.safetensors"
    save_file({k: v.clone() for k, v in change(load_file(good)).items()}, bad)
    before = {name: layer.weight.clone() for name, layer in kohya_names(pipeline).items()}
    with pytest.raises(AdapterError, match=words):
        load_adapter(pipeline, bad)
    for name, layer in kohya_names(pipeline).items():
        assert torch.equal(layer.weight, before[name])


def test_unreadable_files_are_refused(
    pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AdapterError, match="no adapter file"):
        load_adapter(pipeline, tmp_path / "absent.safetensors")
    pickled = tmp_path / "a.pt"
    pickled.write_bytes(b"x")
    with pytest.raises(AdapterError, match="run code"):
        load_adapter(pipeline, pickled)
    broken = tmp_path / "a.safetensors"
    broken.write_bytes(b"\xff" * 100)
    with pytest.raises(AdapterError, match="can't be read"):
        load_adapter(pipeline, broken)
    monkeypatch.setattr(adapters, "MAX_BYTES", 10)
    with pytest.raises(AdapterError, match="at most"):
        load_adapter(pipeline, broken)


def test_writing_refuses_nothing_and_nonsense(pipeline: Any, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no module"):
        save_kohya(tmp_path / "a.safetensors", {}, {})
    down, up, _ = random_modules(pipeline)[LINEAR]
    with pytest.raises(AdapterError, match="diverged"):
        save_kohya(tmp_path / "a.safetensors", {LINEAR: (down * float("inf"), up, 1.0)}, {})
    assert not list(tmp_path.iterdir())


def test_diffusers_reads_what_we_write(pipeline: Any, tmp_path: Path) -> None:
    """The UNet part, read by diffusers' own kohya converter, predicts as our merge does."""
    modules = {k: v for k, v in random_modules(pipeline).items() if k in (LINEAR, OUT)}
    path = tmp_path / "a.safetensors"
    save_kohya(path, modules, {})
    noise, embeds = torch.randn(1, 4, 4, 4), torch.randn(1, 32, 32)
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name)
    theirs = pipeline.unet(noise, 500, embeds, return_dict=False)[0]
    pipeline.unload_lora_weights()
    plain = pipeline.unet(noise, 500, embeds, return_dict=False)[0]
    load_adapter(pipeline, path)
    ours = pipeline.unet(noise, 500, embeds, return_dict=False)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(ours, plain, atol=1e-3)
