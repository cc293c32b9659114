"""The modules of a pipeline that adapters can change, under all names used in adapter files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from siren_ext.adapters.keys import (
    T5,
    TEXT,
    TEXT_2,
    TEXT_3,
    TEXT_PREFIX,
    TRANSFORMER,
    UNET,
    UNET_PREFIX,
    Place,
    flatten,
)
from siren_ext.adapters.originals import halves_swapped, original_names
from siren_ext.diffusion.load import Pipeline

Layer = nn.Linear | nn.Conv2d

_NETWORKS = (UNET, TRANSFORMER, TEXT, TEXT_2, TEXT_3)
# modules of diffusers' attention that hold several others after ``fuse_qkv_projections``
_FUSED = {
    "to_qkv": ("to_q", "to_k", "to_v"),
    "to_kv": ("to_k", "to_v"),
    "to_added_qkv": ("add_q_proj", "add_k_proj", "add_v_proj"),
}
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
    """A module of a pipeline, rows of one, or several whose rows follow each other.

    Attributes
    ----------
    component : str
        Its network, as diffusers names it.
    path : str
        Its path in the network, joined by dots.
    module : torch.nn.Module
        The module.
    rows : (int, int) or None
        First row of the weight, and the one after the last; None for all.
    more : tuple of Target
        What comes after it, for a file that joins several modules in one.
    """

    component: str
    path: str
    module: nn.Module
    rows: tuple[int, int] | None = None
    more: tuple[Target, ...] = ()

    @property
    def parts(self) -> tuple[Target, ...]:
        """The target and all that come after it."""
        return (self, *self.more)

    def tensor(self, name: str) -> Tensor | None:
        """The weight or bias of all parts, joined; None if a part has none."""
        pieces = [part.piece(name) for part in self.parts]
        whole = [piece for piece in pieces if piece is not None]
        if len(whole) < len(pieces):
            return None
        return whole[0] if len(whole) == 1 else torch.cat(whole)

    def shape(self, name: str) -> Tensor | None:
        """What :meth:`tensor` gives, without values."""
        pieces = [part.piece(name) for part in self.parts]
        whole = [piece.detach().to("meta") for piece in pieces if piece is not None]
        return torch.cat(whole) if len(whole) == len(pieces) else None

    def piece(self, name: str) -> Tensor | None:
        """Weight or bias of the first part alone: a view of the module's parameter."""
        parameter: Tensor | None = getattr(self.module, name, None)
        if parameter is None or self.rows is None:
            return parameter
        return parameter[slice(*self.rows)]

    def __str__(self) -> str:
        return " + ".join(f"{part.component}.{part.path}" for part in self.parts)


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
                if _changeable(module):
                    target = Target(component, path, module)
                    self._found[component, flatten(component, path)] = target
                    if path.endswith(".to_out"):  # without a level below, as in HiDream
                        self._found.setdefault((component, path.replace(".", "_")), target)
        per_block = _layers_per_block(getattr(pipeline, UNET, None))
        for target in list(self._found.values()) if per_block else ():
            alias = ldm_path(target.path, per_block) if target.component == UNET else None
            if alias is not None:
                self._found.setdefault((UNET, flatten(UNET, alias)), target)
        self._add_late_upsamplers(per_block)
        self._fuse()
        self._add_originals(getattr(pipeline, TRANSFORMER, None))
        has_third = getattr(pipeline, TEXT_3, None) is not None
        self._elsewhere = {T5: TEXT_3 if has_third else TEXT_2}
        if getattr(pipeline, UNET, None) is None:
            self._elsewhere[UNET] = TRANSFORMER
            if not has_third:  # kohya's scripts number Flux's T5 as that of Stable Diffusion 3
                self._elsewhere[TEXT_3] = TEXT_2

    def find(self, place: Place) -> Target | str:
        """The module of a place, or a phrase that says why there is none."""
        if place.component is not None:
            # most programs write lora_unet_ and diffusion_model. before every family's names
            component = self._elsewhere.get(place.component, place.component)
            return self._found.get((component, place.flat), "not in this model")
        hits = [self._found.get((c, place.flat)) for c in _NETWORKS]
        found = [hit for hit in hits if hit is not None]
        if len(found) > 1:
            return "in more than one network: " + ", ".join(str(hit) for hit in found)
        return found[0] if found else "not in this model"

    def _fuse(self) -> None:
        """Give fused and separate projections of diffusers' attention each other's names."""
        for (component, flat), target in list(self._found.items()):
            parent, dot, last = target.path.rpartition(".")
            fused, names = next(((f, n) for f, n in _FUSED.items() if last == n[0]), ("", ()))
            if fused and dot and flat == flatten(component, target.path):
                self._fuse_one(component, f"{parent}.{fused}", [f"{parent}.{n}" for n in names])
            elif last in _FUSED and dot:
                names = _FUSED[last]
                self._fuse_one(component, target.path, [f"{parent}.{n}" for n in names])

    def _fuse_one(self, component: str, fused: str, names: list[str]) -> None:
        """The same for one attention. A fused module is the one that is used, if there is one."""
        whole = self._found.get((component, flatten(component, fused)))
        singles = [self._found.get((component, flatten(component, name))) for name in names]
        parts = [single for single in singles if single is not None]
        if whole is None or whole.more:
            if len(parts) == len(names):
                self._join(component, fused, parts)
            return
        sizes = [_height(part) for part in parts]
        if len(parts) < len(names):
            sizes = [_height(whole) // len(names)] * len(names)
        if sum(sizes) != _height(whole):
            return
        start = 0
        for name, size in zip(names, sizes, strict=True):
            rows = Target(component, whole.path, whole.module, (start, start + size))
            self._found[component, flatten(component, name)] = rows
            start += size

    def _join(self, component: str, path: str, parts: list[Target]) -> None:
        """Add a name for modules whose rows follow each other, if they can be one module."""
        pieces = [piece for part in parts for piece in part.parts]
        weights = [piece.shape("weight") for piece in pieces]
        shapes = {None if weight is None else weight.shape[1:] for weight in weights}
        biases = {piece.shape("bias") is None for piece in pieces}
        if len(shapes) == len(biases) == 1:
            first, *more = pieces
            joined = Target(component, first.path, first.module, first.rows, tuple(more))
            self._found.setdefault((component, flatten(component, path)), joined)

    def _add_originals(self, transformer: nn.Module | None) -> None:
        """Add the names of the original program for a transformer's modules."""
        if transformer is None:
            return
        lists = {n: len(m) for n, m in transformer.named_children() if isinstance(m, nn.ModuleList)}
        for original, paths in original_names(type(transformer).__name__, lists):
            found = [self._found.get((TRANSFORMER, flatten(TRANSFORMER, path))) for path in paths]
            parts = [target for target in found if target is not None]
            if len(parts) < len(paths):
                continue
            owner = transformer.get_submodule(parts[0].path.rpartition(".")[0])
            if len(parts) == 1 and halves_swapped(owner):
                half, whole = _height(parts[0]) // 2, parts[0]
                parts = [
                    Target(TRANSFORMER, whole.path, whole.module, rows)
                    for rows in ((half, 2 * half), (0, half))
                ]
            elif len(parts) > 1:
                # older files of OneTrainer number the parts
                for number, part in enumerate(parts):
                    self._join(TRANSFORMER, f"{original}.{number}", [part])
            self._join(TRANSFORMER, original, parts)

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


def _changeable(module: nn.Module) -> bool:
    """Whether adapters can change a module; many norms of transformers have no weight."""
    # torch, diffusers and transformers have several classes of RMS norms, without a common base
    norm = "Norm" in type(module).__name__
    known = norm or isinstance(module, (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm))
    return known and isinstance(getattr(module, "weight", None), Tensor)


def _height(target: Target) -> int:
    """Number of rows of a target's weight."""
    shape = target.shape("weight")
    return 0 if shape is None else int(shape.shape[0])


def _layers_per_block(unet: Any) -> int:
    """Number of residual blocks per level of the UNet, or 0 if the levels differ."""
    value = getattr(getattr(unet, "config", None), "layers_per_block", 0)
    if isinstance(value, (list, tuple)):
        value = value[0] if len(set(value)) == 1 else 0
    return int(value)
