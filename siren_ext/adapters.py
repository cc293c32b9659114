"""LoRA files in kohya's format: write them, read them strictly, merge them into a pipeline.

A module's change is dW = (alpha / rank) * up @ down (Hu et al. 2021, Eq. 3); for a convolution
``down`` carries the kernel and ``up`` is 1x1 (LoCon). Keys are ``lora_unet_<path>`` with
``.lora_down.weight``, ``.lora_up.weight`` and ``.alpha``, the diffusers module path joined by
underscores, and ``lora_te_text_model_<path>`` for the text encoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor, nn

from siren_ext.errors import AdapterError
from siren_ext.files import atomic
from siren_ext.model_files import Pipeline

UNET_PREFIX = "lora_unet_"
TEXT_PREFIX = "lora_te_"
MAX_BYTES = 4 << 30
_DOWN, _UP, _ALPHA = "lora_down.weight", "lora_up.weight", "alpha"
_SHOWN = 12

Layer = nn.Linear | nn.Conv2d

LoraModules = Mapping[str, tuple[Tensor, Tensor, float]]
"""Kohya module name -> (down, up, alpha)."""


@dataclass(frozen=True)
class AdapterSummary:
    """What an adapter file holds; ``hash`` is kohya's ``sshs_model_hash`` (tensor bytes only)."""

    path: Path
    hash: str
    modules: int
    text_modules: int
    parameters: int
    ranks: tuple[int, ...]
    metadata: dict[str, str] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, object]:
        """Plain values for provenance: no machine path, no metadata."""
        return {
            "file": self.path.name,
            "hash": self.hash,
            "modules": self.modules,
            "text_modules": self.text_modules,
            "parameters": self.parameters,
            "ranks": list(self.ranks),
        }


def kohya_names(pipeline: Pipeline) -> dict[str, Layer]:
    """Kohya name -> layer, for every linear and 2-D convolution an adapter can change."""
    names: dict[str, Layer] = {}
    for path, module in adaptable(pipeline.unet):
        names[UNET_PREFIX + path.replace(".", "_")] = module
    for path, module in adaptable(pipeline.text_encoder):
        names[text_name(path)] = module
    return names


def text_name(path: str) -> str:
    """Kohya name of a text encoder module; newer transformers dropped the ``text_model.`` level."""
    full = path if path.startswith("text_model.") else f"text_model.{path}"
    return TEXT_PREFIX + full.replace(".", "_")


