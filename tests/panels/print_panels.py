"""Build every panel with this Python's Gradio and print what came of it as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gradio as gr

from siren_ext.panels.attribution import attribution_panel
from siren_ext.panels.coat import coat_panel
from siren_ext.panels.host import PanelHost
from siren_ext.panels.lora import lora_panel
from siren_ext.panels.passive import passive_panel
from siren_ext.panels.report import report_panel
from siren_ext.panels.robustness import robustness_panel
from siren_ext.panels.train import train_panel
from siren_ext.panels.verify import verify_panel


class Generator:
    def checkpoints(self) -> list[str]:
        return ["a", "b"]

    def loras(self) -> list[str]:
        return ["one"]


host = PanelHost()
with gr.Blocks() as page:
    made = [
        *coat_panel(gr, host),
        *robustness_panel(gr, host),
        *verify_panel(gr, host),
        *passive_panel(gr, host),
        *attribution_panel(gr, host),
        *report_panel(gr, host),
        *train_panel(gr, host),
        *lora_panel(gr, Generator(), host),
    ]
config = page.get_config_file()
public = [
    dep["api_name"]
    for dep in config["dependencies"]
    if dep.get("api_name") and dep.get("api_visibility", "public") == "public"
]
formats = {
    part["props"].get("format") for part in config["components"] if part["type"] == "gallery"
}
inputs = [part["props"] for part in config["components"] if part["type"] != "state"]
hidden = [part for part in page.blocks.values() if getattr(part, "type", "") == "password"]
pieces = ("state", "row", "column", "form", "group", "tabs")
folders = [p["visible"] for p in inputs if str(p.get("elem_id", "")).endswith("_folder")]


def reads_any_file(field: gr.File) -> bool:
    """Whether a visitor's program may name a file of this machine as an upload."""
    if not gr.__version__.startswith("3."):  # later versions look before they call the field
        return False
    entry = {"name": str(Path(__file__)), "data": None, "is_file": True}
    try:
        field.preprocess(entry if field.file_count == "single" else [entry])
    except gr.Error:
        return False
    return True


given = {i for dep in config["dependencies"] for i in dep["inputs"]}
fields = [page.blocks[i] for i in given if isinstance(page.blocks[i], gr.File)]
result = {
    "uploads": len(fields),
    "unguarded": [field.elem_id for field in fields if reads_any_file(field)],
    "version": gr.__version__,
    "made": made,
    "rendered": [p.get("elem_id") for p in inputs if p.get("elem_id")],
    "public": public,
    "formats": sorted(str(name) for name in formats),
    "folders": folders,
    "nameless": sorted(
        {p["type"] for p in config["components"] if not p["props"].get("elem_id")} - set(pieces)
    ),
    "passphrases": {part.elem_id: getattr(part, "do_not_save_to_config", False) for part in hidden},
}
json.dump(result, sys.stdout)
