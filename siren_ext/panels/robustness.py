"""The panel "How robust is my coating?": what edits, codecs and restoring leave of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.panels import html as cards
from siren_ext.panels.host import PanelHost, PanelProgress
from siren_ext.panels.uploads import check_given, collect_images
from siren_ext.panels.widgets import (
    coater_choice,
    connect,
    folder_box,
    image_files,
    reveal,
    run_and_stop,
)
from siren_ext.progress import Progress
from siren_ext.workflows.robustness import RobustnessConfig, measure_robustness
from siren_ext.workflows.robustness_result import PAGE, Robustness

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

_ABOUT = (
    "For use before you publish. Coats a sample of your images, edits and compresses them as "
    "other people might, and shows what is left of the coating. Add 24 or more uncoated images.",
    "This is about the coating in the images, not about what a model learns from them. A keyed "
    "coater is tested with a random message, so no key is needed.",
)
_COUNTS = ("12", "24", "48", "96")


def robustness_panel(gr: Any, host: PanelHost | None = None) -> dict[str, Any]:
    """Lay out the test of a coating inside the current ``gr.Blocks``.

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
    gr.HTML(cards.intro(*_ABOUT), elem_id="siren_robustness_intro")
    files = image_files(gr, "siren_robustness_files", "Uncoated images", host.limits)
    folder = folder_box(gr, "siren_robustness_folder", "… or a folder on this machine", host.limits)
    coater = coater_choice(gr, "siren_robustness", host.coaters)
    with gr.Row():
        strength = gr.Slider(
            0.25,
            2,
            value=1,
            step=0.05,
            min_width=240,
            label="Strength of the coating",
            elem_id="siren_robustness_strength",
        )
        count = gr.Dropdown(
            list(_COUNTS),
            value="48",
            min_width=240,
            label="Largest number of images to use (more images take longer and give narrower "
            "intervals)",
            elem_id="siren_robustness_count",
        )
    inputs = [files, folder, *coater, strength, count]
    buttons = run_and_stop(gr, "siren_robustness", "Test the coating", host.stops)
    card = gr.HTML(elem_id="siren_robustness_result")
    page = gr.File(label="Page with the table", visible=False, elem_id="siren_robustness_page")
    connect(gr, buttons, _checker(host), _runner(gr, host), inputs, [card, page])
    return {part.elem_id: part for part in (*inputs, card, page)}


def robustness_step(
    data: ImageSet,
    coater: Coater,
    out: Path,
    *,
    strength: float,
    count: str,
    progress: Progress,
) -> tuple[Robustness, Path]:
    """Measure a coating with the quick attacks.

    Parameters
    ----------
    data : ImageSet
        Uncoated images.
    coater : Coater
        The coater.
    out : Path
        A new folder.
    strength : float
        Strength of the coating.
    count : str
        Most images to use, as chosen.
    progress : Progress
        May cancel.

    Returns
    -------
    tuple[Robustness, Path]
        The figures, and the page.

    Raises
    ------
    SirenError
        As :func:`~siren_ext.workflows.robustness.measure_robustness`.
    """
    config = RobustnessConfig(images=_count(count), strength=strength)
    return measure_robustness(data, coater, out, config, progress=progress), out / PAGE


def robustness_card(found: Robustness) -> str:
    """The figures as HTML.

    Parameters
    ----------
    found : Robustness
        The figures.

    Returns
    -------
    str
        The summary, the table and the notes.
    """
    lines = found.warnings() + [f"Left out: {name}: {why}" for name, why in found.problems.items()]
    title = f"{found.images} images measured"
    table = f'<div class="siren">{found.fragment()}</div>'
    return cards.note(found.summary(), title) + table + cards.notices(lines)


def _count(text: str) -> int:
    if text not in _COUNTS:
        raise ConfigError(
            f"{text!r} is not a number of images to choose from; expected one of "
            f"{', '.join(_COUNTS)}."
        )
    return int(text)


def _checker(host: PanelHost) -> Callable[..., None]:
    """What is checked before the job is queued."""

    def check(
        uploads: Any, folder: str, coater_name: str, coater_file: Any, strength: float, count: str
    ) -> None:
        check_given(uploads, folder, host.limits)
        host.coaters.load(coater_name, coater_file)
        RobustnessConfig(images=_count(count), strength=strength)

    return check


def _runner(gr: Any, host: PanelHost) -> Callable[..., tuple[Any, ...]]:
    """The function behind the run button."""
    bar = gr.Progress()

    def run(
        uploads: Any, folder: str, coater_name: str, coater_file: Any, strength: float, count: str,
        job_id: str, progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watched = PanelProgress(progress, host.stops, job_id)
            watched.stage("Reading the images")
            coater = host.coaters.load(coater_name, coater_file)
            with host.jobs.working("robustness") as job:
                notes: list[str] = []
                source = collect_images(
                    uploads, folder, host.limits, job / "originals", notes=notes
                )
                found, page = robustness_step(
                    ImageSet.open(source),
                    coater,
                    job / "result",
                    strength=strength,
                    count=count,
                    progress=watched,
                )
                return robustness_card(found) + cards.notices(notes), str(page)

        return reveal(gr, cards.attempt(work, (None,)))

    return run
