"""Files of the real writers (peft, LyCORIS, diffusers, our trainer): the merge equals the writer.

Each file is written by the library itself around a tiny model; the library's own forward pass is
compared with the forward pass after our merge, then the merge is undone bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import need_models, shared_model

from siren_ext import pipelines
from siren_ext.adapters import merge_adapter, read_adapter
from siren_ext.errors import AdapterError

need_models()
pytestmark = pytest.mark.models

NAMES = ["to_k", "to_out.0", "proj_in", "conv1", "ff.net.2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)


@torch.no_grad()
def answer(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 4, 4, 4, generator=generator)
    embeds = torch.randn(1, 32, 32, generator=generator)
    return unet(noise, torch.tensor([400]), embeds, return_dict=False)[0]


@contextmanager
def unchanged(pipeline: Any) -> Iterator[None]:
    """The weights after the block have the bits that they had before."""
    networks = (pipeline.unet, pipeline.text_encoder)
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in networks]
    yield
    for network, state in zip(networks, before, strict=True):
        now = network.state_dict()
        assert now.keys() == state.keys()
        assert all(torch.equal(now[key], value) for key, value in state.items())


def randomise(module: torch.nn.Module, size: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.requires_grad and "magnitude" not in name and "dora_scale" not in name:
                weight.add_(size * torch.randn(weight.shape, generator=generator))
            elif weight.requires_grad:
                weight.mul_(1 + size * torch.rand(weight.shape, generator=generator))


def check(pipeline: Any, path: Path, theirs: torch.Tensor, modules: int) -> None:
    """The merge gives the writer's own answer and leaves nothing behind when undone."""
    with unchanged(pipeline):
        plain = answer(pipeline.unet)
        adapter = read_adapter(path)
        assert len(adapter.changes) == modules
        merge = merge_adapter(pipeline, adapter)
        ours = answer(pipeline.unet)
        assert (theirs - plain).abs().max() > 1e-3
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        assert merge.warnings == ()
        merge.undo()
        assert torch.equal(answer(pipeline.unet), plain)


def peft_config(kind: str, **options: Any) -> Any:
    import peft

    return getattr(peft, kind)(target_modules=NAMES, **options)


PEFT = {
    "lora": ("LoraConfig", {"r": 3, "lora_alpha": 5}),
    "patterns": (
        "LoraConfig",
        {"r": 3, "lora_alpha": 5, "rank_pattern": {"to_k": 2}, "alpha_pattern": {"conv1": 7}},
    ),
    "rslora": ("LoraConfig", {"r": 4, "lora_alpha": 4, "use_rslora": True}),
    "dora": ("LoraConfig", {"r": 3, "lora_alpha": 5, "use_dora": True}),
    "bias": ("LoraConfig", {"r": 3, "lora_alpha": 5, "lora_bias": True}),
    "loha": ("LoHaConfig", {"r": 3, "alpha": 5}),
    "loha_tucker": ("LoHaConfig", {"r": 3, "alpha": 5, "use_effective_conv2d": True}),
    "lokr": ("LoKrConfig", {"r": 2, "alpha": 5}),
    "lokr_tucker": (
        "LoKrConfig",
        {"r": 2, "alpha": 5, "decompose_both": True, "use_effective_conv2d": True},
    ),
    "lokr_full": ("LoKrConfig", {"r": 64, "alpha": 32}),
    "ia3": ("IA3Config", {"feedforward_modules": ["ff.net.2"]}),
}


@pytest.mark.parametrize("name", PEFT)
def test_peft_folder(pipeline: Any, tmp_path: Path, name: str, folder: Path) -> None:
    from peft import get_peft_model

    kind, options = PEFT[name]
    unet = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32).unet
    config = peft_config(kind, **options)
    if name == "bias":  # peft gives biases only to layers that have one
        config.target_modules = {"to_out.0", "conv1"}
    wrapped = get_peft_model(unet, config)
    randomise(wrapped)
    wrapped.eval()
    theirs = answer(wrapped)
    wrapped.save_pretrained(tmp_path, safe_serialization=True)
    modules = sum(1 for path, _ in unet.named_modules() if hasattr(_, "base_layer"))
    check(pipeline, tmp_path, theirs, modules)
    check(pipeline, tmp_path / "adapter_model.safetensors", theirs, modules)


def lycoris(network: Any, **options: Any) -> Any:
    kohya = pytest.importorskip("lycoris.kohya")
    kohya.logger.setLevel("ERROR")
    return kohya.create_network(
        1.0, 4, 2.0, None, network.text_encoder, network.unet, warn_on_unmatched=False, **options
    )


