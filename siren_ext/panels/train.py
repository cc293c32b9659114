"""The panel that trains a coater for the owner's images."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from siren_ext.errors import CoaterError, ConfigError
from siren_ext.panels import html as cards
from siren_ext.panels.gradio_compat import private
from siren_ext.panels.host import Desk, PanelProgress
from siren_ext.panels.uploads import take_in
from siren_ext.panels.widgets import folder_box, image_files, reveal, run_and_stop
from siren_ext.training.config import TrainConfig

_NEEDED = ("diffusers", "transformers", "peft", "accelerate")
KINDS = {
    "Fine detail (trained)": "default",
    "Faint tint, for sets of very different pictures (fitted: quick)": "coarse",
    "For a key, with a secret message; needs no reference model later (fitted: quick)": "keyed",
}
"""What a coating is made of, in words, to a preset's name."""
_NAME = re.compile(r"[\w][\w .-]{0,63}")


def missing_packages() -> list[str]:
    """What training needs and this Python lacks."""
    return [name for name in _NEEDED if find_spec(name) is None]


def train_panel(gr: Any, desk: Desk | None = None) -> dict[str, Any]:
    """Lay out coater training inside the current ``gr.Blocks``; gives the components by elem_id.

    Where the packages that run a diffusion model are absent, the panel says so in their place.
    """
    desk = desk or Desk()
    gr.HTML(
        cards.intro(
            "Trains a coater of your own, so that only you can verify its coating. This is the "
            "long step: minutes with the pocket model, hours with a full checkpoint and a GPU."
        ),
        elem_id="siren_train_intro",
    )
    absent = missing_packages()
    if absent:
        text = (
            f"Training needs packages that are not installed here: {', '.join(absent)}. Train in "
            "an environment of its own with 'siren-ext train' and put the coater file into the "
            "coater folder; coating and verifying work here without them."
        )
        notice = gr.HTML(cards.note(text, "Not available here"), elem_id="siren_train_absent")
        return {"siren_train_absent": notice}
    files = image_files(gr, "siren_train_files", "Your clean images", desk.limits)
    folder = folder_box(gr, "siren_train_folder", "… or a folder on this machine", desk.limits)
    with gr.Row():
        noun = gr.Textbox(
            label="What the images show, in a noun or two",
            value="",
            min_width=240,
            elem_id="siren_train_noun",
        )
        base = gr.Textbox(
            label="Base model: pocket, or a checkpoint on this machine",
            value="pocket",
            min_width=240,
            elem_id="siren_train_base",
            visible=desk.limits.folders,
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
        list(KINDS), value=next(iter(KINDS)), label="Kind of coating", elem_id="siren_train_kind"
    )
    start, _, word = run_and_stop(gr, "siren_train", "Train a coater", desk.stops)
    card = gr.HTML(elem_id="siren_train_result")
    result = gr.File(
        label="Coater: keep it to yourself", visible=False, elem_id="siren_train_coater"
    )
    bar = gr.Progress()

    def run(
        given: Any, typed: str, word_for: str, model: str, count: float, title: str, words: str,
        job_word: str, progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watch = PanelProgress(progress, desk.stops, job_word)
            watch.stage("Reading the images")
            job = desk.jobs.new("train")
            place = take_in(given, typed, desk.limits, job / "originals")
            out = coater_file(title, desk.shelf.folder or job)
            return train_step(place, model, word_for, int(count), out, watch, preset=KINDS[words])

        return reveal(gr, cards.attempt(work, (None,)))

    inputs = [files, folder, noun, base, steps, name, kind]
    start.then(run, [*inputs, word], [card, result], **private(gr))
    return {part.elem_id: part for part in (*inputs, card, result)}


def coater_file(title: str, folder: Path) -> Path:
    """Where a new coater goes; raises :class:`CoaterError` for a name that is none, or taken."""
    title = title.strip()
    if not _NAME.fullmatch(title):
        raise CoaterError(
            "The coater's name has to be 1 to 64 letters, digits, spaces, dots or dashes, "
            "beginning with a letter or digit."
        )
    path = folder / f"{title.removesuffix('.safetensors')}.safetensors"
    if path.exists():
        raise CoaterError(
            f"There is a coater named {path.name} already. It is not overwritten, as images coated "
            "with it can be verified with this very file only; choose another name."
        )
    return path


def train_step(
    place: Path,
    base: str,
    noun: str,
    steps: int,
    out: Path,
    progress: PanelProgress,
    *,
    preset: str = "default",
) -> tuple[str, str]:
    """Train, with ``steps`` for the surrogate as well; gives a card and the coater's file.

    ``coarse`` and ``keyed`` coaters are fitted instead, against a surrogate of so many steps.
    """
    from siren_ext.coater.bundled import coater_path, usual_start
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.data.dataset import ImageSet
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.training.prompts import class_noun, surrogate_prompt
    from siren_ext.training.recipes import train_for_base

    class_noun(noun)
    if base != "pocket" and not Path(base).exists():
        raise ConfigError(f"There is no model {base}; expected pocket, or a path that exists.")
    data = ImageSet.open(place)
    captioned = all(item.caption for item in data.items)
    surrogate = PersonalizeConfig(steps=steps, prompt=None if captioned else surrogate_prompt(noun))
    if preset == "default":
        config = TrainConfig(steps=steps, warmup=min(TrainConfig().warmup, steps // 3))
        shape, begin = None, Coater.load(coater_path(usual_start()))
        done = f"{out.name} was trained on {len(data)} images in {steps} steps."
    else:
        config, shape, begin = TrainConfig.preset(preset), CoaterConfig.preset(preset), None
        done = f"{out.name} was fitted to {len(data)} images."
    use = "Draw a key for it, coat with both" if preset == "keyed" else "Coat with it"
    train_for_base(
        data,
        base,
        noun,
        out,
        config,
        surrogate=surrogate,
        coater=shape,
        start=begin,
        progress=progress,
    )
    return cards.note(f"{done} {use}, keep it, and never publish it.", "Coater ready"), str(out)
