"""How scored images were made, from the queued workflow; and the images, kept with their hashes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from . import example_loras, paths, publish

KEPT = f"{paths.SUBFOLDER}/scored"
PROVENANCE = "provenance.json"
_LONGEST = 4000
_LORA_TAG = re.compile(r"<lora:([^:>]+)")
_SECRET = re.compile(r"key|token|passw|secret|auth", re.IGNORECASE)
_FOLDERS = {
    "ckpt_name": "checkpoints",
    "lora_name": "loras",
    "lora": "loras",
    "vae_name": "vae",
    "unet_name": "diffusion_models",
    "control_net_name": "controlnet",
}
"""Where ComfyUI keeps the files that inputs of these names choose; others are looked for."""
_SEARCHED = ("checkpoints", "diffusion_models", "loras", "text_encoders", "vae", "controlnet")
_SETTINGS = {
    "steps": "steps",
    "cfg": "guidance",
    "guidance": "guidance",
    "sampler_name": "sampler",
    "scheduler": "scheduler",
    "denoise": "denoise",
    "width": "width",
    "height": "height",
}
_PROMPTS = ("prompts", "text", "text_g", "text_l", "prompt")


def made_by(prompt: Mapping[str, Any] | None, node: str | None, socket: str) -> dict[str, Any]:
    """How the images at a socket of a node were made.

    Parameters
    ----------
    prompt : Mapping[str, Any] | None
        The queued workflow, ComfyUI's hidden input PROMPT; None if it is not known.
    node : str | None
        Id of the node.
    socket : str
        Name of its input.

    Returns
    -------
    dict[str, Any]
        For ``ScoreSet.source``: ``models`` with the SHA-256 of every file, ``seeds``, ``prompts``,
        the settings of the samplers, and ``workflow``, the part of the workflow that made the
        images, in the form that ComfyUI's /prompt takes.
    """
    found: dict[str, Any] = {"kind": "comfyui"}
    if not prompt or node is None:
        return found
    above = _above(prompt, _links(prompt, node, only=socket))
    found["comfyui"] = _version()
    models = [entry for name in above for entry in _models(prompt[name])]
    if models:
        found["models"] = models
    for name, label in _SETTINGS.items():
        values = [v for one in above if (v := _literal(prompt[one], name)) is not None]
        if values:
            found.setdefault(label, values[0] if len(set(map(str, values))) == 1 else values)
    seeds = [seed for one in above for seed in _seeds(prompt[one])]
    if seeds:
        found["seeds"] = seeds
    texts = _prompts(prompt, above)
    if texts:
        found["prompts"] = texts
    found["workflow"] = {name: _plain(prompt[name]) for name in above}
    return found


def _links(
    prompt: Mapping[str, Any], node: str, *, only: str | None = None
) -> Iterator[tuple[str, str]]:
    """Names of a node's wired inputs, and the nodes that they come from."""
    inputs = prompt.get(node, {}).get("inputs", {})
    for name, value in inputs.items():
        wired = isinstance(value, list) and len(value) == 2 and str(value[0]) in prompt
        if wired and only in (None, name):
            yield name, str(value[0])


def _above(prompt: Mapping[str, Any], links: Iterator[tuple[str, str]]) -> list[str]:
    """All nodes upstream of some links, in the order of their ids."""
    waiting, seen = [source for _, source in links], set[str]()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += [source for _, source in _links(prompt, node)]
    return [name for name in prompt if name in seen]


def _literal(node: Mapping[str, Any], name: str) -> Any:
    """The value of an input that is not wired."""
    value = node.get("inputs", {}).get(name)
    return value if isinstance(value, str | int | float) and value != "" else None


