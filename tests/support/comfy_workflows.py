"""What the server is sent: the example workflows, and graphs made of single nodes."""

from __future__ import annotations

import json
from typing import Any

from support.comfy_server import PACK

EXAMPLES = sorted(path.stem for path in (PACK / "example_workflows").glob("*.json"))
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
COATER = "samples (bundled)"
ICONS = ("fox-face.png", "cat-face.png", "carrot.png", "crab.png")
"""What of the bundled samples lies in the input folder."""
SEEDS = {"seed", "noise_seed"}
"""The front end puts a second widget (fixed, randomize ...) behind inputs of these names."""


def example(name: str) -> dict[str, Any]:
    """A workflow file of the pack."""
    path = PACK / "example_workflows" / f"{name}.json"
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def inputs_of(info: dict[str, Any], kind: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, type and options of a node's inputs in the order of its widgets."""
    found = []
    for part in ("required", "optional"):
        for name, spec in info[kind]["input"].get(part, {}).items():
            options = spec[1] if len(spec) > 1 else {}
            found.append((name, "COMBO" if isinstance(spec[0], list) else spec[0], options))
    return found


def to_api(workflow: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """The graph of a workflow file in the form that /prompt takes."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph = {}
    for node in workflow["nodes"]:
        kind = node["type"]
        if kind not in info:  # notes live in the front end alone
            continue
        wired = {entry["name"]: entry["link"] for entry in node["inputs"]}
        values = list(node["widgets_values"])
        inputs: dict[str, Any] = {}
        for name, type_name, options in inputs_of(info, kind):
            # a node without values opens with the front end's own
            if node["widgets_values"] and type_name in WIDGETS and not options.get("forceInput"):
                inputs[name] = values.pop(0)
                if name in SEEDS:
                    values.pop(0)
                if options.get("image_upload"):
                    values.pop(0)
            if wired.get(name) is not None:
                inputs[name] = links[wired[name]]
        graph[str(node["id"])] = {"class_type": kind, "inputs": inputs}
    return graph


def nodes_of(graph: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The inputs of all nodes of a kind, in order of their numbers."""
    numbers = sorted(graph, key=int)
    return [graph[n]["inputs"] for n in numbers if graph[n]["class_type"] == kind]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """One node of an API graph."""
    return {"class_type": kind, "inputs": inputs}


def loaded(name: str) -> dict[str, dict[str, Any]]:
    """The bundled coater as ``coater`` and an input picture as ``picture``."""
    return {
        "coater": node("SirenLoadCoater", name=COATER),
        "picture": node("LoadImage", image=name),
    }


def small_training(save_as: str, **changes: Any) -> dict[str, Any]:
    """A short training of the bundled model on the test's pictures."""
    values: dict[str, Any] = {
        "folder": "pictures",
        "class_word": "icon",
        "save_as": save_as,
        "steps": 2,
        "batch_size": 2,
        "resolution": 64,
        "seed": 0,
        "rehearse": False,
    }
    return node("SirenTrainCoater", **(values | changes))
