"""The public page: try the whole process, coat and verify images, and read how it works."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

with contextlib.suppress(ImportError):
    import spaces  # noqa: F401 - if installed, it must be imported before torch

import gradio as gr
from asked import asked_cards
from finished import finished_cards
from guided import Guided, Length
from uncoated import finished_card

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import DatasetError, SirenError
from siren_ext.panels import html as cards
from siren_ext.panels.actions import Tiles, before_after, coat_step, verify_step
from siren_ext.panels.coat import coat_panel
from siren_ext.panels.gradio_compat import lossless, private, upload_paths
from siren_ext.panels.host import CoaterLibrary, JobFolders, PanelHost, UploadLimits
from siren_ext.panels.passive import passive_panel
from siren_ext.panels.references import reference_paths
from siren_ext.panels.robustness import robustness_panel
from siren_ext.panels.uploads import collect_images
from siren_ext.panels.verify import verdict_parts, verdict_values, verify_panel
from siren_ext.panels.widgets import connect, image_files, reveal, run_and_stop
from siren_ext.progress import NULL
from siren_ext.report.redaction import clean as redacted
from siren_ext.samples.folder import sample_set
from siren_ext.scoring.score import score_folder
from siren_ext.training.prompts import class_noun
from siren_ext.workflows.demo import demo_key

FILE_MB = 15
MEGAPIXELS = 25
"""A photo of an ordinary camera is accepted as it is."""
UNCOATED_FILES = 30
"""Images per set of the test without a coating, which passes each through a model many times."""
KEEP_MINUTES = 15
QUEUE = 20
HERE = Path(__file__).resolve().parent
WORDS = json.loads((HERE / "words.json").read_text(encoding="utf-8"))


def make_host() -> PanelHost:
    """The panels' host for a public page: small uploads, no local folders, no kept results.

    Returns
    -------
    PanelHost
        Limits, coaters and temporary folders.
    """
    limits = UploadLimits(
        files=150, file_mb=FILE_MB, total_mb=200, megapixels=MEGAPIXELS, folders=False
    )
    return PanelHost(
        limits=limits, coaters=CoaterLibrary(device="cpu"), jobs=JobFolders(KEEP_MINUTES)
    )


def build(host: PanelHost | None = None, length: Length | None = None) -> Any:
    """Build the page.

    Parameters
    ----------
    host : PanelHost | None
        Limits, coaters and folders; None for those of :func:`make_host`.
    length : Length | None
        Amounts of the guided demo; None for the defaults.

    Returns
    -------
    Any
        The page as ``gr.Blocks``.
    """
    host = host or make_host()
    guided, pictures = Guided(host, length), example_pictures(host)
    minutes = KEEP_MINUTES * 60
    with gr.Blocks(title="Siren", delete_cache=(minutes // 3, minutes)) as page:
        gr.HTML(cards.intro(), elem_id="siren_style")
        gr.Markdown(WORDS["head"], elem_id="siren_head")
        with gr.Tabs(elem_id="siren_tabs"):
            with gr.Tab("Try it", elem_id="siren_tab_try"):
                try_panel(host, guided, pictures)
            with gr.Tab("Coat", elem_id="siren_tab_coat"):
                gr.Markdown(WORDS["coat"])
                coat_panel(gr, host)
            with gr.Tab("How robust?", elem_id="siren_tab_robustness"):
                robustness_panel(gr, host)
            with gr.Tab("Verify", elem_id="siren_tab_verify"):
                verify_panel(gr, host)
            with gr.Tab("A model's file", elem_id="siren_tab_asked"):
                asked_panel()
            with gr.Tab("My images, not coated", elem_id="siren_tab_uncoated"):
                uncoated_panel(host)
            with gr.Tab("How it works", elem_id="siren_tab_how"):
                how_panel(pictures)
        gr.Markdown(WORDS["foot"].format(minutes=KEEP_MINUTES))
        add_api(host)
    return page


def try_panel(host: PanelHost, guided: Guided, pictures: Tiles) -> None:
    """Lay out the guided demo, below it the end of an earlier run.

    Parameters
    ----------
    host : PanelHost
        Limits, coaters and folders.
    guided : Guided
        Runs the demo.
    pictures : Tiles
        What :func:`example_pictures` made.
    """
    length = guided.length
    gr.Markdown(
        WORDS["try"].format(
            images=length.images,
            steps=length.training_steps,
            suspect=length.suspect_images,
            risk=f"1 in {round(1 / length.alpha):,}",
        )
    )
    with gr.Row():
        source = gr.Radio(
            ["Sample images", "My own images"], value="Sample images", label="What to protect",
            elem_id="siren_try_source",
        )  # fmt: skip
        noun = gr.Textbox(
            label="What your images show, in one word (dog, portrait)", value="",
            elem_id="siren_try_noun", visible=False,
        )  # fmt: skip
    limits = UploadLimits(files=length.images, file_mb=FILE_MB, total_mb=100, megapixels=MEGAPIXELS)
    with gr.Column(visible=False) as own:
        files = image_files(gr, "siren_try_files", "Your images", limits)
    buttons = run_and_stop(gr, "siren_try", "Run it live", host.stops)
    card = gr.HTML(cards.note(WORDS["finished"], "An earlier run"), elem_id="siren_try_story")
    examples = gr.Gallery(
        pictures,
        label="Before and after: the image that changed most",
        show_label=False,
        columns=3,
        elem_id="siren_try_looks",
        **lossless(gr),
    )  # fmt: skip
    outputs = verdict_parts(gr, "siren_try", finished_cards())

    def choose(kind: str) -> tuple[Any, Any]:
        mine = kind != "Sample images"
        return gr.update(visible=mine), gr.update(visible=mine)

    def run(kind: str, uploads: Any, noun: str, job_id: str) -> Iterator[tuple[Any, ...]]:
        images, blank = None, (None,) * len(outputs)
        try:
            if kind != "Sample images":
                images = collect_images(uploads, "", limits, host.jobs.new("own") / "images")
        except SirenError as error:
            yield reveal(gr, (cards.problem(str(error)), None, *blank))
            return
        for state in guided.run(images, noun, job_id):
            head = cards.story_card(state.lines())
            if state.error:
                head += cards.problem(state.error)
            elif state.stopped:
                head += cards.note("Nothing from this run is kept.", "Stopped")
            done = state.verification
            rest = verdict_values(done, WORDS["shortened"]) if done else blank
            yield reveal(gr, (head, state.examples, *rest))

    source.change(choose, [source], [own, noun], **private(gr))
    shown = [card, examples, *outputs.values()]
    connect(gr, buttons, ready, on_gpu(run), [source, files, noun], shown)


def ready(kind: str, uploads: Any, noun: str) -> None:
    """Refuse an incomplete form at once, not after waiting for other visitors' runs.

    Parameters
    ----------
    kind : str
        What to protect, as chosen.
    uploads : Any
        Value of the file field.
    noun : str
        What the images show.

    Raises
    ------
    SirenError
        The visitor's own images were chosen, and images or the word are missing.
    """
    if kind == "Sample images":
        return
    if not upload_paths(uploads):
        raise DatasetError("No images were given; add files first.")
    class_noun(noun)


def on_gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a function on a GPU if the host provides one on request.

    Parameters
    ----------
    function : Callable[..., Any]
        The function.

    Returns
    -------
    Callable[..., Any]
        ``function``, with a GPU for up to two minutes if the package ``spaces`` is installed.
    """
    try:
        import spaces
    except ImportError:
        return function
    with_gpu: Callable[..., Any] = spaces.GPU(duration=120)(function)
    return with_gpu