ATTENTION, CONVOLUTIONS = {"preset": "attn-mlp"}, {"preset": "unet-convblock-only"}
LYCORIS: dict[str, dict[str, Any]] = {
    "locon": ATTENTION | {"algo": "locon"},
    "locon_conv": CONVOLUTIONS | {"algo": "locon", "conv_dim": 3, "conv_alpha": 1.5},
    "locon_tucker": CONVOLUTIONS | {"algo": "locon", "use_tucker": True},
    "locon_dora": CONVOLUTIONS | {"algo": "locon", "dora_wd": True},
    "locon_dora_input": CONVOLUTIONS | {"algo": "locon", "dora_wd": True, "wd_on_output": False},
    "locon_rs": ATTENTION | {"algo": "locon", "rs_lora": True},
    "locon_norm": CONVOLUTIONS | {"algo": "locon", "train_norm": True},
    "loha": ATTENTION | {"algo": "loha"},
    "loha_conv": CONVOLUTIONS | {"algo": "loha"},
    "loha_tucker": CONVOLUTIONS | {"algo": "loha", "use_tucker": True},
    "loha_dora": ATTENTION | {"algo": "loha", "dora_wd": True},
    "lokr": ATTENTION | {"algo": "lokr", "factor": 4},
    "lokr_conv": CONVOLUTIONS | {"algo": "lokr", "factor": 2},
    "lokr_factored": ATTENTION | {"algo": "lokr", "decompose_both": True, "factor": 16},
    "lokr_tucker": CONVOLUTIONS | {"algo": "lokr", "use_tucker": True, "factor": 2},
    "lokr_full": CONVOLUTIONS | {"algo": "lokr", "full_matrix": True},
    "lokr_dora": ATTENTION | {"algo": "lokr", "factor": 4, "dora_wd": True},
    "full": CONVOLUTIONS | {"algo": "full"},
    "ia3": {"algo": "ia3"},
}
# LyCORIS' own preset for it names modules by patterns that match nothing in this UNet
IA3_PRESET = """
enable_conv = true
unet_target_module = []
unet_target_name = [".*to_k", ".*ff.net.2", ".*conv1", ".*conv2"]
text_encoder_target_module = []
text_encoder_target_name = []
[name_algo_map.".*ff.net.2"]
train_on_input = true
[name_algo_map.".*conv2"]
train_on_input = true
"""
# a piece of each file that shows that the writer really wrote what the case is named after
TRACE = {
    "locon_tucker": "lora_mid.weight",
    "locon_dora": "dora_scale",
    "locon_dora_input": "dora_scale",
    "locon_norm": "w_norm",
    "loha": "hada_w2_b",
    "loha_conv": "hada_w2_b",
    "loha_tucker": "hada_t1",
    "loha_dora": "dora_scale",
    "lokr": "lokr_w1",
    "lokr_conv": "lokr_w2_a",
    "lokr_factored": "lokr_w1_a",
    "lokr_tucker": "lokr_t2",
    "lokr_full": "lokr_w2",
    "lokr_dora": "dora_scale",
    "full": "diff_b",
    "ia3": "on_input",
}


@pytest.mark.parametrize("name", LYCORIS)
def test_lycoris_file(pipeline: Any, tmp_path: Path, name: str, folder: Path) -> None:
    other = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    options = dict(LYCORIS[name])
    if name == "ia3":
        (tmp_path / "ia3.toml").write_text(IA3_PRESET)
        options["preset"] = str(tmp_path / "ia3.toml")
    network = lycoris(other, **options)
    network.apply_to(other.text_encoder, other.unet, False, True)
    randomise(network, 0.02 if name == "full" else 0.1)
    network.eval()
    theirs = answer(other.unet)
    path = tmp_path / f"{name}.safetensors"
    network.save_weights(str(path), torch.float32, {"ss_network_args": json.dumps(LYCORIS[name])})
    assert any(key.endswith(TRACE.get(name, "lora_up.weight")) for key in load_file(path))
    check(pipeline, path, theirs, len(network.unet_loras))


def test_lycoris_text_encoder(pipeline: Any, tmp_path: Path, folder: Path) -> None:
    other = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    network = lycoris(other, algo="locon", preset="attn-mlp")
    network.apply_to(other.text_encoder, other.unet, True, False)
    randomise(network)
    path = tmp_path / "text.safetensors"
    network.eval()
    network.save_weights(str(path), torch.float32, {})
    summary = read_adapter(path).summary()
    assert summary.text_modules == len(network.text_encoder_loras) > 0
    with unchanged(pipeline):
        merge = merge_adapter(pipeline, read_adapter(path))
        ours = pipelines.encode_prompts(pipeline, ["a red cat"])
        merge.undo()
    theirs = pipelines.encode_prompts(other, ["a red cat"])
    assert (theirs - pipelines.encode_prompts(pipeline, ["a red cat"])).abs().max() > 1e-3
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def diffusers_lora(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A ``pytorch_lora_weights.safetensors`` of diffusers, and the answer of its own pipeline."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    other = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    names = ["to_q", "to_k", "to_v", "to_out.0"]
    other.unet.add_adapter(LoraConfig(r=3, lora_alpha=3, target_modules=names))
    randomise(other.unet)
    out = tmp_path_factory.mktemp("diffusers")
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(other.unet))
    StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=layers)
    return out, answer(other.unet)


