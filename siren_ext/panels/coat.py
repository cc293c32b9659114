"""The panel that coats images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from siren_ext.coating.outputs import folder_to_coat, left_over_words
from siren_ext.data.dataset import ImageSet
from siren_ext.panels import html as cards
from siren_ext.panels.actions import before_after, coat_step, require_matching_key
from siren_ext.panels.commit import commit_maker
from siren_ext.panels.gradio_compat import lossless
from siren_ext.panels.host import PanelHost, PanelProgress
from siren_ext.panels.keys import key_choice, key_maker, open_key
from siren_ext.panels.official import coater_import
from siren_ext.panels.uploads import check_given, collect_images, name_of_upload
from siren_ext.panels.widgets import (
    coater_choice,
    connect,
    folder_box,
    image_files,
    reveal,
    run_and_stop,
)

LAYOUTS = {
    "Same folders as the originals": "plain",
    "Folders for training a LoRA (kohya)": "kohya",
}
"""What the output choice shows, to a layout of :class:`~siren_ext.coating.manifest.CoatConfig`."""
FORMATS = {
    "PNG: exact, large files": "png",
    "Same as the originals (JPEG and WebP at quality 95)": "keep",
}
"""What the choice of a file format shows, to a format of the same class."""
_SINGLE_FILES = 50
_KEY_TEXT = (
    "A keyed coater writes your secret message into every image. With the key you can later test "
    "a model without a reference model."
)
_KEY_COMMAND = "siren-ext coat photos --coater coater.safetensors --key keys.json --out coated"


def coat_panel(gr: Any, host: PanelHost | None = None) -> dict[str, Any]:
    """Lay out the coating of images inside the current ``gr.Blocks``.

    Takes uploads or a folder. Returns a ZIP, the single files and the private record as
    downloads, with a card of figures and a picture of the difference.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    host : PanelHost | None
        Limits, coaters and folders; None for the defaults.

    Returns
    -------
    dict[str, Any]
        The components by their ``elem_id``.
    """
    host = host or PanelHost()
    gr.HTML(
        cards.intro(
            "Adds an invisible coating to your images before you publish them. If somebody trains "
            "a model on them, you can show that later under Verify."
        ),
        elem_id="siren_coat_intro",
    )
    inputs, sections = _inputs(gr, host)
    buttons = run_and_stop(gr, "siren_coat", "Coat the images", host.stops)
    outputs = _outputs(gr)
    # the section belongs below the coated images, which it commits to
    sections |= commit_maker(gr, "siren_coat", host, (inputs[2], inputs[3]), inputs[4:7])
    connect(gr, buttons, _checker(host), _runner(gr, host), inputs, outputs)
    return {part.elem_id: part for part in (*inputs, *outputs)} | sections


def _inputs(gr: Any, host: PanelHost) -> tuple[list[Any], dict[str, Any]]:
    """The fields in the order of the runner's arguments, and the components of other sections."""
    files = image_files(gr, "siren_coat_files", "Images, or ZIP archives of images", host.limits)
    folder = folder_box(gr, "siren_coat_folder", "… or a folder on this machine", host.limits)
    coater = coater_choice(gr, "siren_coat", host.coaters)
    sections = coater_import(gr, "siren_coat", host, coater)
    keys = key_choice(gr, "siren_coat", host.limits, _KEY_TEXT, _KEY_COMMAND)
    sections |= key_maker(gr, "siren_coat", host, coater)
    with gr.Row():
        strength = gr.Slider(
            0.25,
            2,
            value=1,
            step=0.05,
            min_width=240,
            label="Strength of the coating (1 is normal; higher values are easier to detect, "
            "but also easier to see)",
            elem_id="siren_coat_strength",
        )
        layout = gr.Radio(
            list(LAYOUTS),
            value=next(iter(LAYOUTS)),
            label="Output",
            min_width=240,
            elem_id="siren_coat_layout",
        )
        file_format = gr.Radio(
            list(FORMATS),
            value=next(iter(FORMATS)),
            label="File format",
            min_width=240,
            elem_id="siren_coat_format",
        )
    return [files, folder, *coater, *keys, strength, layout, file_format], sections


def _outputs(gr: Any) -> list[Any]:
    card = gr.HTML(elem_id="siren_coat_result")
    with gr.Row():
        archive = gr.File(label="All coated files (ZIP)", visible=False, elem_id="siren_coat_zip")
        record = gr.File(
            label="Record: keep it, but don't publish it",
            visible=False,
            elem_id="siren_coat_record",
        )
    singles = gr.File(
        label="Single files",
        file_count="multiple",
        visible=False,
        elem_id="siren_coat_singles",
    )
    pictures = gr.Gallery(
        label="Before and after: the image that changed most",
        show_label=False,
        columns=3,
        visible=False,
        elem_id="siren_coat_looks",
        **lossless(gr),
    )
    return [card, archive, record, singles, pictures]


def _checker(host: PanelHost) -> Callable[..., None]:
    """What is checked before the job is queued."""

    def check(
        uploads: Any, folder: str, coater_name: str, coater_file: Any, key_file: Any,
        passphrase: str, recipient: str, *_: Any,
    ) -> None:  # fmt: skip
        check_given(uploads, folder, host.limits)
        coater = host.coaters.load(coater_name, coater_file)
        key = open_key(key_file, passphrase, recipient)
        require_matching_key(coater, key, needed=True)

    return check


def _runner(gr: Any, host: PanelHost) -> Callable[..., tuple[Any, ...]]:
    """The function behind the run button."""
    bar = gr.Progress()

    def run(
        uploads: Any, folder: str, coater_name: str, coater_file: Any, key_file: Any,
        passphrase: str, recipient: str, strength: float, layout: str, file_format: str,
        job_id: str,
        progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watched = PanelProgress(progress, host.stops, job_id)
            watched.stage("Reading the images")
            coater = host.coaters.load(coater_name, coater_file)
            key = open_key(key_file, passphrase, recipient)
            with host.jobs.working("coat") as job:
                notes: list[str] = []
                into = job / "originals" / name_of_upload(uploads)
                source = collect_images(uploads, folder, host.limits, into, notes=notes)
                data = ImageSet.open(source)
                out = None
                if host.outputs is not None and not uploads:
                    place = host.outputs / "coated" / source.resolve().name
                    out = folder_to_coat(place, data, coater, key)
                done = coat_step(
                    data, coater, job, out=out, strength=strength, layout=LAYOUTS[layout],
                    file_format=FORMATS[file_format], key=key, progress=watched,
                )  # fmt: skip
                notes += data.notices
                if words := left_over_words(done.manifest, data, Path(*done.folder.parts[-2:])):
                    notes.append(words)
                return (
                    cards.coat_card(done) + cards.notices(notes),
                    str(done.archive),
                    str(done.record),
                    [str(path) for path in done.files[:_SINGLE_FILES]],
                    before_after(done, data, job),
                )

        return reveal(gr, cards.attempt(work, (None, None, None, None)))

    return run
