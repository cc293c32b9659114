"""Readers of what workflows give to ComfyUI's nodes: names, tensors, and the workflow itself."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.fake_host import install
from support.fuzz_reader import Reader, Sample, of_file

from siren_ext.errors import SirenError


def node_readers(work: Path) -> list[Reader]:
    """All of them; ``work`` is for ComfyUI's folders."""
    base = work / "comfyui"
    host = install(pytest.MonkeyPatch(), base)
    folders: Any = sys.modules["folder_paths"]

    def full_path(kind: str, name: str) -> str | None:
        return host.full_path(kind, name) if len(name.encode("utf-8", "replace")) < 250 else None

    folders.get_full_path = full_path  # ComfyUI's own accepts names of any length
    files, paths, record, convert = (
        sys.modules[f"comfy_nodes.{name}"] for name in ("files", "paths", "record", "convert")
    )
    checks = {
        "coater": files.coater_file,
        "checkpoint": files.checkpoint_file,
        "adapter": files.adapter_file,
        "scores": files.score_file,
        "key": files.key_file,
        "new_coater": files.new_coater_file,
        "new_key": files.new_key_file,
        "folder": paths.image_folder,
        "out": paths.new_output,
        "passphrase": files.passphrase,
    }
    names = dict.fromkeys(checks, "siren/a")

    def check_names(path: Path) -> object:
        values = json.loads(path.read_bytes().decode("utf-8", "replace"))
        return [paths.input_check(check, _one_text(values, name)) for name, check in checks.items()]

    workflow = {
        "3": {"class_type": "KSampler", "inputs": {"seed": 7, "model": ["4", 0], "text": ["6", 0]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox <lora:x:1>"}},
        "9": {"class_type": "Score", "inputs": {"images": ["3", 0]}},
    }

    def made_by(path: Path) -> object:
        values = json.loads(path.read_bytes().decode("utf-8", "replace"))
        nodes = values.values() if isinstance(values, dict) else [None]
        if not all(isinstance(node, dict) and _has_inputs(node) for node in nodes):
            raise SirenError("ComfyUI runs no such workflow")
        return json.dumps(record.made_by(values, "9", "images"), allow_nan=True)

    def tensors(path: Path) -> object:
        values = json.loads(path.read_bytes().decode("utf-8", "replace"))
        image, mask = (_tensor(values, name) for name in ("image", "mask"))
        if image is None:
            return None
        return convert.to_core(image), convert.to_keep(mask, image)

    shapes = {"image": [1, 8, 8, 3], "mask": [1, 8, 8], "value": 0.5}
    return [
        Reader(name, [Sample("a.json", json.dumps(value).encode(), "json")], of_file(_plain(read)))
        for name, value, read in (
            ("names in workflows", names, check_names),
            ("workflows of nodes", workflow, made_by),
            ("tensors of nodes", shapes, tensors),
        )
    ]


def _plain(read: Any) -> Any:
    """ComfyUI itself parses the JSON, so what is none does not count."""

    def reads(path: Path) -> object:
        try:
            json.loads(path.read_bytes().decode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            raise SirenError("not JSON") from error
        return read(path)

    return reads


def _has_inputs(node: dict[str, Any]) -> bool:
    return isinstance(node.get("inputs", {}), dict)


def _one_text(values: Any, name: str) -> str | None:
    """An input of the type STRING, which ComfyUI converts to a text."""
    value = values.get(name) if isinstance(values, dict) else values
    return None if value is None else str(value)


def _tensor(values: Any, name: str) -> torch.Tensor | None:
    """A tensor of the shape in a JSON object, if it is one and not large."""
    shape = values.get(name) if isinstance(values, dict) else None
    sides = shape if isinstance(shape, list) else []
    whole = all(type(side) is int and 0 <= side < 1000 for side in sides)
    if not sides or not whole or math.prod(sides) > 100_000 or len(sides) > 8:
        return None
    value = values.get("value")
    number = float(value) if isinstance(value, int | float) and abs(value) < 1e300 else math.nan
    return torch.full(sides, number)