def _models(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The model files that a node's inputs name, and the LoRAs in its texts."""
    for name, value in node.get("inputs", {}).items():
        if not isinstance(value, str) or not value or len(value) > 500:
            continue
        for kind, file in _files(name, value):
            entry: dict[str, Any] = {"kind": kind, "name": value, "sha256": _sha256(file)}
            strength = _literal(node, "strength_model")
            strength = _literal(node, "lora_strength") if strength is None else strength
            if kind == "loras" and strength is not None:
                entry["strength"] = strength
            yield entry
    for text in node.get("inputs", {}).values():
        if isinstance(text, str):
            for name in _LORA_TAG.findall(text):
                yield {"kind": "loras", "name": name[:200], "sha256": ""}


def _files(name: str, value: str) -> Iterator[tuple[str, Path]]:
    """The kind and file of a value that is the name of a model file."""
    import folder_paths

    if name == "lora" and value in example_loras.FILES:
        yield "loras", example_loras.FOLDER / example_loras.FILES[value]
        return
    kinds = (_FOLDERS[name],) if name in _FOLDERS else _SEARCHED
    for kind in kinds:
        known = kind in folder_paths.folder_names_and_paths
        # only what ComfyUI lists: the value may be any text, from a workflow of somebody else
        if known and value in folder_paths.get_filename_list(kind):
            yield kind, Path(folder_paths.get_full_path(kind, value))
            return


def _sha256(path: Path) -> str:
    return _hashed(path, paths.stamp(path))


@lru_cache(maxsize=64)
def _hashed(path: Path, _stamp: tuple[int, int]) -> str:
    """SHA-256 of a file; a checkpoint of gigabytes is read only once."""
    from siren_ext.files import sha256_file

    return sha256_file(path)


def _seeds(node: Mapping[str, Any]) -> list[int]:
    """The seeds that a node uses, one per image where it makes several."""
    value = _literal(node, "seed")
    value = _literal(node, "noise_seed") if value is None else value
    if not isinstance(value, int):
        return []
    count = _literal(node, "count")
    ours = str(node.get("class_type", "")).startswith("Siren")
    return [value + index for index in range(count if ours and isinstance(count, int) else 1)]


def _prompts(prompt: Mapping[str, Any], above: Sequence[str]) -> list[str]:
    """What the samplers were asked for: texts upstream of ``positive``, and our own prompts."""
    wanted = {
        one
        for node in above
        for name, source in _links(prompt, node)
        if name in ("positive", "conditioning")
        for one in (source, *_above(prompt, _links(prompt, source)))
    }
    wanted |= {node for node in above if str(prompt[node].get("class_type")).startswith("Siren")}
    texts: set[str] = set()
    for node in wanted:
        for name in _PROMPTS:
            value = _literal(prompt[node], name)
            if isinstance(value, str):
                texts |= {line.strip() for line in value.splitlines() if line.strip()}
    return sorted(texts)


def _plain(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node without secrets and very long values."""
    inputs = {}
    for name, value in node.get("inputs", {}).items():
        if isinstance(value, str) and _SECRET.search(name):
            value = "(left out)"
        elif isinstance(value, str):
            value = value[:_LONGEST]
        inputs[str(name)] = value
    return {"class_type": str(node.get("class_type", "")), "inputs": inputs}


def _version() -> str:
    """Version of ComfyUI, "" if it does not say."""
    try:
        from comfyui_version import __version__
    except ImportError:
        return ""
    return str(__version__)


def keep_pictures(images: Sequence[Tensor], source: dict[str, Any]) -> list[Path]:
    """Keep scored images as PNG files, with ``source`` beside them.

    The folder is named after the images, so that the same images are kept once. The command
    'siren-ext score' on it gives the same scores.

    Parameters
    ----------
    images : Sequence[Tensor]
        Each 1 x 3 x H x W in [0,1].
    source : dict[str, Any]
        How they were made. ``pictures``, the folder's name, is added.

    Returns
    -------
    list[Path]
        The files, in the order of the images.
    """
    from siren_ext.files import atomic, write_json

    pixels = [publish.pixels_of(image[0].movedim(0, -1)) for image in images]
    mark = hashlib.sha256("".join(map(publish.digest_of, pixels)).encode()).hexdigest()[:16]
    folder = paths.output_folder() / KEPT / mark
    source["pictures"] = f"{KEPT}/{mark}"
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for number, one in enumerate(pixels, start=1):
        path = folder / f"{number:05d}.png"
        if not path.is_file():
            with atomic(path) as temporary:
                Image.fromarray(one).save(temporary, "PNG")
        kept.append(path)
    write_json(folder / PROVENANCE, source)
    return kept


def kept_pictures(source: Mapping[str, Any]) -> list[Path]:
    """The kept pictures of scores.

    Parameters
    ----------
    source : Mapping[str, Any]
        ``ScoreSet.source``.

    Returns
    -------
    list[Path]
        The files; empty if none were kept, or they are elsewhere.
    """
    name = source.get("pictures")
    if not isinstance(name, str) or not re.fullmatch(rf"{KEPT}/[0-9a-f]{{16}}", name):
        return []
    return sorted((paths.output_folder() / name).glob("*.png"))
