"""Adapters of Flux and Stable Diffusion 3 under every program's names, merged into tiny models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_families import tiny_family
from support.tiny_models import need_models
from support.toy_adapters import normal
from support.writers import randomise

from siren_ext.adapters.merge import load_adapter, merge_adapter
from siren_ext.adapters.read import read_adapter
from siren_ext.diffusion.load import quiet_libraries
from siren_ext.errors import AdapterError

need_models()
pytestmark = pytest.mark.models

Tensors = dict[str, torch.Tensor]
BLOCK, SINGLE = "transformer_blocks.0", "single_transformer_blocks.0"
QKV = [f"{BLOCK}.attn.{name}" for name in ("to_q", "to_k", "to_v")]
ADDED = [f"{BLOCK}.attn.{name}" for name in ("add_q_proj", "add_k_proj", "add_v_proj")]
LINEAR1 = [f"{SINGLE}.attn.to_q", f"{SINGLE}.attn.to_k", f"{SINGLE}.attn.to_v"]
LINEAR1 += [f"{SINGLE}.proj_mlp"]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Loads a tiny pipeline of a family."""
    root = tmp_path_factory.getbasetemp()

    def load(family: str) -> Any:
        from diffusers import DiffusionPipeline

        folder = tiny_family(root, family)
        with quiet_libraries():
            pipeline = DiffusionPipeline.from_pretrained(folder)
        pipeline.transformer.requires_grad_(False)
        return pipeline

    return load


@torch.no_grad()
def answer(transformer: Any) -> torch.Tensor:
    embeds, pooled = normal(1, 5, 32, seed=4), normal(1, 32, seed=5)
    if type(transformer).__name__ == "SD3Transformer2DModel":
        noise = normal(1, 8, 4, 4, seed=3)
        return transformer(noise, embeds, pooled, torch.tensor([400.0]), return_dict=False)[0]
    return transformer(
        normal(1, 16, 16, seed=3), embeds, pooled, torch.tensor([0.4]), torch.zeros(16, 3),
        torch.zeros(5, 3), torch.ones(1), return_dict=False,
    )[0]  # fmt: skip


def weights(pipeline: Any) -> Tensors:
    parts = ("transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
    networks = [(name, getattr(pipeline, name, None)) for name in parts]
    return {
        f"{name}.{key}": value.clone()
        for name, network in networks
        if network is not None
        for key, value in network.state_dict().items()
    }


def save(folder: Path, tensors: Tensors, name: str = "a") -> Path:
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, path)
    return path


def check(pipeline: Any, path: Path, expected: Tensors) -> None:
    """The merge changes exactly the expected weights by the expected amounts, and can be undone."""
    before = weights(pipeline)
    merge = merge_adapter(pipeline, read_adapter(path))
    after = weights(pipeline)
    assert merge.warnings == ()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {f"{key}.weight" for key in expected}
    for key, delta in expected.items():
        assert float(delta.abs().max()) > 1e-3
        difference = after[f"{key}.weight"] - before[f"{key}.weight"]
        torch.testing.assert_close(difference, delta, atol=1e-5, rtol=1e-5)
    merge.undo()
    undone = weights(pipeline)
    assert all(torch.equal(before[key], undone[key]) for key in before)


def lora(name: str, out: int, into: int = 32, seed: int = 1) -> tuple[Tensors, torch.Tensor]:
    """The tensors of a LoRA of one module, and its weight difference."""
    down, up = 0.3 * normal(4, into, seed=seed), 0.3 * normal(out, 4, seed=seed + 1)
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    tensors[f"{name}.alpha"] = torch.tensor(2.0)
    return tensors, 0.5 * up @ down


def split(delta: torch.Tensor, sizes: list[int], names: list[str]) -> Tensors:
    pieces = torch.split(delta, sizes)
    return {f"transformer.{name}": piece for name, piece in zip(names, pieces, strict=True)}


@pytest.mark.parametrize("family", ["flux", "sd3"])
@pytest.mark.parametrize("algo", ["lora", "lokr", "loha"])
def test_lycoris_around_a_transformer(make: Any, tmp_path: Path, family: str, algo: str) -> None:
    """Files of LyCORIS' own wrapper, such as SimpleTuner's: ``lycoris_`` and diffusers' names."""
    lycoris = pytest.importorskip("lycoris.wrapper")
    lycoris.logger.setLevel("ERROR")
    other, pipeline = make(family), make(family)
    names = ["Attention", "FluxAttention", "FeedForward"]
    lycoris.LycorisNetwork.apply_preset({"target_module": names})
    network = lycoris.create_lycoris(other.transformer, 1.0, 4, 2.0, algo=algo, factor=4)
    network.apply_to()
    randomise(network)
    network.eval()
    path = tmp_path / "a.safetensors"
    network.save_weights(str(path), torch.float32, {})
    theirs, plain = answer(other.transformer), answer(pipeline.transformer)
    merge = merge_adapter(pipeline, read_adapter(path))
    assert len(merge.adapter.changes) == len(network.loras) > 8
    torch.testing.assert_close(answer(pipeline.transformer), theirs, atol=1e-5, rtol=1e-5)
    assert float((theirs - plain).abs().max()) > 1e-3
    merge.undo()
    assert torch.equal(answer(pipeline.transformer), plain)