def asked_panel() -> None:
    """Lay out the test of a model's file: its story and a finished test."""
    gr.Markdown(WORDS["asked"])
    for number, card in enumerate(asked_cards()):
        gr.HTML(card, elem_id=f"siren_asked_{number}")
    gr.Markdown(WORDS["asked_own"])


def uncoated_panel(host: PanelHost) -> None:
    """Lay out the test of images without a coating: its story, a finished test, and the form.

    Parameters
    ----------
    host : PanelHost
        Limits and folders. Fewer images are accepted, and only LoRAs for the bundled model.
    """
    gr.Markdown(WORDS["uncoated"])
    gr.HTML(finished_card(), elem_id="siren_uncoated_finished")
    gr.Markdown(WORDS["uncoated_own"].format(files=UNCOATED_FILES))
    limits = replace(host.limits, files=UNCOATED_FILES, total_mb=100, folders=False)
    passive_panel(gr, replace(host, limits=limits))


def how_panel(pictures: Tiles) -> None:
    """Lay out the explanation.

    Parameters
    ----------
    pictures : Tiles
        What :func:`example_pictures` made.
    """
    gr.HTML((HERE / "how.html").read_text(encoding="utf-8"), elem_id="siren_how_flow")
    gr.Gallery(
        value=pictures,
        label="An example: original, coated, and the difference amplified 10 times",
        show_label=False,
        columns=3,
        elem_id="siren_how_looks",
        **lossless(gr),
    )
    gr.Markdown(WORDS["how"])


