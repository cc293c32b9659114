"""The panel that trains a coater for the owner's images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.diffusion.load import BUNDLED
from siren_ext.errors import CoaterError, ConfigError
from siren_ext.panels import html as cards
from siren_ext.panels.host import PanelHost, PanelProgress
from siren_ext.panels.packages import absent_notice
from siren_ext.panels.passive import base_model
from siren_ext.panels.uploads import check_given, collect_images
from siren_ext.panels.widgets import connect, folder_box, image_files, reveal, run_and_stop
from siren_ext.progress import Progress
from siren_ext.training.config import TrainConfig

if TYPE_CHECKING:
    from siren_ext.personalize.config import PersonalizeConfig

KINDS = {
    "With a secret message, so that you can verify without a reference model (quick)": "keyed",
    "Fine pattern, no message (slow to make)": "default",
    "Faint tint, no message, for sets of very different images (quick)": "coarse",
}
"""What the choice of coating shows, to the name of a preset."""
METHODS = {
    "LoRA (most common)": "lora",
    "DreamBooth: all weights, with other pictures of the same kind": "dreambooth",
    "Full fine-tuning: all weights": "full",
    "SVDiff: few trained numbers, little overfitting": "svdiff",
}
"""What the choice of the copy's training shows, to the method of personalisation."""
_NAME = re.compile(r"[\w][\w .-]{0,63}")


def train_panel(gr: Any, host: PanelHost | None = None) -> dict[str, Any]:
    """Lay out coater training inside the current ``gr.Blocks``.

    If the packages that run a diffusion model are not installed, the panel is only a message that
    says so.

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
            "Trains your own coater, which nobody else has. This is the slow step: it takes "
            "minutes with the small built-in model (pocket), and hours with a full checkpoint on "
            "a GPU."
        ),
        elem_id="siren_train_intro",
    )
    more = (
        "Put its coater file into the coater folder. Coating and verifying don't need these "
        "packages."
    )
    if absent := absent_notice(gr, "siren_train", "siren-ext train", more):
        return absent
    inputs = _inputs(gr, host)
    buttons = run_and_stop(gr, "siren_train", "Train a coater", host.stops)
    card = gr.HTML(elem_id="siren_train_result")
    result = gr.File(
        label="Coater: keep it to yourself", visible=False, elem_id="siren_train_coater"
    )
    connect(gr, buttons, _checker(host), _runner(gr, host), inputs, [card, result])
    return {part.elem_id: part for part in (*inputs, card, result)}


def _inputs(gr: Any, host: PanelHost) -> list[Any]:
    """The fields in the order of the runner's arguments."""
    files = image_files(gr, "siren_train_files", "Your clean images", host.limits)
    folder = folder_box(gr, "siren_train_folder", "… or a folder on this machine", host.limits)
    with gr.Row():
        noun = gr.Textbox(
            label="What the images show, in one or two words (dog, portrait)",
            value="",
            min_width=240,
            elem_id="siren_train_noun",
        )
        base = gr.Textbox(
            label="Base model: pocket (built in), or the path of a checkpoint",
            value="pocket",
            min_width=240,
            elem_id="siren_train_base",
            visible=host.limits.folders,
        )
    with gr.Row():
        steps = gr.Slider(
            10, 2000, value=TrainConfig().steps, step=10, label="Training steps",
            min_width=240, elem_id="siren_train_steps",
        )  # fmt: skip
        name = gr.Textbox(
            label="Name of the coater", value="my-coater", min_width=240, elem_id="siren_train_name"
        )
    kind = gr.Radio(
        list(KINDS), value=next(iter(KINDS)), label="Type of coating", elem_id="siren_train_kind"
    )
    return [files, folder, noun, base, steps, name, kind, *_copy_inputs(gr)]


def _copy_inputs(gr: Any) -> list[Any]:
    """How a copy of the model learns the images, which the coater is then trained against."""
    with gr.Accordion("How other people may train", open=False, elem_id="siren_train_copy"):
        method = gr.Dropdown(
            list(METHODS),
            value=next(iter(METHODS)),
            label="First, a copy of the model learns your images. Method:",
            elem_id="siren_train_method",
        )
        rate = gr.Number(
            value=0,
            label="Learning rate of that copy (0: the usual one, meant for Stable Diffusion; the "
            "pocket model needs a higher one if all weights are trained)",
            elem_id="siren_train_rate",
        )
    return [method, rate]


def _checker(host: PanelHost) -> Callable[..., None]:
    """What is checked before the job is queued."""

    def check(
        uploads: Any, folder: str, noun: str, base: str, steps: float, name: str, kind: str,
        method: str, rate: float | None,
    ) -> None:  # fmt: skip
        check_given(uploads, folder, host.limits)
        check_model(base_model(base, host), noun)
        copy_settings(METHODS[method], steps, rate)
        coater_file(name, host.coaters.folder or Path())

    return check


