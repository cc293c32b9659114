"""The modules of a pipeline that adapters can change, under all names used in adapter files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from siren_ext.adapters.keys import (
    TEXT,
    TEXT_2,
    TEXT_PREFIX,
    TRANSFORMER,
    UNET,
    UNET_PREFIX,
    Place,
    flatten,
)
from siren_ext.diffusion.load import Pipeline

Layer = nn.Linear | nn.Conv2d

_NETWORKS = (UNET, TRANSFORMER, TEXT, TEXT_2)
_TOP = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(
    r"(?:(down|up)_blocks\.(\d+)|(mid)_block)"
    r"\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)


@dataclass(frozen=True)
class Target:
    """A module of a pipeline.

    Attributes
    ----------
    component : str
        Its network, as diffusers names it.
    path : str
        Its path in the network, joined by dots.
    module : torch.nn.Module
        The module.
    """

    component: str
    path: str
    module: nn.Module

    def __str__(self) -> str:
        return f"{self.component}.{self.path}"


def kohya_names(pipeline: Pipeline) -> dict[str, Layer]:
    """All linear layers and 2-D convolutions that an adapter can change, by kohya's names."""
    names: dict[str, Layer] = {}
    for path, module in adaptable(pipeline.unet):
        names[UNET_PREFIX + path.replace(".", "_")] = module
    two = getattr(pipeline, TEXT_2, None) is not None
    for component, prefix in ((TEXT, "lora_te1_" if two else TEXT_PREFIX), (TEXT_2, "lora_te2_")):
        network = getattr(pipeline, component, None)
        for path, module in adaptable(network) if network is not None else ():
            names[text_name(path, prefix)] = module
    return names


def text_name(path: str, prefix: str = TEXT_PREFIX) -> str:
    """Kohya's name of a text encoder module.

    Parameters
    ----------
    path : str
        Its path; newer versions of transformers leave out the level ``text_model.``.
    prefix : str
        Kohya's prefix of the text encoder.
    """
    whole = path.startswith("text_model.") or path == "text_projection"
    return prefix + (path if whole else f"text_model.{path}").replace(".", "_")


def adaptable(network: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Paths and modules of all linear layers and ungrouped 2-D convolutions."""
    for path, module in network.named_modules():
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            yield path, module


class Modules:
    """Finds every linear layer, convolution and norm of a pipeline by its names in adapter files.

    Parameters
    ----------
    pipeline : Pipeline
        Any diffusers pipeline.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._found: dict[tuple[str, str], Target] = {}
        for component in _NETWORKS:
            network = getattr(pipeline, component, None)
            if network is None:
                continue
            for path, module in network.named_modules():
                if isinstance(module, (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)):
                    target = Target(component, path, module)
                    self._found[component, flatten(component, path)] = target
        per_block = _layers_per_block(getattr(pipeline, UNET, None))
        for target in list(self._found.values()) if per_block else ():
            alias = ldm_path(target.path, per_block) if target.component == UNET else None
            if alias is not None:
                self._found.setdefault((UNET, flatten(UNET, alias)), target)
        self._add_late_upsamplers(per_block)

    def find(self, place: Place) -> Target | str:
        """The module of a place, or a phrase that says why there is none."""
        if place.component is not None:
            return self._found.get((place.component, place.flat), "not in this model")
        hits = [self._found.get((c, place.flat)) for c in _NETWORKS]
        found = [hit for hit in hits if hit is not None]
        if len(found) > 1:
            return "in more than one network: " + ", ".join(str(hit) for hit in found)
        return found[0] if found else "not in this model"

    def _add_late_upsamplers(self, per_block: int) -> None:
        """Add the original names of upsamplers, which come after the attention of their level."""
        for target in list(self._found.values()) if per_block else ():
            match = _BLOCK.fullmatch(target.path) if target.component == UNET else None
            if match is None or match[4] != "upsamplers":
                continue
            index = int(match[2])
            late = (UNET, f"up_blocks_{index}_attentions_{per_block}_proj_in") in self._found
            number = index * (per_block + 1) + per_block
            flat = f"output_blocks_{number}_{2 if late else 1}_conv"
            self._found.setdefault((UNET, flat), target)


def ldm_path(path: str, per_block: int) -> str | None:
    """The original Stable Diffusion path of a diffusers UNet module; kohya uses these for SDXL.

    Parameters
    ----------
    path : str
        The path in diffusers.
    per_block : int
        The UNet's ``layers_per_block``.

    Returns
    -------
    str or None
        None for upsamplers, whose number depends on other modules, and for modules that the
        original does not have.
    """
    if path in _TOP:
        return _TOP[path]
    match = _BLOCK.fullmatch(path)
    if match is None:
        return None
    side, block, middle, kind, number, rest = match.groups()
    place = int(number)
    if kind == "resnets":
        if rest not in _RESIDUAL:
            return None
        rest = _RESIDUAL[rest]
    if middle:
        return f"middle_block.{2 * place if kind == 'resnets' else 1}.{rest}"
    index = int(block)
    inner = 0 if kind == "resnets" else 1
    if kind in ("resnets", "attentions"):
        if side == "down":
            return f"input_blocks.{1 + index * (per_block + 1) + place}.{inner}.{rest}"
        return f"output_blocks.{index * (per_block + 1) + place}.{inner}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{(index + 1) * (per_block + 1)}.0.op" if rest == "conv" else None
    return None


def _layers_per_block(unet: Any) -> int:
    """Number of residual blocks per level of the UNet, or 0 if the levels differ."""
    value = getattr(getattr(unet, "config", None), "layers_per_block", 0)
    if isinstance(value, (list, tuple)):
        value = value[0] if len(set(value)) == 1 else 0
    return int(value)
