"""A section of a panel that makes a coater from the two files that SIREN's authors published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from siren_ext.coater.official import ImportedCoater, import_official
from siren_ext.coater.torch_files import SUFFIXES
from siren_ext.devices import pick_device
from siren_ext.errors import CoaterError
from siren_ext.panels import html as cards
from siren_ext.panels.gradio_compat import upload_field, upload_paths
from siren_ext.panels.host import PanelHost, PanelProgress
from siren_ext.panels.train import coater_file
from siren_ext.panels.uploads import check_given, collect_images
from siren_ext.panels.widgets import ONE_FILE_PX, connect, folder_box, image_files, run_and_stop
from siren_ext.progress import NULL, Progress

_ABOUT = (
    "Turns the authors' two .pth files into a coater file. Only import files from a source that "
    "you trust.",
    "A meta-learned pair has no centre: add your clean images, and the centre is computed from "
    "them. Other pairs need no images.",
)


def coater_import(gr: Any, prefix: str, host: PanelHost, coater: tuple[Any, Any]) -> dict[str, Any]:
    """A folded section that imports the authors' checkpoints and selects the new coater.

    Only for hosts whose visitors own the machine: a server should not open a stranger's ``.pth``
    file, because PyTorch's safe mode has had flaws.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    prefix : str
        First part of the components' ids.
    host : PanelHost
        Limits, coaters and folders.
    coater : tuple[Any, Any]
        The components of :func:`~siren_ext.panels.widgets.coater_choice`.

    Returns
    -------
    dict[str, Any]
        The components by their ``elem_id``; empty on other hosts.
    """
    if not host.limits.folders:
        return {}
    prefix = f"{prefix}_import"
    with gr.Accordion("Import SIREN's published checkpoints (.pth)", open=False, elem_id=prefix):
        about = gr.HTML(cards.hint(*_ABOUT), elem_id=f"{prefix}_about")
        with gr.Row():
            generator, extractor = (
                upload_field(
                    gr,
                    label=f"{kind.capitalize()}, such as {example}",
                    file_types=list(SUFFIXES),
                    height=ONE_FILE_PX,
                    elem_id=f"{prefix}_{kind}",
                )
                for kind, example in (
                    ("generator", "end_encoder.pth"),
                    ("extractor", "end_decoder.pth"),
                )
            )
        images = image_files(
            gr, f"{prefix}_images", "Clean images, for a pair without a centre", host.limits
        )
        folder = folder_box(gr, f"{prefix}_folder", "… or a folder on this machine", host.limits)
        name = gr.Textbox(
            label="Name of the coater", value="published-coater", elem_id=f"{prefix}_name"
        )
        buttons = run_and_stop(gr, prefix, "Import", host.stops)
        card = gr.HTML(elem_id=f"{prefix}_result")
        file = gr.File(
            label="Coater: keep it to yourself", visible=False, elem_id=f"{prefix}_coater"
        )
    inputs = [generator, extractor, images, folder, name]
    connect(gr, buttons, _checker(host), _runner(gr, host), inputs, [card, file], coater)
    return {part.elem_id: part for part in (about, *inputs, card, file)}


def _checker(host: PanelHost) -> Callable[..., None]:
    """What is checked before the job is queued."""

    def check(generator: Any, extractor: Any, images: Any, folder: str, name: str) -> None:
        _both(generator, extractor)
        coater_file(name, host.coaters.folder or Path())
        if upload_paths(images) or (folder or "").strip():
            check_given(images, folder, host.limits)

    return check


def _both(generator: Any, extractor: Any) -> tuple[Path, Path]:
    first, second = upload_paths(generator), upload_paths(extractor)
    if not first or not second:
        raise CoaterError(
            "A file of the pair is missing. Add both files: the generator and the extractor."
        )
    return first[0], second[0]


def _runner(gr: Any, host: PanelHost) -> Callable[..., tuple[Any, ...]]:
    """The function behind the import button."""
    bar = gr.Progress()

    def run(
        generator: Any, extractor: Any, images: Any, folder: str, name: str, job_id: str,
        progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watched = PanelProgress(progress, host.stops, job_id)
            watched.stage("Reading the files")
            made = import_step(generator, extractor, images, folder, name, host, progress=watched)
            if host.coaters.folder is None:
                path = str(made.path)
                shown = gr.update(value=path, visible=True), gr.update(), gr.update(value=path)
            else:  # the file is in the coater folder, which some hosts can't serve files from
                choice = gr.update(choices=host.coaters.names(), value=made.path.name)
                shown = gr.update(value=None, visible=False), choice, gr.update(value=None)
            return (cards.note(_summary(made), "Coater ready"), *shown)

        return cards.attempt(work, (gr.update(value=None, visible=False), gr.update(), gr.update()))

    return run


def import_step(
    generator: Any,
    extractor: Any,
    images: Any,
    folder: str,
    name: str,
    host: PanelHost,
    *,
    progress: Progress = NULL,
) -> ImportedCoater:
    """Make a coater from two uploads, in the host's coater folder if it has one.

    Parameters
    ----------
    generator, extractor : Any
        Values of the two file fields.
    images : Any
        Value of the image field; images are used only for a pair without a centre.
    folder : str
        A folder of images typed by the user.
    name : str
        Name of the new coater.
    host : PanelHost
        Limits, coaters and folders.
    progress : Progress
        Counts the images.

    Returns
    -------
    ImportedCoater
        The coater and its file.

    Raises
    ------
    CoaterError
        A file is missing, or not one of a published pair; the name is taken or can't be used; or
        the pair has no centre and no images were given.
    DatasetError, ImageError
        The images can't be used.
    Cancelled
        The user stopped.
    """
    pair = _both(generator, extractor)
    with host.jobs.working("import") as job:
        out = coater_file(name, host.coaters.folder or job)
        data = None
        if upload_paths(images) or (folder or "").strip():
            data = collect_images(images, folder, host.limits, job / "originals")
        device = pick_device(host.coaters.device)
        return import_official(*pair, out, data, device=device, progress=progress)


def _summary(made: ImportedCoater) -> str:
    """The result in words."""
    text = f"{made.path.name} is now selected above. {made.summary}"
    if made.images is not None and made.images.problems:
        names = ", ".join(name for name, _ in made.images.problems[:8])
        text += f" Skipped because they can't be read: {names}."
    return text
