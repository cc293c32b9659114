"""The panel "Which images?": which of the owner's images shaped a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture
from siren_ext.errors import ConfigError
from siren_ext.panels import html as cards
from siren_ext.panels.gradio_compat import lossless, upload_field, upload_paths
from siren_ext.panels.host import PanelHost, PanelProgress
from siren_ext.panels.packages import absent_notice
from siren_ext.panels.passive import base_model
from siren_ext.panels.uploads import check_given, collect_images
from siren_ext.panels.widgets import (
    ONE_FILE_PX,
    connect,
    folder_box,
    image_files,
    reveal,
    run_and_stop,
)
from siren_ext.progress import Progress

if TYPE_CHECKING:
    from siren_ext.workflows.image_attribution import ImageAttribution

SPEEDS = {"quick and rough (20 gradients per image)": 2, "full (100 gradients per image)": 10}
"""What the choice of speed shows, to the noises at each of ten noise levels."""
_ABOUT = (
    "For a picture that was made with a LoRA. This ranks your images by an estimate of how much "
    "each one shaped the picture. Without the LoRA, only the files are compared.",
    "This does not prove that the picture is a copy, or that the model was trained on your "
    "images: some image always ranks first. The estimate is rough; in a study of the bundled "
    "model the scores predicted little about generated pictures. This takes minutes with a small "
    "model, and up to hours with a full checkpoint.",
)
_PICTURES = "pictures in question"
_SHOWN = 12
_TILE_PX = 320

Tiles = list[tuple[str, str]]


def attribution_panel(gr: Any, host: PanelHost | None = None) -> dict[str, Any]:
    """Lay out the ranking of images inside the current ``gr.Blocks``.

    If the packages that run a diffusion model are not installed, the panel is only a message that
    says so.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    host : PanelHost | None
        Limits and folders; None for the defaults.

    Returns
    -------
    dict[str, Any]
        The components by their ``elem_id``.
    """
    host = host or PanelHost()
    gr.HTML(cards.intro(*_ABOUT), elem_id="siren_influence_intro")
    if absent := absent_notice(gr, "siren_influence", "siren-ext attribute images"):
        return absent
    inputs = _inputs(gr, host)
    buttons = run_and_stop(gr, "siren_influence", "Rank my images", host.stops)
    card = gr.HTML(elem_id="siren_influence_result")
    page = gr.File(label="Page with all scores", visible=False, elem_id="siren_influence_page")
    pictures = gr.Gallery(
        label="Your images with the highest scores",
        show_label=False,
        columns=4,
        visible=False,
        elem_id="siren_influence_gallery",
        **lossless(gr),
    )
    outputs = [card, page, pictures]
    connect(gr, buttons, _checker(host), _runner(gr, host), inputs, outputs)
    return {part.elem_id: part for part in (*inputs, *outputs)}


def _inputs(gr: Any, host: PanelHost) -> list[Any]:
    """The fields in the order of the runner's arguments."""
    with gr.Row():
        with gr.Column():
            text = "The picture in question, with its prompt as a .txt file if you know it"
            pictures = image_files(gr, "siren_influence_pictures", text, host.limits)
        with gr.Column():
            files = image_files(gr, "siren_influence_files", "Your images", host.limits)
            text = "… or a folder on this machine"
            folder = folder_box(gr, "siren_influence_folder", text, host.limits)
    with gr.Row():
        base = gr.Textbox(
            label="Model that the LoRA is for: pocket (built in), or the path of a checkpoint",
            value="pocket",
            min_width=240,
            elem_id="siren_influence_base",
            visible=host.limits.folders,
        )
        speed = gr.Dropdown(
            list(SPEEDS),
            value=list(SPEEDS)[-1],
            label="Speed",
            min_width=240,
            elem_id="siren_influence_speed",
        )
    lora = upload_field(
        gr,
        label="LoRA that made the picture (.safetensors); leave it empty if you don't have it",
        file_types=[".safetensors"],
        height=ONE_FILE_PX,
        elem_id="siren_influence_lora",
    )
    return [pictures, files, folder, base, speed, lora]


def _checker(host: PanelHost) -> Callable[..., None]:
    """What is checked before the job is queued."""

    def check(pictures: Any, files: Any, folder: str, base: str, speed: str, _: Any) -> None:
        check_given(pictures, "", host.limits, what=_PICTURES)
        check_given(files, folder, host.limits)
        base_model(base, host)
        _noises(speed)

    return check


