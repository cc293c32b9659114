"""Adapter files of the real writers (peft, LyCORIS, diffusers, our trainer) for a tiny UNet.

Each case writes a file by the library itself around a tiny model and keeps the library's own answer
with the adapter inside; :func:`compare` then merges the file and compares. Both the tests and the
table in ``docs/adapters.md`` (``benchmarks/adapter_table.py``) are made of these cases.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from siren_ext.adapters.merge import merge_adapter
from siren_ext.adapters.read import read_adapter
from siren_ext.diffusion import pipelines

NAMES = ["to_k", "to_out.0", "proj_in", "conv1", "ff.net.2"]


class UnwrittenError(Exception):
    """The installed release of a writer can't write this case; says why."""


@dataclass(frozen=True)
class Written:
    """A file, the writer's own answer with the adapter in place, and how many modules it has."""

    path: Path
    theirs: torch.Tensor
    modules: int


@dataclass(frozen=True)
class Comparison:
    """What our merge of a file gives, held against the writer's own forward pass."""

    kinds: tuple[str, ...]
    modules: int
    error: float
    change: float
    leftovers: int
    warnings: tuple[str, ...]
    undone: bool


@torch.no_grad()
def answer(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(1, 4, 4, 4, generator=generator)
    embeds = torch.randn(1, 32, 32, generator=generator)
    return unet(noise, torch.tensor([400]), embeds, return_dict=False)[0]


def randomise(module: torch.nn.Module, size: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.requires_grad and "magnitude" not in name and "dora_scale" not in name:
                weight.add_(size * torch.randn(weight.shape, generator=generator))
            elif weight.requires_grad:
                weight.mul_(1 + size * torch.rand(weight.shape, generator=generator))


def load(folder: Path) -> Any:
    return pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)


def compare(pipeline: Any, written: Written) -> Comparison:
    """Merge a file into ``pipeline``, compare with its writer, and undo it."""
    networks = (pipeline.unet, pipeline.text_encoder)
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in networks]
    plain = answer(pipeline.unet)
    adapter = read_adapter(written.path)
    merge = merge_adapter(pipeline, adapter)
    ours = answer(pipeline.unet)
    merge.undo()
    states = [network.state_dict() for network in networks]
    same = all(
        now.keys() == state.keys() and all(torch.equal(now[key], state[key]) for key in now)
        for now, state in zip(states, before, strict=True)
    )
    return Comparison(
        kinds=tuple(adapter.summary().kinds),
        modules=len(adapter.changes),
        error=float((ours - written.theirs).abs().max()),
        change=float((written.theirs - plain).abs().max()),
        leftovers=len(adapter.leftovers),
        warnings=merge.warnings,
        undone=same and torch.equal(answer(pipeline.unet), plain),
    )


PEFT: dict[str, tuple[str, dict[str, Any]]] = {
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
    "oft": ("OFTConfig", {"oft_block_size": 4, "use_cayley_neumann": False}),
    "oft_neumann": ("OFTConfig", {"oft_block_size": 8, "num_cayley_neumann_terms": 5}),
    "oft_shared": ("OFTConfig", {"oft_block_size": 4, "block_share": True}),
}


def write_peft(folder: Path, out: Path, name: str) -> Written:
    """A folder of ``adapter_model.safetensors`` and ``adapter_config.json``."""
    import peft

    kind, options = PEFT[name]
    config_class = getattr(peft, kind)
    options = dict(options)
    unknown = set(options) - set(inspect.signature(config_class).parameters)
    if unknown:
        raise UnwrittenError(f"peft {version('peft')} has no {', '.join(sorted(unknown))}")
    if kind == "LoKrConfig" and _leaves_alpha_out():
        options["alpha"] = options["r"]
    # peft gives biases only to layers that have one
    names = ["to_out.0", "conv1"] if name == "bias" else NAMES
    if kind == "OFTConfig":  # peft fails at convolutions with padding
        names = [name for name in NAMES if name != "conv1"]
    unet = load(folder).unet
    wrapped = peft.get_peft_model(unet, config_class(target_modules=names, **options))
    randomise(wrapped)
    wrapped.eval()
    theirs = answer(wrapped)
    wrapped.save_pretrained(out, safe_serialization=True)
    modules = sum(1 for _, module in unet.named_modules() if hasattr(module, "base_layer"))
    return Written(out, theirs, modules)


def _leaves_alpha_out() -> bool:
    """Old peft's LoKr forgets alpha / rank in its own forward; newer peft, and we, don't."""
    from peft.tuners.lokr.layer import LoKrLayer

    return "scaling" not in inspect.getsource(LoKrLayer.get_delta_weight)


