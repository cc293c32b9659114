"""Names of transformers' modules: diffusers' own converters of checkpoints are the judge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tiny_models import need_models
from torch import nn

from siren_ext.adapters.keys import TRANSFORMER, flatten
from siren_ext.adapters.names import Modules
from siren_ext.adapters.originals import original_names

need_models()
pytestmark = pytest.mark.models

# real widths, since the converters know no others; one block of each kind, without values
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "flux": (
        "FluxTransformer2DModel",
        {"num_layers": 1, "num_single_layers": 1, "guidance_embeds": True},
    ),
    "sd3": ("SD3Transformer2DModel", {"num_layers": 2, "qk_norm": "rms_norm"}),
    "sd3 with two attentions": (
        "SD3Transformer2DModel",
        {"num_layers": 2, "qk_norm": "rms_norm", "dual_attention_layers": (0,)},
    ),
}
CONVERTERS = {
    "FluxTransformer2DModel": "convert_flux_transformer_checkpoint_to_diffusers",
    "SD3Transformer2DModel": "convert_sd3_transformer_checkpoint_to_diffusers",
}


class Checkpoint(dict[str, torch.Tensor]):
    """A checkpoint whose other weights (norms, positions) a converter may ask for as well."""

    def pop(self, key: str, *default: Any) -> torch.Tensor:  # type: ignore[override]
        return super().pop(key, torch.zeros(2, 1))


def layers(network: nn.Module) -> dict[str, nn.Module]:
    kinds = (nn.Linear, nn.Conv2d)
    return {
        path: module
        for path, module in network.named_modules()
        if isinstance(module, kinds) or "RMSNorm" in type(module).__name__
    }


def parameter(original: str, name: str) -> str:
    """The original's name of a parameter; Flux calls the weight of an RMS norm scale."""
    scale = name == "weight" and original.endswith((".query_norm", ".key_norm"))
    return f"{original}.scale" if scale else f"{original}.{name}"


@pytest.mark.parametrize("family", FAMILIES)
def test_original_names_are_those_that_diffusers_converts(family: str) -> None:
    import diffusers
    from diffusers.loaders import single_file_utils

    kind, options = FAMILIES[family]
    with torch.device("meta"):
        transformer = getattr(diffusers, kind)(**options)
    known = Modules(SimpleNamespace(transformer=transformer))
    all_layers = layers(transformer)
    lists = {n: len(m) for n, m in transformer.named_children() if isinstance(m, nn.ModuleList)}
    named = dict(original_names(kind, lists))
    covered = {path for paths in named.values() for path in paths}
    named |= {path: (path,) for path in all_layers if path not in covered}
    checkpoint, targets = Checkpoint(), {}
    for original in named:
        target = known._found.get((TRANSFORMER, flatten(TRANSFORMER, original)))
        if target is None:  # a block may lack some of them
            continue
        targets[original] = target
        rows = sum(_rows(part) for part in target.parts)
        for name in ("weight", "bias"):
            if getattr(target.module, name, None) is not None:
                checkpoint[parameter(original, name)] = (
                    torch.arange(rows)[:, None] + len(targets) * 10**6
                )
    wanted = {key: value.clone() for key, value in checkpoint.items()}
    converted = getattr(single_file_utils, CONVERTERS[kind])(checkpoint)
    reached = set()
    for original, target in targets.items():
        for name in ("weight", "bias"):
            if parameter(original, name) in wanted:
                pieces = [
                    converted[f"{part.path}.{name}"][slice(*(part.rows or (None,)))]
                    for part in target.parts
                ]
                assert torch.equal(torch.cat(pieces), wanted[parameter(original, name)]), original
        reached |= {part.path for part in target.parts}
    assert reached == set(all_layers)


def _rows(part: Any) -> int:
    return part.rows[1] - part.rows[0] if part.rows else int(part.module.weight.shape[0])