def adaptable(network: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Paths and modules of all linear layers and ungrouped 2-D convolutions."""
    for path, module in network.named_modules():
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            yield path, module


def save_kohya(
    path: Path,
    modules: LoraModules,
    metadata: Mapping[str, str],
    *,
    dtype: torch.dtype = torch.float32,
) -> AdapterSummary:
    """Write an adapter atomically; kohya's two hashes are added to the metadata."""
    if not modules:
        raise AdapterError("There is no module to write; expected at least one trained module.")
    tensors: dict[str, Tensor] = {}
    for name in sorted(modules):
        down, up, alpha = modules[name]
        tensors[f"{name}.{_DOWN}"] = down.detach().to("cpu", dtype).contiguous()
        tensors[f"{name}.{_UP}"] = up.detach().to("cpu", dtype).contiguous()
        tensors[f"{name}.{_ALPHA}"] = torch.tensor(float(alpha), dtype=dtype)
    broken = [key for key, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise AdapterError(
            f"{_listing(broken)} hold infinite or undefined numbers; the training diverged. "
            "Lower the learning rate."
        )
    # kohya computes its hashes on a file that carries the training metadata alone
    training = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    image = save(tensors, training)
    full = {
        **metadata,
        "sshs_model_hash": hashlib.sha256(image[_data_start(image[:8]) :]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(image[0x100000:0x110000]).hexdigest()[:8],
    }
    with atomic(Path(path)) as temporary:
        save_file(tensors, temporary, full)
    return read_summary(path)


def adapter_hash(path: Path) -> str:
    """SHA-256 over the tensor bytes of a safetensors file (kohya's ``sshs_model_hash``).

    Editing the metadata keeps it.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        stream.seek(_data_start(stream.read(8)))
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_summary(path: Path) -> AdapterSummary:
    """What an adapter file holds, without a model; raises :class:`AdapterError`."""
    tensors, metadata = _read(Path(path))
    modules = _group(Path(path), tensors)
    return _summary(Path(path), modules, metadata)


def load_adapter(pipeline: Pipeline, path: Path, *, scale: float = 1.0) -> AdapterSummary:
    """Merge an adapter into a pipeline's weights: W += scale * (alpha / rank) * up @ down.

    Strict and all-or-nothing: a key that isn't understood, a module that the pipeline lacks or a
    shape that doesn't fit raises :class:`AdapterError` with their names, and nothing is changed.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    modules = _group(path, tensors)
    known = kohya_names(pipeline)
    absent = [name for name in modules if name not in known]
    if absent:
        raise AdapterError(
            f"{path.name} changes {len(absent)} modules that this model lacks: {_listing(absent)}. "
            "It was made for another model family; load it with its own base model."
        )
    wrong = []
    for name, (down, up, _) in modules.items():
        weight = known[name].weight
        if not _fits(down, up, weight):
            wrong.append(f"{name} (down {_dims(down)}, up {_dims(up)}, weight {_dims(weight)})")
    if wrong:
        raise AdapterError(
            f"{path.name} doesn't fit this model's shapes: {_listing(wrong)}. "
            "Load it with the base model that it was trained on."
        )
    with torch.no_grad():
        for name, (down, up, alpha) in modules.items():
            weight = known[name].weight
            delta = lora_delta(down, up, alpha).to(weight.device)
            weight.copy_((weight.float() + scale * delta).to(weight.dtype))
    return _summary(path, modules, metadata)


def lora_delta(down: Tensor, up: Tensor, alpha: float) -> Tensor:
    """(alpha / rank) * up @ down in float32, in the shape of the weight it changes."""
    rank = down.shape[0]
    product = up.float().flatten(1) @ down.float().flatten(1)
    return (alpha / rank) * product.reshape(up.shape[0], *down.shape[1:])


def _fits(down: Tensor, up: Tensor, weight: Tensor) -> bool:
    if down.ndim != weight.ndim or up.ndim != weight.ndim or down.shape[0] != up.shape[1]:
        return False
    return (
        down.shape[1:] == weight.shape[1:]
        and up.shape[0] == weight.shape[0]
        and all(side == 1 for side in up.shape[2:])
    )


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise AdapterError(f"There is no adapter file at {path}; check the path.")
    if path.suffix != ".safetensors":
        raise AdapterError(
            f"{path.name} is not a .safetensors file; other formats can run code when they are "
            "opened. Convert it to safetensors first."
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise AdapterError(
            f"{path.name} has {size / 2**30:.1f} GiB; expected an adapter of at most "
            f"{MAX_BYTES / 2**30:.0f} GiB. A whole checkpoint is loaded as a model, not an adapter."
        )
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise AdapterError(
            f"{path.name} can't be read as safetensors: {error}. Get it again."
        ) from error
    return tensors, metadata


def _group(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Keys -> modules; every key must be one of the three of a complete module."""
    fields: dict[str, dict[str, Tensor]] = {}
    strange = []
    for key, value in tensors.items():
        name, _, kind = key.partition(".")
        known = name.startswith((UNET_PREFIX, TEXT_PREFIX)) and kind in (_DOWN, _UP, _ALPHA)
        if not known or not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            strange.append(key)
            continue
        fields.setdefault(name, {})[kind] = value
    strange += [
        f"{name} (no {kind})"
        for name, parts in fields.items()
        for kind in (_DOWN, _UP)
        if kind not in parts
    ]
    strange += [
        f"{name}.{_ALPHA} (not one number)"
        for name, parts in fields.items()
        if parts.get(_ALPHA, torch.zeros(())).numel() != 1
    ]
    if strange or not fields:
        found = _listing(strange) if strange else "no tensors"
        raise AdapterError(
            f"{path.name} holds {found}; expected only kohya LoRA keys ({UNET_PREFIX}... or "
            f"{TEXT_PREFIX}... with {_DOWN}, {_UP} and {_ALPHA}, finite numbers). Nothing was "
            "loaded, since a partly loaded adapter would give wrong results: convert it to kohya's "
            "LoRA format."
        )
    modules = {}
    for name, parts in sorted(fields.items()):
        down, up = parts[_DOWN], parts[_UP]
        # kohya: an absent alpha means alpha = rank, that is scale 1
        alpha = float(parts[_ALPHA]) if _ALPHA in parts else float(down.shape[0])
        modules[name] = (down, up, alpha)
    return modules


def _summary(path: Path, modules: LoraModules, metadata: dict[str, str]) -> AdapterSummary:
    return AdapterSummary(
        path=path,
        hash=adapter_hash(path),
        modules=len(modules),
        text_modules=sum(name.startswith(TEXT_PREFIX) for name in modules),
        parameters=sum(down.numel() + up.numel() for down, up, _ in modules.values()),
        ranks=tuple(sorted({down.shape[0] for down, _, _ in modules.values()})),
        metadata=metadata,
    )


def _data_start(first: bytes) -> int:
    return int.from_bytes(first[:8], "little") + 8


def _dims(tensor: Tensor) -> str:
    return "x".join(str(side) for side in tensor.shape)


def _listing(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    more = len(names) - _SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"
