"""Parts of the layout that several panels share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from siren_ext.coater.torch_files import SUFFIXES
from siren_ext.panels import html as cards
from siren_ext.panels.gradio_compat import private, upload_field
from siren_ext.panels.host import CoaterLibrary, StopRequests, UploadLimits

LIST_PX = 300  # a list of a hundred file names would fill the page
ONE_FILE_PX = 150
RISKS = {
    "1 in a thousand (a hint only)": 1e-3,
    "1 in a million (recommended)": 1e-6,
    "1 in a billion (strict)": 1e-9,
}
"""What the risk choice shows, to the risk itself."""


def image_files(
    gr: Any, elem_id: str, label: str, limits: UploadLimits, *, scores: bool = False
) -> Any:
    """An upload field for images and ZIP archives.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    elem_id : str
        Id of the component.
    label : str
        What is uploaded; the limits are added.
    limits : UploadLimits
        The host's limits.
    scores : bool
        Whether a JSON file of scores is accepted too.

    Returns
    -------
    Any
        The ``gr.File``.
    """
    text = f"{label} (up to {limits.files}, {limits.file_mb:g} MB each)"
    types = ["image", ".zip", ".txt", *([".json"] if scores else [])]
    return upload_field(
        gr, label=text, file_count="multiple", file_types=types, height=LIST_PX, elem_id=elem_id
    )


def folder_box(gr: Any, elem_id: str, label: str, limits: UploadLimits) -> Any:
    """A text field for a folder on the host's machine, hidden where folders are not allowed.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    elem_id : str
        Id of the component.
    label : str
        Its label.
    limits : UploadLimits
        The host's limits.

    Returns
    -------
    Any
        The ``gr.Textbox``.
    """
    return gr.Textbox(label=label, value="", elem_id=elem_id, visible=limits.folders)


def coater_choice(gr: Any, prefix: str, coaters: CoaterLibrary) -> tuple[Any, Any]:
    """A list of coaters, and an upload field whose file is used instead.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    prefix : str
        First part of the components' ids.
    coaters : CoaterLibrary
        The coaters to choose from.

    Returns
    -------
    tuple[Any, Any]
        The ``gr.Dropdown`` and the ``gr.File``.
    """
    names = coaters.names()
    name = gr.Dropdown(
        names,
        value=names[0] if names else None,
        label="Coater (samples, start and keyed come with Siren and are only for trying it out)",
        elem_id=f"{prefix}_coater",
    )
    with gr.Accordion("Use your own coater file", open=False, elem_id=f"{prefix}_coater_own"):
        upload = upload_field(
            gr,
            label="Coater (.safetensors)",
            # a checkpoint is let through, so that the message says what to do with it
            file_types=[".safetensors", *SUFFIXES],
            height=ONE_FILE_PX,
            elem_id=f"{prefix}_coater_file",
        )
    return name, upload


def reveal(gr: Any, outputs: Sequence[Any]) -> tuple[Any, ...]:
    """Values for a panel's outputs that show only the ones with content.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    outputs : Sequence[Any]
        New values. The first is passed on as it is; each other component is shown if its value
        is not empty and hidden otherwise.

    Returns
    -------
    tuple[Any, ...]
        Values for Gradio, in the same order.
    """
    rest = [gr.update(value=value, visible=bool(value)) for value in outputs[1:]]
    return (outputs[0], *rest)


def risk_choice(gr: Any, elem_id: str, alpha: float) -> Any:
    """A choice of :data:`RISKS`.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    elem_id : str
        Id of the component.
    alpha : float
        The nearest risk is preselected.

    Returns
    -------
    Any
        The ``gr.Dropdown``; its value is a key of :data:`RISKS`.
    """
    text = min(RISKS, key=lambda text: abs(RISKS[text] - alpha))
    return gr.Dropdown(
        list(RISKS),
        value=text,
        label="Accepted risk of a false alarm (a smaller risk needs more images)",
        elem_id=elem_id,
    )


@dataclass(frozen=True)
class RunButtons:
    """What :func:`run_and_stop` lays out.

    Attributes
    ----------
    run, stop : Any
        The ``gr.Button`` components.
    job_id : Any
        The ``gr.State`` with the id of the running job.
    stops : StopRequests
        The host's stop requests.
    """

    run: Any
    stop: Any
    job_id: Any
    stops: StopRequests


def run_and_stop(gr: Any, prefix: str, label: str, stops: StopRequests) -> RunButtons:
    """A run button and a Stop button.

    Stop bypasses Gradio's queue, so it also reaches a job that is still queued.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    prefix : str
        First part of the components' ids.
    label : str
        Text of the run button.
    stops : StopRequests
        The host's stop requests.

    Returns
    -------
    RunButtons
        The buttons; :func:`connect` says what they do.
    """
    job_id = gr.State("")
    with gr.Row():
        run = gr.Button(label, variant="primary", elem_id=f"{prefix}_run")
        stop = gr.Button("Stop", variant="stop", elem_id=f"{prefix}_stop")
    stop.click(stops.request, [job_id], None, queue=False, **private(gr))
    return RunButtons(run, stop, job_id, stops)


def connect(
    gr: Any,
    buttons: RunButtons,
    check: Callable[..., object],
    work: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    kept: Sequence[Any] = (),
) -> None:
    """Make the run button check the form at once and, if nothing is wrong, queue the work.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    buttons : RunButtons
        The buttons.
    check : Callable[..., object]
        Takes the values of ``inputs`` and raises :class:`SirenError` if they can't be used.
    work : Callable[..., Any]
        The job; takes the values of ``inputs`` and the job's id.
    inputs, outputs : Sequence[Any]
        Components of the form and of the result. The first output is an HTML card, in which a
        fault of the form is shown; the others are then hidden.
    kept : Sequence[Any]
        Further outputs of the work, which a fault of the form leaves as they are.
    """
    fault = gr.State("")

    def look(*values: Any) -> tuple[Any, ...]:
        found = cards.fault_of(lambda: check(*values))
        if not found:
            return ("", *(gr.update() for _ in outputs))
        return (found, *reveal(gr, (cards.problem(found), *(None,) * (len(outputs) - 1))))

    def begin(found: str, job_id: str) -> str:
        if found:
            # the only way to end a chain of events before it reaches the queue
            raise gr.Error(found)
        return buttons.stops.new_job(job_id)

    looked = buttons.run.click(look, inputs, [fault, *outputs], queue=False, **private(gr))
    begun = looked.then(
        begin, [fault, buttons.job_id], [buttons.job_id], queue=False, **private(gr)
    )
    begun.success(work, [*inputs, buttons.job_id], [*outputs, *kept], **private(gr))
