"""Which device and number format a heavy step runs in."""

from __future__ import annotations

import torch

from siren_ext.errors import ConfigError


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA, then Apple's MPS, then the CPU; any torch device name is accepted."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"Device {name!r} is not known to torch; expected auto, cpu, cuda, cuda:0 or mps."
        ) from error


def has_bf16_matrix_unit() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (Intel AMX).

    With it a frozen bfloat16 model runs about four times as fast as in float32; without it
    bfloat16 is slower.
    """
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe()) if probe is not None else False


def pick_dtype(device: torch.device, name: str = "auto") -> torch.dtype:
    """The compute format of frozen networks on ``device``; ``name`` overrides it.

    ``auto``: bfloat16 on CUDA and on CPUs with a bfloat16 matrix unit, else float32.
    """
    named = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name in named:
        return named[name]
    if name != "auto":
        raise ConfigError(
            f"Number format {name!r} is not known; expected auto, {', '.join(named)}."
        )
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and has_bf16_matrix_unit():
        return torch.bfloat16
    return torch.float32
