"""Workflows for a ComfyUI suspect, built in or exported by users, and why they failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from siren_ext.documents import read_bytes
from siren_ext.errors import ConfigError
from siren_ext.suspects.responses import (
    BadAnswer,
    Refused,
    SuspectError,
    at_path,
    list_at,
    quoted,
)
from siren_ext.suspects.template import placeholders, read_template

MAX_BYTES = 4 << 20

# PreviewImage writes to the server's temporary folder, so nothing stays in its output folder.
TEXT_TO_IMAGE: dict[str, Any] = {
    "model": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "%model%"}},
    "lora": {
        "class_type": "LoraLoader",
        "inputs": {
            "model": ["model", 0],
            "clip": ["model", 1],
            "lora_name": "%lora%",
            "strength_model": "%scale%",
            "strength_clip": "%scale%",
        },
    },
    "prompt": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["lora", 1], "text": "%prompt%"}},
    "negative": {
        "class_type": "CLIPTextEncode",
        "inputs": {"clip": ["lora", 1], "text": "%negative%"},
    },
    "noise": {
        "class_type": "EmptyLatentImage",
        "inputs": {"width": "%size%", "height": "%size%", "batch_size": 1},
    },
    "sampler": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["lora", 0],
            "positive": ["prompt", 0],
            "negative": ["negative", 0],
            "latent_image": ["noise", 0],
            "seed": "%seed%",
            "steps": "%steps%",
            "cfg": "%guidance%",
            "sampler_name": "%sampler%",
            "scheduler": "normal",
            "denoise": 1.0,
        },
    },
    "decode": {
        "class_type": "VAEDecode",
        "inputs": {"samples": ["sampler", 0], "vae": ["model", 2]},
    },
    "output": {"class_type": "PreviewImage", "inputs": {"images": ["decode", 0]}},
}


def built_in(*, lora: bool) -> dict[str, Any]:
    """The built-in text-to-image workflow, with or without a LoRA."""
    if lora:
        return TEXT_TO_IMAGE
    rest = {name: node for name, node in TEXT_TO_IMAGE.items() if name != "lora"}
    direct: dict[str, Any] = json.loads(json.dumps(rest).replace('["lora"', '["model"'))
    return direct


def image_to_image(*, lora: bool) -> dict[str, Any]:
    """The built-in workflow that redraws a picture: ``%image%`` at ``%strength%``."""
    graph: dict[str, Any] = json.loads(json.dumps(built_in(lora=lora)))
    graph["image"] = {"class_type": "LoadImage", "inputs": {"image": "%image%"}}
    inputs = {"pixels": ["image", 0], "vae": ["model", 2]}
    graph["noise"] = {"class_type": "VAEEncode", "inputs": inputs}
    graph["sampler"]["inputs"]["denoise"] = "%strength%"
    return graph


def read_workflow(path: Path) -> dict[str, Any]:
    """Read a workflow in API format.

    Parameters
    ----------
    path : Path
        A JSON file of at most 4 MiB, with at least the placeholders ``%prompt%`` and ``%seed%``.

    Raises
    ------
    ConfigError
        If it is something else, such as a workflow saved by the editor, or a placeholder is
        missing.
    """
    name = path.name
    data = read_bytes(path, error=ConfigError, max_bytes=MAX_BYTES, name=f"The workflow {name}")
    graph = read_template(data, name)
    if isinstance(graph.get("nodes"), list):
        raise ConfigError(
            f"{name} is a workflow saved by the editor; export it for the API (Workflow > Export "
            "(API)) and write %prompt%, %seed% and so on in place of the values."
        )
    for node in graph.values():
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            raise ConfigError(
                f"{name} is not a workflow in API format: a node has no class_type. Export it with "
                "Workflow > Export (API)."
            )
    used = placeholders(graph)
    missing = {"prompt", "seed"} - used
    if missing:
        raise ConfigError(
            f"{name} has no placeholder %{min(missing)}%, so the pictures would not follow the "
            "plan's prompts and seeds; write it where that value belongs."
        )
    if "lora" in used and "scale" not in used:
        raise ConfigError(
            f"{name} uses %lora% but not %scale%, which is needed to check that the LoRA has an "
            "effect; write %scale% in place of its strengths."
        )
    return graph


def failure(entry: Any) -> SuspectError:
    """The error of a failed job; lack of memory may be temporary.

    Parameters
    ----------
    entry : object
        The job's entry in the server's history.
    """
    for message in list_at(entry, "status.messages"):
        if at_path(message, "0") == "execution_error":
            facts = at_path(message, "1")
            what = f"{at_path(facts, 'node_type')}: {at_path(facts, 'exception_message')}"
            if "OutOfMemory" in str(at_path(facts, "exception_type")):
                return BadAnswer(f"The server ran out of memory in {quoted(what)}")
            return Refused(f"The workflow failed in {quoted(what)}")
        if at_path(message, "0") == "execution_interrupted":
            return BadAnswer("The workflow was interrupted on the server.")
    return Refused("The workflow failed; the server gave no reason.")
