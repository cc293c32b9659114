"""A stand-in for ComfyUI's modules, enough to load the pack and call its nodes without a server.

Names and signatures are those of ComfyUI 0.3.75; ``tests/comfy_nodes/test_pack_server.py`` runs
the same nodes in the real server.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from siren_ext.data.images import read_picture, to_tensor

PARTS = (
    "",
    ".convert",
    ".host",
    ".paths",
    ".files",
    ".types",
    ".shown",
    ".example_key",
    ".publish",
    ".example_loras",
    ".record",
    ".generate",
    ".protect",
    ".train",
    ".train_adapter",
    ".verify",
    ".commitments",
    ".keyed",
    ".official",
    ".passive",
    ".attribution",
    ".verify_model",
    ".robustness",
)


class _Part:
    """An input or output: its id and options."""

    def __init__(self, id: str, **options: Any) -> None:
        self.id, self.options = id, options
        self.optional = options.get("optional", False)


class _Type:
    Input = type("Input", (_Part,), {})
    Output = type("Output", (_Part,), {})


class Schema:
    """Keeps what a node declares; refuses equal names of inputs and outputs as the host does."""

    def __init__(self, node_id: str, inputs: Any = (), outputs: Any = (), **options: Any) -> None:
        self.node_id, self.inputs, self.outputs, self.options = node_id, inputs, outputs, options
        names = [part.id for part in [*inputs, *outputs]]
        assert len(names) == len(set(names)), names


class NodeOutput:
    """What a node returns."""

    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args, self.ui = args, ui


class PreviewImage:
    """Counts the pictures."""

    def __init__(self, image: Any, cls: Any) -> None:
        self.count = len(image)

    def as_dict(self) -> dict[str, Any]:
        return {"images": [{}] * self.count}


class Interrupt(Exception):  # noqa: N818 - the host's own is no fault either
    """ComfyUI's interrupt."""


class ProgressBar:
    """Counts, and calls a hook of the test's after each unit."""

    hook: Any = None

    def __init__(self, total: int) -> None:
        self.total, self.current = total, 0

    def update(self, units: int) -> None:
        self.current += units
        if ProgressBar.hook is not None:
            ProgressBar.hook(self.current, self.total)


class FakeHost:
    """The installed stand-in: folders below ``base`` and the interrupt flag."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.interrupted = False
        self.models: dict[str, tuple[list[str], set[str]]] = {
            "loras": ([str(base / "models" / "loras")], {".safetensors"}),
            "checkpoints": ([str(base / "models" / "checkpoints")], {".safetensors"}),
        }
        for name in ("input", "output", "models/loras", "models/checkpoints"):
            (base / name).mkdir(parents=True)

    def throw(self) -> None:
        if self.interrupted:
            self.interrupted = False
            raise Interrupt

    def names(self, kind: str) -> list[str]:
        folders, suffixes = self.models[kind]
        found = [
            path.relative_to(folder).as_posix()
            for folder in folders
            for path in Path(folder).rglob("*")
            if path.suffix in suffixes
        ]
        return sorted(found)

    def full_path(self, kind: str, name: str) -> str | None:
        for folder in self.models[kind][0]:
            if (Path(folder) / name).is_file():
                return str(Path(folder) / name)
        return None

    def add_folder(self, kind: str, path: str) -> None:
        self.models.setdefault(kind, ([path], set()))


def install(monkeypatch: pytest.MonkeyPatch, base: Path) -> FakeHost:
    """Put the stand-in into ``sys.modules`` for one test; the pack is loaded anew."""
    fake = FakeHost(base)
    kinds = ("Combo", "Image", "Mask", "Float", "Int", "String", "Boolean", "Model", "Clip", "Vae")
    io = types.SimpleNamespace(
        ComfyNode=type("ComfyNode", (), {"hidden": None}),
        Hidden=types.SimpleNamespace(prompt="PROMPT", unique_id="UNIQUE_ID"),
        Schema=Schema,
        NodeOutput=NodeOutput,
        Custom=lambda name: type(name, (_Type,), {"io_type": name}),
        **{kind: type(kind, (_Type,), {}) for kind in kinds},
    )
    ui = types.SimpleNamespace(PreviewImage=PreviewImage)
    management = {
        "get_torch_device": lambda: torch.device("cpu"),
        "processing_interrupted": lambda: fake.interrupted,
        "throw_exception_if_processing_interrupted": fake.throw,
        "InterruptProcessingException": Interrupt,
        "unload_all_models": lambda: None,
        "soft_empty_cache": lambda: None,
    }
    folders = {
        "models_dir": str(base / "models"),
        "folder_names_and_paths": fake.models,
        "add_model_folder_path": fake.add_folder,
        "get_input_directory": lambda: str(base / "input"),
        "get_user_directory": lambda: str(base / "user"),
        "get_temp_directory": lambda: str(base / "temp"),
        "get_output_directory": lambda: str(base / "output"),
        "get_filename_list": fake.names,
        "get_full_path": fake.full_path,
        "get_folder_paths": lambda kind: fake.models[kind][0],
    }
    modules = {
        "comfy_api": {},
        "comfy_api.latest": {"io": io, "ui": ui, "ComfyExtension": type("ComfyExtension", (), {})},
        "comfy": {},
        "comfy.model_management": management,
        "comfy.utils": {"ProgressBar": ProgressBar},
        "folder_paths": folders,
    }
    for name, values in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    monkeypatch.setattr(ProgressBar, "hook", None)
    for part in (*PARTS, ".graph_checkpoint", ".graph_surrogate"):
        monkeypatch.delitem(sys.modules, f"comfy_nodes{part}", raising=False)
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    for part in PARTS:
        importlib.import_module(f"comfy_nodes{part}")
    sys.modules["comfy_nodes.paths"].register_folder()
    return fake


def nodes_of_pack() -> dict[str, Any]:
    """The nodes of the loaded pack by their ids."""
    pack = sys.modules["comfy_nodes"]
    listed = asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
    return {node.define_schema().node_id: node for node in listed}


def run(node: Any, **inputs: Any) -> Any:
    """What the node gives."""
    return node.execute(**inputs)


def batch(folder: Path) -> torch.Tensor:
    """As Load Image would give them."""
    images = [to_tensor(read_picture(path).rgb) for path in sorted(folder.glob("*.png"))]
    return torch.cat(images).movedim(1, -1)
