"""Open a suspect from a text: an address, a description of an API, a folder or a model file."""

from __future__ import annotations

from pathlib import Path

from siren_ext.adapters.files import holds_adapter
from siren_ext.adapters.keys import parse_key
from siren_ext.diffusion.load import BUNDLED
from siren_ext.documents import failed_download
from siren_ext.errors import ConfigError, ModelError
from siren_ext.files import is_file, is_folder
from siren_ext.suspects import a1111, comfyui, hosted
from siren_ext.suspects.base import Suspect
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.local import LocalSuspect
from siren_ext.suspects.remote import RequestLimits
from siren_ext.suspects.trust import Trust

KINDS = (
    "a1111://host:port?model=..&lora=.., comfyui://host:port?workflow=.., a TOML file that "
    "describes an API, a folder of pictures, a diffusers folder, a checkpoint, or a LoRA file with "
    "its base"
)
# key prefixes of whole checkpoints, of Stable Diffusion and of newer single files; factors of an
# adapter may have the first one too
_CHECKPOINT_KEYS = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")


def open_suspect(
    text: str,
    *,
    base: str | Path | None = None,
    scale: float = 1.0,
    allow_partial: bool = False,
    limits: RequestLimits | None = None,
    trust: Trust | None = None,
    device: str = "auto",
    batch_size: int = 8,
) -> Suspect:
    """The suspect that a text describes.

    Parameters
    ----------
    text : str
        ``a1111://host:port?model=..&lora=..``, ``comfyui://host:port?workflow=..``, a ``.toml``
        file for :class:`~siren_ext.suspects.hosted.HostedConfig`, ``pocket``, ``pocket-small``, a
        diffusers folder, a checkpoint, a folder of pictures, or an adapter.
    base : str | Path | None
        The base model of an adapter.
    scale : float
        Strength of an adapter.
    allow_partial : bool
        Load the parts of an adapter that fit; the record says what was left out.
    limits : RequestLimits | None
        Limits of time, attempts and cost for black boxes.
    trust : Trust | None
        The hosts and variables that a ``.toml`` file may use; None for no host.
    device : str
        Where a model on this machine runs.
    batch_size : int
        Pictures per batch of a model on this machine.

    Raises
    ------
    ConfigError
        If the text is none of these, an adapter has no base, or a host or variable is not trusted.
    ModelError
        If a file is not a safetensors file.
    """
    scheme, colon, _ = text.partition("://")
    path = Path(text)
    local = not colon and text not in BUNDLED
    if local and not (is_file(path) or is_folder(path)):
        raise ConfigError(f"There is no {str(text)[:200]}; expected {KINDS}.")
    if base is not None and not needs_base(text):
        raise ConfigError(
            f"A base model was given, but {str(text)[:200]} is not an adapter; leave the base "
            "model out. To choose the model of a web UI, add ?model=... to its address."
        )
    if scheme == a1111.SCHEME and colon:
        return a1111.A1111Suspect.from_address(text, limits, scale)
    if scheme == comfyui.SCHEME and colon:
        return comfyui.ComfyUISuspect.from_address(text, limits, scale)
    if colon:
        raise ConfigError(
            f"The suspect begins with {str(scheme)[:20]}://; expected {KINDS}. Describe other APIs "
            "in a TOML file."
        )
    if text in BUNDLED:
        return LocalSuspect(text, device=device, batch_size=batch_size)
    if path.suffix.lower() == ".toml":
        return hosted.HostedSuspect(hosted.HostedConfig.read(path), limits, trust)
    if not needs_base(text):
        if is_folder(path) and not is_file(path / "model_index.json"):
            return FolderSuspect(path)
        return LocalSuspect(path, device=device, batch_size=batch_size)
    if base is None:
        raise ConfigError(
            f"{path.name} is an adapter; also give the model that it was trained for (--base)."
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
    """Whether a text is the path of an adapter: a file, or a folder of peft or diffusers.

    Raises
    ------
    ModelError
        If it is a file other than safetensors and TOML.
    """
    path = Path(text)
    if is_folder(path):
        return holds_adapter(path)
    return is_file(path) and path.suffix.lower() != ".toml" and not is_checkpoint(path)


def is_checkpoint(path: Path) -> bool:
    """Whether a safetensors file contains a whole model.

    Raises
    ------
    ModelError
        If it is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            keys = [key for key in file.keys() if key.startswith(_CHECKPOINT_KEYS)]  # noqa: SIM118
            return any(parse_key(key) is None for key in keys)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path.name} is not a safetensors file ({failed_download(path) or error}); expected "
            f"{KINDS}."
        ) from error