def lycoris(network: Any, **options: Any) -> Any:
    """LyCORIS' network around a pipeline; raises ImportError where it can't be imported."""
    from lycoris import kohya

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
    "oft": ATTENTION | {"algo": "diag-oft"},
    "oft_conv": CONVOLUTIONS | {"algo": "diag-oft", "rescaled": True},
    "oft_constrained": ATTENTION | {"algo": "diag-oft", "constraint": 0.01},
    "boft": ATTENTION | {"algo": "boft"},
    "boft_conv": CONVOLUTIONS | {"algo": "boft", "rescaled": True},
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
    "oft": "oft_blocks",
    "oft_conv": "rescale",
    "oft_constrained": "oft_blocks",
    "boft": "oft_blocks",
    "boft_conv": "rescale",
}


def write_lycoris(folder: Path, out: Path, name: str) -> Written:
    """A file of LyCORIS' kohya network."""
    other = load(folder)
    options = dict(LYCORIS[name])
    if name == "ia3":
        (out / "ia3.toml").write_text(IA3_PRESET)
        options["preset"] = str(out / "ia3.toml")
    try:
        network = lycoris(other, **options)
    except ImportError as error:
        raise UnwrittenError(f"lycoris-lora isn't installed ({error.name})") from error
    network.apply_to(other.text_encoder, other.unet, False, True)
    randomise(network, 0.02 if name == "full" else 0.1)
    network.eval()
    theirs = answer(other.unet)
    path = out / f"{name}.safetensors"
    network.save_weights(str(path), torch.float32, {"ss_network_args": json.dumps(LYCORIS[name])})
    if not any(key.endswith(TRACE.get(name, "lora_up.weight")) for key in load_file(path)):
        raise AssertionError(f"LyCORIS wrote no {name}: {list(load_file(path))[:4]}")
    return Written(path, theirs, len(network.unet_loras))


def as_new(key: str) -> str:
    return key


def as_peft(key: str) -> str:
    return key.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.")


def as_old(key: str) -> str:
    """diffusers' first style, of its attention processors."""
    for name in ("to_q", "to_k", "to_v"):
        key = key.replace(f".{name}.lora.", f".processor.{name}_lora.")
    return key.replace(".to_out.0.lora.", ".processor.to_out_lora.")


def as_oldest(key: str) -> str:
    return as_old(key).removeprefix("unet.")


# Older diffusers can't be run beside the new one: its key names are made from the new ones
DIFFUSERS: dict[str, Callable[[str], str]] = {
    "as written": as_new,
    "peft names": as_peft,
    "attention processors": as_old,
    "attention processors alone": as_oldest,
}


def write_diffusers(folder: Path, out: Path, name: str) -> Written:
    """A ``pytorch_lora_weights.safetensors``, its keys renamed as earlier releases named them."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    other = load(folder)
    names = ["to_q", "to_k", "to_v", "to_out.0"]
    other.unet.add_adapter(LoraConfig(r=3, lora_alpha=3, target_modules=names))
    randomise(other.unet)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(other.unet))
    StableDiffusionPipeline.save_lora_weights(out, unet_lora_layers=layers)
    rename = DIFFUSERS[name]
    if rename is not as_new:
        file = out / "pytorch_lora_weights.safetensors"
        save_file({rename(key): value for key, value in load_file(file).items()}, file)
    return Written(out, answer(other.unet), 32)


def write_diffusers_settings(folder: Path, out: Path, name: str) -> Written:
    """alpha lies in the file's metadata; without reading it the change would have another size."""
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    other = load(folder)
    config = LoraConfig(r=3, lora_alpha=9, target_modules=["to_k"])
    other.unet.add_adapter(config)
    randomise(other.unet)
    save = StableDiffusionPipeline.save_lora_weights
    if "unet_lora_adapter_metadata" not in save.__code__.co_varnames:
        raise UnwrittenError(f"diffusers {version('diffusers')} writes no settings")
    layers = get_peft_model_state_dict(other.unet)
    save(out, unet_lora_layers=layers, unet_lora_adapter_metadata=config.to_dict())
    return Written(out, answer(other.unet), 8)


def write_ours(folder: Path, out: Path, name: str) -> Written:
    """A file of our trainer; the writer's own forward is that of peft's layers inside it."""
    from siren_ext.adapters.write import save_kohya
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.personalize.lora import LoraWeights

    other = load(folder)
    config = PersonalizeConfig(rank=4, alpha=2.0, conv_rank=2, conv_alpha=3.0)
    weights = LoraWeights(other, config)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        weights.vector.add_(0.1 * torch.randn(weights.vector.shape, generator=generator))
    weights.push()
    path = out / "ours.safetensors"
    save_kohya(path, weights.modules(), {"ss_seed": "1"})
    return Written(path, answer(other.unet), len(weights.names))


CASES: tuple[tuple[str, str, Callable[[Path, Path, str], Written]], ...] = (
    *(("peft", name, write_peft) for name in PEFT),
    *(("lycoris-lora", name, write_lycoris) for name in LYCORIS),
    *(("diffusers", name, write_diffusers) for name in DIFFUSERS),
    ("diffusers", "settings in the metadata", write_diffusers_settings),
    ("siren-ext", "lora with convolutions", write_ours),
)
"""(writer, case, function) of every file that is compared."""