def _noises(text: str) -> int:
    if text not in SPEEDS:
        raise ConfigError(f"There is no speed {text!r}; expected one of {', '.join(SPEEDS)}.")
    return SPEEDS[text]


def _runner(gr: Any, host: PanelHost) -> Callable[..., tuple[Any, ...]]:
    """The function behind the run button."""
    bar = gr.Progress()

    def run(
        pictures: Any, files: Any, folder: str, base: str, speed: str, lora: Any,
        job_id: str, progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watched = PanelProgress(progress, host.stops, job_id)
            watched.stage("Reading the images")
            with host.jobs.working("influence") as job:
                notes: list[str] = []
                asked = collect_images(
                    pictures, "", host.limits, job / "pictures", what=_PICTURES, notes=notes
                )
                owned = collect_images(files, folder, host.limits, job / "images", notes=notes)
                adapters = upload_paths(lora)
                done = attribution_step(
                    owned, asked, base_model(base, host), adapters[0] if adapters else None, job,
                    watched, noises=_noises(speed), device=host.coaters.device,
                )  # fmt: skip
                card = attribution_card(done) + cards.notices(notes)
                return card, str(done.report.html), attribution_tiles(done, job / "tiles")

        return reveal(gr, cards.attempt(work, (None, None)))

    return run


def attribution_step(
    data: Path,
    pictures: Path,
    base: str,
    lora: Path | None,
    job: Path,
    progress: Progress,
    *,
    noises: int = 10,
    device: str = "auto",
) -> ImageAttribution:
    """Rank images by how much each of them shaped some pictures, and write the page.

    Parameters
    ----------
    data, pictures : Path
        Folders of the owner's images and of the pictures in question.
    base : str
        ``pocket``, or the path of a checkpoint.
    lora : Path | None
        The LoRA that made the pictures; None compares only the files.
    job : Path
        Temporary folder.
    progress : Progress
        Counts the gradients.
    noises : int
        Noises at each noise level.
    device : str
        ``auto`` or a torch device name.

    Returns
    -------
    ImageAttribution
        The ranking and its files.

    Raises
    ------
    SirenError
        The images or the model can't be used.
    Cancelled
        The user stopped.
    """
    import torch

    from siren_ext.attribution.config import AttributionConfig
    from siren_ext.suspects.local import LocalSuspect
    from siren_ext.workflows.image_attribution import rank_images

    return rank_images(
        ImageSet.open(data),
        ImageSet.open(pictures),
        LocalSuspect(base, lora, device=device, dtype=torch.float32),
        job / "report",
        AttributionConfig(noises=noises),
        cache=job / "gradients.safetensors",
        progress=progress,
    )


def attribution_card(done: ImageAttribution) -> str:
    """A ranking as HTML.

    Parameters
    ----------
    done : ImageAttribution
        The ranking.

    Returns
    -------
    str
        The first image, what the ranking does not prove, and the notes.
    """
    skipped = [f"{name} was skipped: {why}" for name, why in done.problems]
    limits = cards.note(" ".join(done.does_not_prove), "What this does not prove")
    ranked = cards.note(done.found.headline, "An estimate")
    return ranked + limits + cards.notices([*done.found.notes, *skipped])


def attribution_tiles(done: ImageAttribution, folder: Path) -> Tiles:
    """The images with the highest scores, as small PNG files.

    Parameters
    ----------
    done : ImageAttribution
        The ranking.
    folder : Path
        A new folder for them.

    Returns
    -------
    Tiles
        Up to 12 files, each with its name, score and rank.

    Raises
    ------
    ImageError
        An image can't be read.
    """
    folder.mkdir(parents=True)
    tiles: Tiles = []
    for file, caption in zip(done.files[:_SHOWN], done.lines(_SHOWN), strict=True):
        image = Image.fromarray(np.ascontiguousarray(read_picture(file).rgb))
        image.thumbnail((_TILE_PX, _TILE_PX), Image.Resampling.LANCZOS)
        path = folder / f"{len(tiles):02d}.png"
        image.save(path)
        tiles.append((str(path), caption))
    return tiles
