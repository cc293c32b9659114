"""Reading adapter files and folders as untrusted input, and hashing them as kohya does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from siren_ext.adapters.summary import listing
from siren_ext.documents import failed_download, read_json
from siren_ext.errors import AdapterError
from siren_ext.schema import convert

MAX_BYTES = 4 << 30
MAX_HEADER = 32 << 20
MAX_CONFIG = 1 << 20

PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
DIFFUSERS_WEIGHTS = "pytorch_lora_weights.safetensors"
EMBEDDING_WEIGHTS = "learned_embeds.safetensors"
CUSTOM_WEIGHTS = "pytorch_custom_diffusion_weights.safetensors"
COMPONENTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
_WORDS = "*_emb.safetensors"
"""New words that diffusers' script for pivotal tuning writes beside a LoRA."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of files of weights that can run code when they are opened."""
_LENGTH = 8


@dataclass(frozen=True)
class Part:
    """One file of tensors.

    Attributes
    ----------
    path : Path
        The file.
    tensors : dict of str to Tensor
        Its tensors by key, on the CPU.
    metadata : dict of str to str
        Its metadata.
    hash : str
        Its :func:`adapter_hash`.
    component : str or None
        The network that the name of the folder gives.
    config : dict or None
        peft's settings beside the file.
    """

    path: Path
    tensors: dict[str, Tensor] = field(repr=False)
    metadata: dict[str, str] = field(repr=False)
    hash: str
    component: str | None = None
    config: dict[str, Any] | None = field(default=None, repr=False)


def read_parts(path: Path) -> list[Part]:
    """Read all files of an adapter.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file of at most 4 GiB, or a folder written by peft or diffusers, also
        one of Custom Diffusion, whose words are in files of their own. A peft
        folder may also contain one peft folder per network (``unet``, ``transformer``,
        ``text_encoder``, ``text_encoder_2``, ``text_encoder_3``), as written by peft's training
        scripts.

    Raises
    ------
    AdapterError
        If there is no adapter, it is unreadable, too large or in another format, or a folder has
        more parts than those that are read together.
    """
    path = Path(path)
    if path.is_dir():
        parts = _read_folder(path)
        _refuse_more(path, [part.path for part in parts])
        return parts
    beside = path.with_name(PEFT_CONFIG)
    config = _read_config(beside) if path.name == PEFT_WEIGHTS and beside.is_file() else None
    return [read_part(path, _component(path.parent), config)]


def holds_adapter(folder: Path) -> bool:
    """Whether :func:`read_parts` takes a folder.

    Parameters
    ----------
    folder : Path
        Any folder. A new word beside a whole diffusers model is not counted.
    """
    names = [PEFT_CONFIG, DIFFUSERS_WEIGHTS, *(f"{part}/{PEFT_CONFIG}" for part in COMPONENTS)]
    if not (folder / "model_index.json").is_file():
        names += [EMBEDDING_WEIGHTS, CUSTOM_WEIGHTS]
    return any((folder / name).is_file() for name in names)