def check_model(base: str, noun: str) -> None:
    """Check what a coater is trained against.

    Parameters
    ----------
    base : str
        ``pocket``, or the path of a checkpoint.
    noun : str
        What the images show.

    Raises
    ------
    ConfigError
        The noun can't be used, or there is no such checkpoint.
    """
    from siren_ext.training.prompts import class_noun

    class_noun(noun)
    if base not in BUNDLED and not Path(base).exists():
        raise ConfigError(
            f"There is no model {base}. Expected 'pocket', or the path of an existing checkpoint."
        )


def _runner(gr: Any, host: PanelHost) -> Callable[..., tuple[Any, ...]]:
    """The function behind the run button."""
    bar = gr.Progress()

    def run(
        uploads: Any, folder: str, noun: str, base: str, steps: float, name: str, kind: str,
        method: str, rate: float | None, job_id: str, progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watched = PanelProgress(progress, host.stops, job_id)
            watched.stage("Reading the images")
            with host.jobs.working("train") as job:
                notes: list[str] = []
                images = collect_images(
                    uploads, folder, host.limits, job / "originals", notes=notes
                )
                out = coater_file(name, host.coaters.folder or job)
                copy = copy_settings(METHODS[method], steps, rate)
                done = train_step(
                    images, base_model(base, host), noun, int(steps), out, watched,
                    preset=KINDS[kind], surrogate=copy,
                )  # fmt: skip
                return cards.with_notices(done, notes)

        return reveal(gr, cards.attempt(work, (None,)))

    return run


def copy_settings(method: str, steps: float, rate: float | None) -> PersonalizeConfig:
    """How a copy of the model learns the images.

    Parameters
    ----------
    method : str
        A method of ``siren-ext personalize`` that learns no new word.
    steps : float
        Training steps.
    rate : float or None
        Learning rate from 0 to 1; 0 or None for the method's own.

    Raises
    ------
    ConfigError
        A value is out of range.
    """
    from siren_ext.personalize.config import PersonalizeConfig

    return PersonalizeConfig.from_dict(
        {"method": method, "steps": int(steps), "learning_rate": float(rate or 0)}
    )


def coater_file(name: str, folder: Path) -> Path:
    """Path of a new coater.

    Parameters
    ----------
    name : str
        The name that the user typed, with or without the suffix.
    folder : Path
        Folder for the file.

    Returns
    -------
    Path
        A path that does not exist yet.

    Raises
    ------
    CoaterError
        The name can't be used, or there is a coater of that name.
    """
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise CoaterError(
            "The coater's name can't be used. Use 1 to 64 letters, digits, spaces, dots or dashes, "
            "starting with a letter or digit."
        )
    path = folder / f"{name.removesuffix('.safetensors')}.safetensors"
    if path.exists():
        raise CoaterError(
            f"There is already a coater named {path.name}. It was not overwritten, because images "
            "coated with it can only be verified with this file. Choose another name."
        )
    return path


def train_step(
    images: Path,
    base: str,
    noun: str,
    steps: int,
    out: Path,
    progress: Progress,
    *,
    preset: str = "default",
    surrogate: PersonalizeConfig | None = None,
) -> tuple[str, str]:
    """Train a coater against a personalised copy of the base model (the surrogate).

    Parameters
    ----------
    images : Path
        Folder of clean images.
    base : str
        ``pocket``, or the path of a checkpoint.
    noun : str
        What the images show.
    steps : int
        Training steps of the surrogate, and of a ``default`` coater.
    out : Path
        The coater's file; must not exist.
    progress : Progress
        Counts the steps.
    preset : str
        ``default`` is trained; ``coarse`` and ``keyed`` are fitted, which is quick.
    surrogate : PersonalizeConfig or None
        How the copy learns the images, from :func:`copy_settings`; None for a LoRA.

    Returns
    -------
    tuple[str, str]
        An HTML card and the path of the coater's file.

    Raises
    ------
    ConfigError
        The noun or the base model can't be used.
    """
    from siren_ext.coater.bundled import coater_path, usual_start
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.data.dataset import ImageSet
    from siren_ext.training.recipes import train_for_base

    check_model(base, noun)
    data = ImageSet.open(images)
    if preset == "default":
        config = TrainConfig(steps=steps, warmup=min(TrainConfig().warmup, steps // 3))
        shape, begin = None, Coater.load(coater_path(usual_start()))
        done = f"{out.name} was trained on {len(data)} images in {steps} steps."
    else:
        config, shape, begin = TrainConfig.preset(preset), CoaterConfig.preset(preset), None
        done = f"{out.name} was fitted to {len(data)} images."
    use = "Make a key for it and coat with both" if preset == "keyed" else "Coat with it"
    train_for_base(
        data, base, noun, out, config, surrogate=surrogate or copy_settings("lora", steps, None),
        coater=shape, start=begin, progress=progress,
    )  # fmt: skip
    text = f"{done} {use}. Keep the file safe and never publish it."
    return cards.note(text, "Coater ready") + cards.notices(data.notices), str(out)
