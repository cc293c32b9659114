"""Pieces of layout that several panels share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from siren_ext.panels.gradio_compat import private
from siren_ext.panels.host import Shelf, Stops, UploadLimits

LIST_PX = 300  # a hundred file names would fill the page
ONE_FILE_PX = 150
RISKS = {
    "1 in 1 thousand (a hint)": 1e-3,
    "1 in 1 million (recommended)": 1e-6,
    "1 in 1 billion (strict)": 1e-9,
}


def image_files(
    gr: Any, elem_id: str, label: str, limits: UploadLimits, *, scores: bool = False
) -> Any:
    """An upload of images and archives, its limits in the label; ``scores`` also takes JSON."""
    most = f"{label} (up to {limits.files}, {limits.file_mb:g} MB each)"
    types = ["image", ".zip", ".txt", *([".json"] if scores else [])]
    return gr.File(
        label=most, file_count="multiple", file_types=types, height=LIST_PX, elem_id=elem_id
    )


def folder_box(gr: Any, elem_id: str, label: str, limits: UploadLimits) -> Any:
    """A line for a folder of the machine; invisible where the host does not permit it."""
    return gr.Textbox(label=label, value="", elem_id=elem_id, visible=limits.folders)


def coater_choice(gr: Any, prefix: str, shelf: Shelf) -> tuple[Any, Any]:
    """The coaters by name, and an upload that takes their place."""
    names = shelf.names()
    name = gr.Dropdown(
        names,
        value=names[0] if names else None,
        label="Coater (samples, start and keyed are bundled, and so everybody's)",
        elem_id=f"{prefix}_coater",
    )
    with gr.Accordion("Your own coater file", open=False, elem_id=f"{prefix}_coater_own"):
        upload = gr.File(
            label="Coater (.safetensors)",
            file_types=[".safetensors"],
            height=ONE_FILE_PX,
            elem_id=f"{prefix}_coater_file",
        )
    return name, upload


def reveal(gr: Any, outputs: Sequence[Any]) -> tuple[Any, ...]:
    """The first output as it is; the others visible where they hold something, else hidden."""
    rest = [gr.update(value=value, visible=bool(value)) for value in outputs[1:]]
    return (outputs[0], *rest)


def risk_choice(gr: Any, elem_id: str, alpha: float) -> Any:
    """The accepted risk of a false alarm, in words."""
    words = min(RISKS, key=lambda word: abs(RISKS[word] - alpha))
    return gr.Dropdown(
        list(RISKS), value=words, label="Accepted risk of a false alarm", elem_id=elem_id
    )


def run_and_stop(gr: Any, prefix: str, label: str, stops: Stops) -> tuple[Any, Any, Any]:
    """A run button and a Stop button.

    Gives the event to chain the work to (it has armed a fresh job word by then), the Stop button,
    and the state that holds the word. Both buttons bypass the queue, so that Stop also reaches a
    job that still waits.
    """
    word = gr.State("")
    with gr.Row():
        run = gr.Button(label, variant="primary", elem_id=f"{prefix}_run")
        stop = gr.Button("Stop", variant="stop", elem_id=f"{prefix}_stop")
    armed = run.click(stops.arm, [word], [word], queue=False, **private(gr))
    stop.click(stops.ask, [word], None, queue=False, **private(gr))
    return armed, stop, word
