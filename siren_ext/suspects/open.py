"""From one text to the suspect it means: an address, a description, a folder, or a model file."""

from __future__ import annotations

from pathlib import Path

from siren_ext.diffusion.load import POCKET
from siren_ext.errors import ConfigError, ModelError
from siren_ext.suspects import a1111, comfyui, hosted
from siren_ext.suspects.base import Suspect
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.local import LocalSuspect
from siren_ext.suspects.remote import RequestLimits

KINDS = (
    "a1111://host:port?model=..&lora=.., comfyui://host:port?workflow=.., a TOML file that "
    "describes an API, a folder of pictures, a diffusers folder, a checkpoint, or a LoRA file with "
    "its base"
)
_ADAPTER_FILES = ("adapter_config.json", "pytorch_lora_weights.safetensors")
# Parts of whole checkpoints, in the layouts of Stable Diffusion and of newer single files.
_CHECKPOINT_KEYS = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")


def open_suspect(
    text: str,
    *,
    base: str | Path | None = None,
    scale: float = 1.0,
    allow_partial: bool = False,
    limits: RequestLimits | None = None,
    device: str = "auto",
    batch_size: int = 8,
) -> Suspect:
    """The suspect that ``text`` stands for.

    Parameters
    ----------
    text : str
        one of ``a1111://host:port?model=..&lora=..``, ``comfyui://host:port?workflow=..``,
        a ``.toml`` file for :class:`HostedConfig`, ``pocket``, a diffusers folder, a
        checkpoint, a folder of pictures, or an adapter.
    base : str | Path | None
        the model that an adapter is for.
    scale : float
        strength of an adapter.
    allow_partial : bool
        load what fits of an adapter; the record says what was left out.
    limits : RequestLimits | None
        how hard a black box is asked.
    device, batch_size : str
        for models on this machine.

    Raises
    ------
    ConfigError
        nothing of that kind, or an adapter without its base.
    """
    scheme, colon, _ = text.partition("://")
    path = Path(text)
    local = not colon and text != POCKET
    if local and not path.exists():
        raise ConfigError(f"There is no {str(text)[:200]}; expected {KINDS}.")
    if base is not None and not needs_base(text):
        raise ConfigError(
            f"A base is for an adapter, which {str(text)[:200]} is not. To name the model of "
            "a web UI, add ?model=... to its address."
        )
    if scheme == a1111.SCHEME and colon:
        return a1111.A1111Suspect.from_address(text, limits, scale)
    if scheme == comfyui.SCHEME and colon:
        return comfyui.ComfyUISuspect.from_address(text, limits, scale)
    if colon:
        raise ConfigError(
            f"The suspect begins with {str(scheme)[:20]}://; expected {KINDS}. Describe "
            "other web addresses in a TOML file."
        )
    if text == POCKET:
        return LocalSuspect(text, device=device, batch_size=batch_size)
    if path.suffix.lower() == ".toml":
        return hosted.HostedSuspect(hosted.HostedConfig.read(path), limits)
    if not needs_base(text):
        if path.is_dir() and not (path / "model_index.json").is_file():
            return FolderSuspect(path)
        return LocalSuspect(path, device=device, batch_size=batch_size)
    if base is None:
        raise ConfigError(
            f"{path.name} is an adapter; give the model that it was trained for too (--base)."
        )
    return LocalSuspect(
        base,
        path,
        scale=scale,
        allow_partial=allow_partial,
        device=device,
        batch_size=batch_size,
    )


def needs_base(text: str) -> bool:
    """Whether ``text`` is an adapter: a file, or a folder that peft or diffusers wrote."""
    path = Path(text)
    if path.is_dir():
        return any((path / name).is_file() for name in _ADAPTER_FILES)
    return path.is_file() and path.suffix.lower() != ".toml" and not is_checkpoint(path)


def is_checkpoint(path: Path) -> bool:
    """Whether a file holds a whole model; raises :class:`ModelError` for no safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return any(key.startswith(_CHECKPOINT_KEYS) for key in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path.name} is not a safetensors file ({error}); expected {KINDS}."
        ) from error