def test_diffusers_file(pipeline: Any, diffusers_lora: tuple[Path, Any]) -> None:
    out, theirs = diffusers_lora
    check(pipeline, out, theirs, 32)


def as_peft(key: str) -> str:
    return key.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.")


def as_old(key: str) -> str:
    """diffusers' first style, of its attention processors."""
    for name in ("to_q", "to_k", "to_v"):
        key = key.replace(f".{name}.lora.", f".processor.{name}_lora.")
    return key.replace(".to_out.0.lora.", ".processor.to_out_lora.")


def as_oldest(key: str) -> str:
    return as_old(key).removeprefix("unet.")


@pytest.mark.parametrize("rename", [as_peft, as_old, as_oldest])
def test_diffusers_styles(
    pipeline: Any, diffusers_lora: tuple[Path, Any], tmp_path: Path, rename: Callable[[str], str]
) -> None:
    """Older diffusers can't be run beside the new one: its key names are made from the new ones."""
    out, theirs = diffusers_lora
    tensors = load_file(out / "pytorch_lora_weights.safetensors")
    renamed = {rename(key): value for key, value in tensors.items()}
    assert renamed.keys() != tensors.keys() or rename is as_peft
    save_file(renamed, tmp_path / "pytorch_lora_weights.safetensors")
    check(pipeline, tmp_path, theirs, 32)


def test_diffusers_file_with_settings(pipeline: Any, tmp_path: Path, folder: Path) -> None:
    """alpha lies in the file's metadata; without reading it the change would have another size."""
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    other = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    config = LoraConfig(r=3, lora_alpha=9, target_modules=["to_k"])
    other.unet.add_adapter(config)
    randomise(other.unet)
    save = StableDiffusionPipeline.save_lora_weights
    layers = get_peft_model_state_dict(other.unet)
    if "unet_lora_adapter_metadata" not in save.__code__.co_varnames:
        pytest.skip("this diffusers writes no settings")
    save(tmp_path, unet_lora_layers=layers, unet_lora_adapter_metadata=config.to_dict())
    check(pipeline, tmp_path, answer(other.unet), 8)


def test_our_trainers_file(pipeline: Any, tmp_path: Path, folder: Path) -> None:
    """The writer's own forward: peft's layers inside the trained UNet."""
    from siren_ext.adapters import save_kohya
    from siren_ext.personalize import PersonalizeConfig
    from siren_ext.personalize.lora import LoraWeights

    other = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    config = PersonalizeConfig(rank=4, alpha=2.0, conv_rank=2, conv_alpha=3.0)
    weights = LoraWeights(other, config)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        weights.vector.add_(0.1 * torch.randn(weights.vector.shape, generator=generator))
    weights.push()
    path = tmp_path / "ours.safetensors"
    save_kohya(path, weights.modules(), {"ss_seed": "1"})
    check(pipeline, path, answer(other.unet), len(weights.names))


def test_settings_of_peft_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    key = "base_model.model.conv_in.lora_"
    tensors = {f"{key}A.weight": torch.ones(1, 4, 3, 3), f"{key}B.weight": torch.ones(32, 1, 1, 1)}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="without adapter_config"):
        read_adapter(tmp_path / "adapter_model.safetensors")
    good = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["conv_in"]}
    for change, words in [
        ({"peft_type": "OFT"}, "OFT"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"modules_to_save": ["conv_out"]}, "modules_to_save"),
        ({"a_future_setting": 1}, "a_future_setting"),
        ({"alpha_pattern": {"(a+)+$": 3}}, "patterns in alpha_pattern"),
        ({"lora_alpha": None}, "no rank or alpha"),
        ({"lora_alpha": "1"}, "expected a number"),
    ]:
        (tmp_path / "adapter_config.json").write_text(json.dumps(good | change))
        with pytest.raises(AdapterError, match=words.replace("(", r"\(")):
            read_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(good))
    assert read_adapter(tmp_path).changes[0].scale == 1.0
    (tmp_path / "adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(AdapterError, match="JSON"):
        read_adapter(tmp_path)


def test_peft_folders_per_network(pipeline: Any, tmp_path: Path) -> None:
    """peft's training scripts write unet/ and text_encoder/; both parts count."""
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2}
    paths = {
        "unet": "base_model.model.mid_block.attentions.0.transformer_blocks.0.attn1.to_q",
        "text_encoder": "base_model.model.text_model.encoder.layers.1.self_attn.q_proj",
    }
    for name, path in paths.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
        side = 64 if name == "unet" else 32
        tensors = {
            f"{path}.lora_A.weight": torch.ones(1, side),
            f"{path}.lora_B.weight": torch.ones(side, 1),
        }
        save_file(tensors, tmp_path / name / "adapter_model.safetensors")
    with unchanged(pipeline):
        merge = merge_adapter(pipeline, read_adapter(tmp_path))
        assert {c.place.component for c in merge.adapter.changes} == {"unet", "text_encoder"}
        merge.undo()
