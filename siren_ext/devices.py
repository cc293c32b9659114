"""The device and number format of a heavy step."""

from __future__ import annotations

import torch

from siren_ext.errors import ConfigError
from siren_ext.ranks import current


def pick_device(name: str = "auto") -> torch.device:
    """The torch device of that name.

    Parameters
    ----------
    name : str
        ``auto`` picks CUDA if there is any, else Apple's MPS, else the CPU. Any torch device name
        is accepted. Each of several processes of one run takes a GPU of its own.

    Raises
    ------
    ConfigError
        If torch does not know the name, or this machine has no such device.
    """
    name = current().device(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"Device {name!r} is not known to torch; expected auto, cpu, cuda, cuda:0 or mps."
        ) from error
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises the latter
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ConfigError(
            f"Device {name!r} can't be used here ({reason}); use auto, or a device that this "
            "machine has."
        ) from error
    return device


def has_bf16_matrix_unit() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware (Intel AMX).

    With such a unit a frozen model runs several times faster in bfloat16 than in float32. Without
    it bfloat16 may be emulated, which is slower than float32.
    """
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe()) if probe is not None else False


def pick_dtype(device: torch.device, name: str = "auto") -> torch.dtype:
    """The number format in which frozen networks run.

    Parameters
    ----------
    device : torch.device
        Where they run.
    name : str
        ``float32``, ``bfloat16`` or ``float16``. ``auto`` picks bfloat16 on CUDA (float16 if the
        GPU lacks bfloat16) and on CPUs with a bfloat16 matrix unit, else float32.

    Raises
    ------
    ConfigError
        If the name is unknown.
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
