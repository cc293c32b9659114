"""The panel that tests a folder of images against a reference, with a key, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from siren_ext.panels import html as cards
from siren_ext.panels.actions import Judged, judge_step
from siren_ext.panels.gradio_compat import lossless, private, upload_paths
from siren_ext.panels.host import Desk, PanelProgress
from siren_ext.panels.keys import commitment_of, key_choice, open_key
from siren_ext.panels.uploads import take_in
from siren_ext.panels.widgets import (
    RISKS,
    coater_choice,
    folder_box,
    image_files,
    reveal,
    risk_choice,
    run_and_stop,
)

KEY_WORDS = (
    "With the key that your images were coated with, their secret message is looked for in the "
    "suspicious model's pictures. That test needs no reference, and no style of another model can "
    "deceive it."
)
_KEY_COMMAND = "siren-ext verify --suspect scores.json --key keys.json --out report"
_GALLERY_PX = 320
BLANKS = (None, None, None, None)


def verify_panel(gr: Any, desk: Desk | None = None) -> dict[str, Any]:
    """Lay out a verification inside the current ``gr.Blocks``; gives the components by elem_id.

    Images of the suspicious model go in, with those of a reference, a key or both; a verdict in
    plain words, charts, the most telling images and the report come out.
    """
    desk = desk or Desk()
    gr.HTML(
        cards.intro(
            "Tests whether images of a suspicious model carry your coating, by comparing them with "
            "those of a reference: a model that never saw a coated image, best one of your own, "
            "trained on the clean originals. Use the same prompts and settings for both; 30 "
            "against 100 images are a good start. With the key of a keyed coater no reference is "
            "needed."
        ),
        elem_id="siren_verify_intro",
    )
    with gr.Row():
        with gr.Column():
            suspect = image_files(gr, "siren_verify_suspect", "Suspicious model", desk.limits)
            suspect_folder = folder_box(
                gr, "siren_verify_suspect_folder", "… or a folder on this machine", desk.limits
            )
        with gr.Column():
            reference = image_files(
                gr, "siren_verify_reference", "Reference, or its scores (JSON)", desk.limits,
                scores=True,
            )  # fmt: skip
            reference_folder = folder_box(
                gr, "siren_verify_reference_folder", "… or a folder on this machine", desk.limits
            )
    choice = coater_choice(gr, "siren_verify", desk.shelf)
    keys = key_choice(gr, "siren_verify", desk.limits, KEY_WORDS, _KEY_COMMAND, commitment=True)
    risk = risk_choice(gr, "siren_verify_risk", desk.alpha)
    start, _, word = run_and_stop(gr, "siren_verify", "Verify", desk.stops)
    outputs = verdict_parts(gr, "siren_verify")
    bar = gr.Progress()

    def run(
        first: Any, first_folder: str, second: Any, second_folder: str, name: str, upload: Any,
        key_file: Any, secret: str, recipient: str, fixed: Any, accepted: str, job_word: str,
        progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watch = PanelProgress(progress, desk.stops, job_word)
            watch.stage("Reading the images")
            coater = desk.shelf.load(name, upload)
            key = open_key(key_file, secret, recipient)
            job = desk.jobs.new("verify")
            given = take_in(
                first, first_folder, desk.limits, job / "suspect", what="suspicious images"
            )
            other = None
            if key is None or upload_paths(second) or (second_folder or "").strip():
                other = reference_of(second, second_folder, desk, job)
            return shown(
                judge_step(
                    given, other, coater, job, alpha=RISKS[accepted], key=key,
                    commitment=commitment_of(fixed), progress=watch,
                )
            )  # fmt: skip

        return reveal(gr, cards.attempt(work, BLANKS))

    start.then(
        run,
        [suspect, suspect_folder, reference, reference_folder, *choice, *keys, risk, word],
        list(outputs.values()),
        **private(gr),
    )
    inputs = [suspect, suspect_folder, reference, reference_folder, *choice, *keys, risk]
    return {part.elem_id: part for part in inputs} | outputs


def reference_of(upload: Any, folder: str, desk: Desk, job: Path) -> Path:
    """The folder of the reference images, or the one score file that was given in their place."""
    paths = upload_paths(upload)
    if len(paths) == 1 and paths[0].suffix.lower() == ".json":
        return paths[0]
    return take_in(upload, folder, desk.limits, job / "reference", what="reference images")


def verdict_parts(gr: Any, prefix: str) -> dict[str, Any]:
    """The outputs of a verification, by elem_id, in the order of :func:`shown`."""
    card = gr.HTML(elem_id=f"{prefix}_verdict")
    charts = gr.HTML(visible=False, elem_id=f"{prefix}_charts")
    report = gr.File(
        label="Report (open report.html in a browser)",
        file_count="multiple",
        visible=False,
        elem_id=f"{prefix}_report",
    )
    low = gr.Gallery(
        label="Suspicious model: lowest scores (most like coated images)",
        columns=4, visible=False, elem_id=f"{prefix}_lowest", show_label=False,
        height=_GALLERY_PX, **lossless(gr),
    )  # fmt: skip
    high = gr.Gallery(
        label="Suspicious model: highest scores",
        columns=4, visible=False, elem_id=f"{prefix}_highest", show_label=False,
        height=_GALLERY_PX, **lossless(gr),
    )  # fmt: skip
    return {part.elem_id: part for part in (card, charts, report, low, high)}


def shown(judged: Judged, remark: str = "") -> tuple[Any, ...]:
    """Values for :func:`verdict_parts`."""
    return (
        cards.verdict_card(judged.verdict, remark),
        cards.chart_card(judged.verdict, judged.suspect, judged.reference),
        [str(judged.report.html), str(judged.report.json)],
        judged.lowest,
        judged.highest,
    )