def example_pictures(host: PanelHost) -> Tiles:
    """Coat one sample image.

    Parameters
    ----------
    host : PanelHost
        Coaters.

    Returns
    -------
    Tiles
        Paths and captions of three pictures, kept for a month.
    """
    whole = sample_set()
    data = ImageSet(whole.items[:1], whole.root, whole.name)
    job, coater = JobFolders(keep_minutes=60 * 24 * 30).new("how"), host.coaters.load("keyed")
    key = demo_key(0, coater.config.message_bits)
    return before_after(coat_step(data, coater, job, key=key), data, job)


def add_api(host: PanelHost) -> None:
    """Add the API endpoints ``/coat``, ``/score`` and ``/verify``, using invisible components.

    Files go through file components so that Gradio checks that they are uploads.

    Parameters
    ----------
    host : PanelHost
        Limits, coaters and folders.
    """
    with gr.Column(visible=False):
        images = gr.File(file_count="multiple", label="images")
        reference = gr.File(file_count="multiple", label="reference images, or score files")
        coater = gr.File(label="coater file; without one, the bundled coater 'samples' is used")
        strength = gr.Number(value=1, label="strength")
        alpha = gr.Number(value=1e-6, label="accepted risk of a false alarm")
        archive, report, answer = gr.File(), gr.File(file_count="multiple"), gr.JSON()
        buttons = [gr.Button() for _ in range(3)]

    def coat(given: Any, own: Any, power: float) -> tuple[str, dict[str, Any]]:
        with host.jobs.working("api") as job:
            data = ImageSet.open(collect_images(given, "", host.limits, job / "originals"))
            done = coat_step(data, host.coaters.load("samples", own), job, strength=power)
        images = [
            {"file": e.output, "psnr_db": e.psnr_db, "before": e.clean_score,
             "after": e.coated_score}
            for e in done.manifest.entries
        ]  # fmt: skip
        left_out = [{"file": f.source, "error": f.error} for f in done.manifest.failures]
        facts = {"coater": done.manifest.coater, "images": images, "failures": left_out}
        return str(done.archive), facts

    def score(given: Any, own: Any) -> dict[str, Any]:
        with host.jobs.working("api") as job:
            place = collect_images(given, "", host.limits, job / "images", flat=True)
            return score_folder(place, host.coaters.load("samples", own), progress=NULL).to_dict()

    def verify(given: Any, other: Any, own: Any, risk: float) -> tuple[dict[str, Any], list[str]]:
        with host.jobs.working("api") as job:
            suspect = collect_images(
                given, "", host.limits, job / "suspect", what="suspicious images", flat=True
            )
            clean = reference_paths(other, "", host, job)
            verification = verify_step(
                suspect, clean, host.coaters.load("samples", own), job, alpha=risk
            )
        return verification.verdict.to_dict(), [
            str(verification.report.html),
            str(verification.report.json),
        ]

    events = (
        ("coat", coat, [images, coater, strength], [archive, answer]),
        ("score", score, [images, coater], [answer]),
        ("verify", verify, [images, reference, coater, alpha], [answer, report]),
    )
    for button, (name, function, inputs, outputs) in zip(buttons, events, strict=True):
        button.click(friendly(function), inputs, outputs, api_name=name)


def friendly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the package's errors into errors that Gradio shows to its clients.

    Parameters
    ----------
    function : Callable[..., Any]
        Handles a request.

    Returns
    -------
    Callable[..., Any]
        The same function, raising ``gr.Error`` instead of a :class:`SirenError`.
    """

    @functools.wraps(function)
    def run(*values: Any) -> Any:
        try:
            return function(*values)
        except SirenError as error:
            raise gr.Error(str(redacted(str(error)))) from error

    return run


def main() -> None:
    """Serve the page."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    # hosts stop programs with SIGTERM; handled like Ctrl-C so that temporary files are deleted
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    page = build().queue(default_concurrency_limit=1, max_size=QUEUE)
    page.launch(max_file_size=f"{FILE_MB}mb", show_error=True, theme=gr.themes.Soft())


if __name__ == "__main__":
    main()
