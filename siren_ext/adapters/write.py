"""Write adapters in kohya's LoRA format, which all common programs can read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save, save_file
from torch import Tensor

from siren_ext.adapters.files import data_start
from siren_ext.adapters.read import read_summary
from siren_ext.adapters.summary import AdapterSummary, listing
from siren_ext.errors import AdapterError
from siren_ext.files import atomic

LoraModules = Mapping[str, tuple[Tensor, Tensor, float]]
"""(down, up, alpha) by kohya's module name."""


def save_kohya(
    path: Path,
    modules: LoraModules,
    metadata: Mapping[str, str],
    *,
    dtype: torch.dtype = torch.float32,
) -> AdapterSummary:
    """Write an adapter atomically, with kohya's two hashes in the metadata.

    Parameters
    ----------
    path : Path
        The file; an existing one is replaced.
    modules : mapping of str to (Tensor, Tensor, float)
        (down, up, alpha) by kohya's module name: ``lora_unet_`` or ``lora_te_text_model_`` and the
        diffusers module path joined by underscores.
    metadata : mapping of str to str
        Metadata to store in the file.
    dtype : torch.dtype
        Number format of the weights.

    Returns
    -------
    AdapterSummary
        What the file contains.

    Raises
    ------
    AdapterError
        If there is no module, or values are not finite.
    """
    if not modules:
        raise AdapterError("There is no module to write; expected at least one trained module.")
    tensors: dict[str, Tensor] = {}
    for name in sorted(modules):
        down, up, alpha = modules[name]
        tensors[f"{name}.lora_down.weight"] = down.detach().to("cpu", dtype).contiguous()
        tensors[f"{name}.lora_up.weight"] = up.detach().to("cpu", dtype).contiguous()
        tensors[f"{name}.alpha"] = torch.tensor(float(alpha), dtype=dtype)
    check_finite(tensors)
    # kohya computes its hashes on a file with the training metadata only
    training = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    image = save(tensors, training)
    full = {
        **metadata,
        "sshs_model_hash": hashlib.sha256(image[data_start(image[:8]) :]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(image[0x100000:0x110000]).hexdigest()[:8],
    }
    with atomic(Path(path)) as temporary:
        save_file(tensors, temporary, full)
    return read_summary(path)


def save_plain(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, dtype: torch.dtype
) -> None:
    """Write tensors under the names that they have, atomically.

    Parameters
    ----------
    path : Path
        The file; an existing one is replaced.
    tensors : mapping of str to Tensor
        At least one.
    metadata : mapping of str to str
        Metadata to store in the file.
    dtype : torch.dtype
        Number format of the file.

    Raises
    ------
    AdapterError
        If values are not finite, or too large for the format.
    """
    check_finite(tensors)
    ready = {name: tensors[name].detach().to("cpu", dtype).contiguous() for name in sorted(tensors)}
    large = [name for name, value in ready.items() if not bool(torch.isfinite(value).all())]
    if large:
        raise AdapterError(
            f"{listing(large)} contain values that are too large for {dtype}; choose another "
            "number format, such as bfloat16 or float32."
        )
    with atomic(Path(path)) as temporary:
        save_file(ready, temporary, dict(metadata))


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse trained values that are not finite.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        The values by name.

    Raises
    ------
    AdapterError
        If one is infinite or NaN.
    """
    broken = [key for key, value in tensors.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise AdapterError(
            f"{listing(broken)} contain infinite or NaN values; the training diverged. Lower the "
            "learning rate."
        )