def adapter_hash(path: Path) -> str:
    """SHA-256 of the tensor bytes of a safetensors file (kohya's ``sshs_model_hash``).

    It does not change when the metadata are edited.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        stream.seek(data_start(stream.read(_LENGTH)))
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def data_start(first: bytes) -> int:
    """Offset of the tensor bytes in a safetensors file, from its first eight bytes."""
    return int.from_bytes(first[:_LENGTH], "little") + _LENGTH


def _read_folder(path: Path) -> list[Part]:
    """All files of the adapter in a folder."""
    if (path / PEFT_CONFIG).is_file():
        config = _read_config(path / PEFT_CONFIG)
        return [read_part(path / PEFT_WEIGHTS, _component(path), config)]
    inner = [path / name for name in COMPONENTS if (path / name / PEFT_CONFIG).is_file()]
    if inner:
        return [
            read_part(folder / PEFT_WEIGHTS, folder.name, _read_config(folder / PEFT_CONFIG))
            for folder in inner
        ]
    if (path / CUSTOM_WEIGHTS).is_file():
        # diffusers' training script names the file of a new word after it, such as <new1>
        words = [path / EMBEDDING_WEIGHTS, *sorted(path.glob("<*>.safetensors"))]
        files = [path / CUSTOM_WEIGHTS, *(word for word in words if word.is_file())]
        return [read_part(file) for file in files]
    known = [n for n in (DIFFUSERS_WEIGHTS, EMBEDDING_WEIGHTS) if (path / n).is_file()]
    if len(known) == 1:
        return [read_part(path / known[0])]
    if known:
        raise AdapterError(
            f"{path.name} contains {' and '.join(known)}; expected one adapter. Give the "
            "adapter's file itself."
        )
    if any(file.suffix.lower() in PICKLES for file in path.iterdir()):
        raise AdapterError(
            f"{path.name} has its weights in a format that can run code when it is opened; "
            f"expected {PEFT_WEIGHTS} or {DIFFUSERS_WEIGHTS}. Convert them to safetensors first."
        )
    raise AdapterError(
        f"{path.name} is a folder without an adapter; expected {PEFT_CONFIG} with {PEFT_WEIGHTS}, "
        f"{DIFFUSERS_WEIGHTS} or {EMBEDDING_WEIGHTS}. Give a .safetensors file or such a folder."
    )


def _refuse_more(path: Path, read: list[Path]) -> None:
    """Refuse a folder with parts of an adapter that would be left out without a word."""
    parts = [path / name / PEFT_WEIGHTS for name in COMPONENTS]
    parts += [path / DIFFUSERS_WEIGHTS, *sorted(path.glob(_WORDS))]
    left = [file for file in parts if file.is_file() and file not in read]
    if left:
        both = (
            ", ".join(file.relative_to(path).as_posix() for file in some) for some in (read, left)
        )
        raise AdapterError(
            f"{path.name} contains {' and also '.join(both)}, which can't be read together; "
            "expected one adapter. They were probably trained together: give each file "
            "separately, as an adapter of its own."
        )


def _component(folder: Path) -> str | None:
    """The network that the name of a folder gives."""
    return folder.name if folder.name in COMPONENTS else None


def read_part(
    path: Path,
    component: str | None = None,
    config: dict[str, Any] | None = None,
    *,
    most: int | None = None,
) -> Part:
    """Read one safetensors file.

    Parameters
    ----------
    path : Path
        The file.
    component : str or None
        The network that the name of the folder gives.
    config : dict or None
        peft's settings beside the file.
    most : int or None
        The largest size that is read, in bytes; None for that of adapters, 4 GiB.

    Raises
    ------
    AdapterError
        If it is missing, unreadable, too large or in another format.
    """
    _check_file(path, most or MAX_BYTES)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (
        SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError,
        OverflowError, MemoryError,
    ) as error:  # fmt: skip
        raise AdapterError(
            f"{path.name} can't be read as safetensors: {error}. Download or copy it again."
        ) from error
    # two numbers in a byte, with which torch can't calculate
    packed = [key for key, value in tensors.items() if "float4" in str(value.dtype)]
    if packed:
        raise AdapterError(
            f"{path.name} contains {listing(packed)} in four-bit numbers; expected 8 bits or "
            "more. Convert it to 16 bits first."
        )
    return Part(path, tensors, metadata, adapter_hash(path), component, config)


def _check_file(path: Path, most: int) -> None:
    """Refuse other formats and wrong sizes before the file is opened by a library."""
    if not path.is_file():
        raise AdapterError(f"There is no adapter file at {path}; check the path.")
    if path.suffix.lower() != ".safetensors":
        raise AdapterError(
            f"{path.name} is not a .safetensors file; other formats can run code when they are "
            "opened. Convert it to safetensors first."
        )
    size = path.stat().st_size
    if size > most:
        raise AdapterError(
            f"{path.name} has {size / 2**30:.1f} GiB; expected an adapter of at most "
            f"{most / 2**30:.0f} GiB. If it is a whole checkpoint, load it as a model, not as an "
            "adapter."
        )
    if not size:
        raise AdapterError(
            f"{path.name} can't be read as safetensors: it is empty (0 bytes). Download or copy it "
            "again."
        )
    with path.open("rb") as stream:
        header = data_start(stream.read(_LENGTH)) - _LENGTH
    if header > MAX_HEADER or header + _LENGTH > size:
        if why := failed_download(path):
            raise AdapterError(f"{path.name} can't be read as safetensors: {why}.")
        raise AdapterError(
            f"{path.name} can't be read as safetensors: its header should have {header} bytes, "
            f"but at most {min(MAX_HEADER, max(size - _LENGTH, 0))} are possible here. It is "
            "damaged or malicious; download or copy it again from a source that you trust."
        )


def _read_config(path: Path) -> dict[str, Any]:
    """peft's settings file."""
    name, advice = path.name, "Download or copy it again."
    values = read_json(path, error=AdapterError, max_bytes=MAX_CONFIG, name=name, advice=advice)
    return convert(values, dict[str, Any], name=name, error=AdapterError, advice=advice)
