"""The panel that tests a folder of images against a reference, with a key, or both."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from siren_ext.panels import html as cards
from siren_ext.panels.actions import Verification, require_matching_key, verify_step
from siren_ext.panels.gradio_compat import lossless
from siren_ext.panels.host import PanelHost, PanelProgress
from siren_ext.panels.keys import commitment_path, key_choice, open_key, with_ledger
from siren_ext.panels.official import coater_import
from siren_ext.panels.references import check_references, reference_paths, references_given
from siren_ext.panels.uploads import check_given, collect_images
from siren_ext.panels.widgets import (
    RISKS,
    coater_choice,
    connect,
    folder_box,
    image_files,
    reveal,
    risk_choice,
    run_and_stop,
)

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey

KEY_TEXT = (
    "With the key that your images were coated with, the test looks for your secret message in "
    "the suspicious model's images. It needs no reference, and the style of another model can't "
    "mislead it."
)
_KEY_COMMAND = "siren-ext verify --suspect scores.json --key keys.json --out report"
_GALLERY_PX = 320
BLANKS = (None, None, None, None)
"""Values of all parts but the first of :func:`verdict_parts` when there is no verdict."""


def verify_panel(gr: Any, host: PanelHost | None = None) -> dict[str, Any]:
    """Lay out a verification inside the current ``gr.Blocks``.

    Takes images of the suspicious model, and those of a reference, a key or both. Returns a
    verdict in plain words, charts, the images with the lowest and highest scores, and the report.

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
            "Tests whether a suspicious model was trained on images that you coated. With a keyed "
            "coater, 30 or more images from the model and your key are enough.",
            "Without a key, its images are compared with those of a reference: a model that never "
            "saw a coated image, ideally one that you trained on the clean originals. Make both "
            "sets with the same prompts and settings; 100 images of the reference are a good "
            "start. You can give several references: each file of scores written by 'siren-ext "
            "score' counts as one, and images count as one more. Three or more are also compared "
            "as models.",
        ),
        elem_id="siren_verify_intro",
    )
    inputs, sections = _inputs(gr, host)
    buttons = run_and_stop(gr, "siren_verify", "Verify", host.stops)
    outputs = verdict_parts(gr, "siren_verify")
    connect(gr, buttons, _checker(host), _runner(gr, host), inputs, list(outputs.values()))
    return {part.elem_id: part for part in inputs} | outputs | sections


def _inputs(gr: Any, host: PanelHost) -> tuple[list[Any], dict[str, Any]]:
    """The fields in the order of the runner's arguments, and the components of other sections."""
    limits, other = host.limits, "… or a folder on this machine"
    with gr.Row():
        with gr.Column():
            suspect = image_files(gr, "siren_verify_suspect", "Suspicious model", limits)
            suspect_folder = folder_box(gr, "siren_verify_suspect_folder", other, limits)
        with gr.Column():
            label = "Reference images, or scores of one or more references (JSON)"
            reference = image_files(gr, "siren_verify_reference", label, limits, scores=True)
            reference_folder = folder_box(gr, "siren_verify_reference_folder", other, limits)
    coater = coater_choice(gr, "siren_verify", host.coaters)
    sections = coater_import(gr, "siren_verify", host, coater)
    keys = key_choice(gr, "siren_verify", limits, KEY_TEXT, _KEY_COMMAND, commitment=True)
    risk = risk_choice(gr, "siren_verify_risk", host.alpha)
    fields = [suspect, suspect_folder, reference, reference_folder, *coater, *keys, risk]
    return fields, sections


def _checker(host: PanelHost) -> Callable[..., None]:
    """What is checked before the job is queued."""

    def check(
        suspect: Any, suspect_folder: str, reference: Any, reference_folder: str,
        coater_name: str, coater_file: Any, key_file: Any, passphrase: str, recipient: str, *_: Any,
    ) -> None:  # fmt: skip
        check_given(suspect, suspect_folder, host.limits, what="suspicious images")
        coater = host.coaters.load(coater_name, coater_file)
        key = open_key(key_file, passphrase, recipient)
        require_matching_key(coater, key)
        if _has_reference(key, reference, reference_folder):
            check_references(reference, reference_folder, host)

    return check


def _has_reference(key: CoatingKey | None, upload: Any, folder: str) -> bool:
    """Whether to compare with a reference: always without a key, else if one was given."""
    return key is None or references_given(upload, folder)


def _runner(gr: Any, host: PanelHost) -> Callable[..., tuple[Any, ...]]:
    """The function behind the run button."""
    bar = gr.Progress()

    def run(
        suspect: Any, suspect_folder: str, reference: Any, reference_folder: str,
        coater_name: str, coater_file: Any, key_file: Any, passphrase: str, recipient: str,
        commitment: Any, ledger: Any, risk: str, job_id: str, progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watched = PanelProgress(progress, host.stops, job_id)
            watched.stage("Reading the images")
            coater = host.coaters.load(coater_name, coater_file)
            key = open_key(key_file, passphrase, recipient)
            with host.jobs.working("verify") as job:
                key = with_ledger(key, ledger, job)
                notes: list[str] = []
                images = collect_images(
                    suspect, suspect_folder, host.limits, job / "suspect",
                    what="suspicious images", flat=True, notes=notes,
                )  # fmt: skip
                others = []
                if _has_reference(key, reference, reference_folder):
                    others = reference_paths(reference, reference_folder, host, job, notes)
                done = verify_step(
                    images, others, coater, job, alpha=RISKS[risk], key=key,
                    commitment=commitment_path(commitment), progress=watched,
                )  # fmt: skip
                return cards.with_notices(verdict_values(done), notes)

        return reveal(gr, cards.attempt(work, BLANKS))

    return run


def verdict_parts(gr: Any, prefix: str, shown: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """The outputs of a verification.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    prefix : str
        First part of the components' ids.
    shown : tuple[str, str]
        HTML of a verdict and of its charts to begin with, "" for none.

    Returns
    -------
    dict[str, Any]
        The components by their ``elem_id``, in the order of :func:`verdict_values`.
    """
    card = gr.HTML(shown[0], elem_id=f"{prefix}_verdict")
    charts = gr.HTML(shown[1], visible=bool(shown[1]), elem_id=f"{prefix}_charts")
    report = gr.File(
        label="Report (open report.html in a browser). With a key file there is also its "
        "ledger: keep that",
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


def verdict_values(done: Verification, remark: str = "") -> tuple[Any, ...]:
    """Values for the components of :func:`verdict_parts`.

    Parameters
    ----------
    done : Verification
        A finished verification.
    remark : str
        A sentence for the verdict's card, "" for none.

    Returns
    -------
    tuple[Any, ...]
        One value per component.
    """
    return (
        cards.verdict_card(done.verdict, remark, preference=done.suspect.preference),
        cards.chart_card(done.verdict, done.suspect, done.reference) + cards.tint_card(done.alike),
        [
            str(path)
            for path in (done.report.html, done.report.json, done.ledger, *done.more)
            if path
        ],
        done.lowest,
        done.highest,
    )