FUSED: list[tuple[str, str, list[int], list[str]]] = [
    ("flux", "double_blocks.0.img_attn.qkv", [32] * 3, QKV),
    ("flux", "double_blocks.0.txt_attn.qkv", [32] * 3, ADDED),
    ("flux", "single_blocks.0.linear1", [32, 32, 32, 128], LINEAR1),
    ("sd3", "joint_blocks.0.x_block.attn.qkv", [32] * 3, QKV),
    ("sd3", "joint_blocks.0.context_block.attn.qkv", [32] * 3, ADDED),
]


@pytest.mark.parametrize(("family", "original", "sizes", "names"), FUSED)
def test_one_module_in_the_file_is_several_in_the_model(
    make: Any, tmp_path: Path, family: str, original: str, sizes: list[int], names: list[str]
) -> None:
    pipeline, rows = make(family), sum(sizes)
    kohya = "lora_unet_" + original.replace(".", "_")
    for name in (kohya, f"diffusion_model.{original}", f"model.diffusion_model.{original}"):
        tensors, delta = lora(name, rows)
        check(pipeline, save(tmp_path, tensors), split(delta, sizes, names))
    w1, w2 = 0.3 * normal(4, 4), 0.3 * normal(rows // 4, 8, seed=2)
    lokr = {f"{kohya}.lokr_w1": w1, f"{kohya}.lokr_w2": w2, f"{kohya}.alpha": torch.tensor(4)}
    check(pipeline, save(tmp_path, lokr), split(torch.kron(w1, w2), sizes, names))
    halves = [0.3 * normal(*s, seed=i) for i, s in enumerate([(rows, 2), (2, 32)] * 2)]
    parts = zip(("w1_a", "w1_b", "w2_a", "w2_b"), halves, strict=True)
    loha = {f"{kohya}.hada_{part}": value for part, value in parts}
    product = (halves[0] @ halves[1]) * (halves[2] @ halves[3])
    check(pipeline, save(tmp_path, loha), split(product, sizes, names))
    tensors, delta = lora(kohya, rows)
    state = pipeline.transformer.state_dict()
    whole = torch.cat([state[f"{name}.weight"] for name in names]) + delta
    scale = torch.rand(rows, 1, generator=torch.Generator().manual_seed(1)) + 0.5
    dora = scale * whole / whole.norm(dim=1, keepdim=True) - (whole - delta)
    path = save(tmp_path, tensors | {f"{kohya}.dora_scale": scale})
    check(pipeline, path, split(dora, sizes, names))


@pytest.mark.parametrize("family", ["flux", "sd3"])
def test_scale_and_shift_change_places(make: Any, tmp_path: Path, family: str) -> None:
    """The original's last norm has shift before scale, diffusers' the other way round."""
    tensors, delta = lora("lora_unet_final_layer_adaLN_modulation_1", 64)
    expected = {"transformer.norm_out.linear": torch.cat([delta[32:], delta[:32]])}
    check(make(family), save(tmp_path, tensors), expected)


# the places of one adapter: diffusers' path, name in the original, rows
PLACES = [
    (f"{BLOCK}.ff.net.2", "double_blocks.0.img_mlp.2", 32, 128),
    (f"{SINGLE}.norm.linear", "single_blocks.0.modulation.lin", 96, 32),
    ("time_text_embed.text_embedder.linear_1", "vector_in.in_layer", 32, 32),
]
CLIP, T5 = "text_model.encoder.layers.0.self_attn.q_proj", "encoder.block.0.layer.0.SelfAttention.q"


def onetrainer(layout: str) -> tuple[Tensors, Tensors]:
    """A file in one of OneTrainer's layouts for Flux, and the weight differences."""
    tensors, expected = {}, {}
    dotted = layout in ("diffusers", "original", "comfy", "numbered")
    prefix = {"legacy": "lora_transformer_", "kohya": "lora_unet_", "original": "",
              "comfy": "diffusion_model."}.get(layout, "transformer.")  # fmt: skip
    for number, (path, original, out, into) in enumerate(PLACES):
        name = path if layout in ("legacy", "diffusers") else original
        name = prefix + (name if dotted else name.replace(".", "_"))
        more, expected[f"transformer.{path}"] = lora(name, out, into, seed=number)
        tensors |= more
    if layout in ("kohya", "original", "comfy"):  # these join, the others keep apart
        name = "double_blocks.0.img_attn.qkv"
        more, delta = lora(prefix + (name if dotted else name.replace(".", "_")), 96)
        tensors, expected = tensors | more, expected | split(delta, [32] * 3, QKV)
    else:
        for number, path in enumerate(QKV):
            name = f"double_blocks.0.img_attn.qkv.{number}" if layout == "numbered" else path
            name = prefix + (name if dotted else name.replace(".", "_"))
            more, expected[f"transformer.{path}"] = lora(name, 32, seed=10 + number)
            tensors |= more
    encoders = {
        "diffusers": ("text_encoder.", "text_encoder_2."),
        "comfy": ("text_encoders.clip_l.transformer.", "text_encoders.t5xxl.transformer."),
        "numbered": ("clip_l.", "t5."),
    }.get(layout, ("lora_te1_", "lora_te2_"))
    inner = CLIP if f"text_encoder.{CLIP}" in _paths() else CLIP.removeprefix("text_model.")
    for start, path, key in zip(encoders, (CLIP, T5), (inner, T5), strict=True):
        if layout == "original":  # holds the transformer alone
            break
        name = start + (path if dotted else path.replace(".", "_"))
        component = "text_encoder" if path == CLIP else "text_encoder_2"
        more, expected[f"{component}.{key}"] = lora(name, 32)
        tensors |= more
    if layout in ("original", "comfy"):  # alpha stays, the factors have peft's names
        names = {".lora_down.": ".lora_A.", ".lora_up.": ".lora_B."}
        tensors = {_renamed(key, names): value for key, value in tensors.items()}
    if layout == "diffusers":  # alpha is part of the second factor
        names = {".lora_down.": ".lora_A.", ".lora_up.": ".lora_B."}
        tensors = {
            _renamed(key, names): 0.5 * value if ".lora_up." in key else value
            for key, value in tensors.items()
            if not key.endswith(".alpha")
        }
    return tensors, expected


def _paths() -> set[str]:
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        model = CLIPTextModel(CLIPTextConfig(num_hidden_layers=1))
    return {f"text_encoder.{path}" for path, _ in model.named_modules()}


def _renamed(key: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        key = key.replace(old, new)
    return key


@pytest.mark.parametrize(
    "layout", ["diffusers", "kohya", "legacy", "original", "comfy", "numbered"]
)
def test_layouts_of_onetrainer(make: Any, tmp_path: Path, layout: str) -> None:
    """The five that it offers, and the one of earlier releases that numbers joined modules."""
    tensors, expected = onetrainer(layout)
    check(make("flux"), save(tmp_path, tensors), expected)


def test_t5_is_the_third_text_encoder_of_sd3(make: Any, tmp_path: Path) -> None:
    for name in (f"text_encoders.t5xxl.transformer.{T5}", "lora_te3_" + T5.replace(".", "_")):
        tensors, delta = lora(name, 32)
        check(make("sd3"), save(tmp_path, tensors), {f"text_encoder_3.{T5}": delta})


def test_kohyas_scripts_number_t5_of_flux_as_that_of_sd3(make: Any, tmp_path: Path) -> None:
    tensors, delta = lora("lora_te3_" + T5.replace(".", "_"), 32)
    check(make("flux"), save(tmp_path, tensors), {f"text_encoder_2.{T5}": delta})


def peft_file(transformer: Any, folder: Path, names: list[str]) -> torch.Tensor:
    """Write peft's file for a transformer; its own answer with the adapter."""
    import peft

    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=names)
    wrapped = peft.get_peft_model(transformer, config)
    randomise(wrapped)
    wrapped.eval()
    theirs = answer(wrapped.base_model.model)
    wrapped.save_pretrained(folder / "transformer", safe_serialization=True)
    return theirs


@pytest.mark.parametrize("family", ["flux", "sd3"])
def test_fused_file_into_a_separate_model(make: Any, tmp_path: Path, family: str) -> None:
    other, pipeline = make(family), make(family)
    other.transformer.fuse_qkv_projections()
    theirs = peft_file(other.transformer, tmp_path, ["to_qkv", "to_added_qkv"])
    plain = answer(pipeline.transformer)
    merge_adapter(pipeline, read_adapter(tmp_path / "transformer"))
    torch.testing.assert_close(answer(pipeline.transformer), theirs, atol=1e-5, rtol=1e-5)
    assert float((theirs - plain).abs().max()) > 1e-3


@pytest.mark.parametrize("family", ["flux", "sd3"])
def test_separate_file_into_a_fused_model(make: Any, tmp_path: Path, family: str) -> None:
    """The fused layer is the one in use; a change of the separate ones would do nothing."""
    other, pipeline = make(family), make(family)
    theirs = peft_file(other.transformer, tmp_path, ["to_q", "to_v", "add_k_proj"])
    pipeline.transformer.fuse_qkv_projections()
    plain = answer(pipeline.transformer)
    before = weights(pipeline)
    merge = merge_adapter(pipeline, read_adapter(tmp_path / "transformer"))
    torch.testing.assert_close(answer(pipeline.transformer), theirs, atol=1e-5, rtol=1e-5)
    assert float((theirs - plain).abs().max()) > 1e-3
    merge.undo()
    assert all(torch.equal(before[key], value) for key, value in weights(pipeline).items())


def test_joined_and_separate_names_of_one_weight_are_refused(make: Any, tmp_path: Path) -> None:
    both = lora("lora_unet_double_blocks_0_img_attn_qkv", 96)[0]
    both |= lora("lora_transformer_transformer_blocks_0_attn_to_k", 32)[0]
    with pytest.raises(AdapterError, match="changed twice"):
        load_adapter(make("flux"), save(tmp_path, both))
    wrong = lora("lora_unet_double_blocks_0_img_attn_qkv", 95)[0]
    with pytest.raises(AdapterError, match=r"img_attn_qkv \(down 4x32, up 95x4, weight 96x32\)"):
        load_adapter(make("flux"), save(tmp_path, wrong))


FLUX_NORMS = {
    f"lycoris_{BLOCK.replace('.', '_')}_attn_norm_q.w_norm": f"{BLOCK}.attn.norm_q",
    f"transformer.{BLOCK}.attn.norm_added_q.diff": f"{BLOCK}.attn.norm_added_q",
    "diffusion_model.double_blocks.0.img_attn.norm.query_norm.diff": f"{BLOCK}.attn.norm_q",
    "diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale.diff": f"{BLOCK}.attn.norm_k",
    "lora_unet_double_blocks_0_txt_attn_norm_key_norm.w_norm": f"{BLOCK}.attn.norm_added_k",
    "lora_unet_single_blocks_0_norm_query_norm.diff": f"{SINGLE}.attn.norm_q",
}


@pytest.mark.parametrize("key", FLUX_NORMS)
def test_norms_of_attention(make: Any, tmp_path: Path, key: str) -> None:
    pipeline = make("flux")
    delta = normal(pipeline.transformer.get_submodule(FLUX_NORMS[key]).weight.shape[0])
    path = save(tmp_path, {key: delta})
    check(pipeline, path, {f"transformer.{FLUX_NORMS[key]}": delta})
    before = answer(pipeline.transformer)
    load_adapter(pipeline, path)
    assert float((answer(pipeline.transformer) - before).abs().max()) > 1e-5
    with pytest.raises(AdapterError, match="bias 3, the model has none"):
        load_adapter(pipeline, save(tmp_path, {key.rpartition(".")[0] + ".b_norm": normal(3)}))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("joint_blocks.0.x_block.attn.ln_q", "attn.norm_q"),
        ("joint_blocks.0.context_block.attn.ln_k", "attn.norm_added_k"),
        ("joint_blocks.0.x_block.attn2.ln_k", "attn2.norm_k"),
    ],
)
def test_norms_of_stable_diffusion_3(tmp_path: Path, name: str, path: str) -> None:
    from diffusers import SD3Transformer2DModel

    transformer = SD3Transformer2DModel(
        sample_size=8, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=16,
        pos_embed_max_size=8, qk_norm="rms_norm", dual_attention_layers=(0,),
    )  # fmt: skip
    pipeline = SimpleNamespace(transformer=transformer.requires_grad_(False))
    file = save(tmp_path, {f"diffusion_model.{name}.diff": normal(8)})
    check(pipeline, file, {f"transformer.{BLOCK}.{path}": normal(8)})


def test_norms_of_a_t5_encoder(make: Any, tmp_path: Path) -> None:
    file = save(tmp_path, {"lora_te3_encoder_block_0_layer_0_layer_norm.w_norm": normal(32)})
    check(make("flux"), file, {"text_encoder_2.encoder.block.0.layer.0.layer_norm": normal(32)})
