"""The panel that coats images."""

from __future__ import annotations

from typing import Any

from siren_ext.panels import html as cards
from siren_ext.panels.actions import before_after, coat_step
from siren_ext.panels.gradio_compat import lossless, private
from siren_ext.panels.host import Desk, PanelProgress
from siren_ext.panels.keys import key_choice, key_maker, open_key
from siren_ext.panels.uploads import take_in
from siren_ext.panels.widgets import coater_choice, folder_box, image_files, reveal, run_and_stop

_SINGLE_FILES = 50
_KEY_WORDS = (
    "A keyed coater writes your secret message into every image. With that key a model can be "
    "tested later without any reference model."
)
_KEY_COMMAND = "siren-ext coat photos --coater coater.safetensors --key keys.json --out coated"


def coat_panel(gr: Any, desk: Desk | None = None) -> dict[str, Any]:
    """Lay out coating inside the current ``gr.Blocks``; gives the components by elem_id.

    Uploads or a folder go in; a ZIP, the single PNG files and the private record come out as
    downloads, with a card of figures and enlarged differences.
    """
    desk = desk or Desk()
    gr.HTML(
        cards.intro(
            "Adds an invisible coating to your images before you publish them. A model that is "
            "trained on them later gives itself away: see Verify."
        ),
        elem_id="siren_coat_intro",
    )
    files = image_files(gr, "siren_coat_files", "Images, or ZIP archives of images", desk.limits)
    folder = folder_box(gr, "siren_coat_folder", "… or a folder on this machine", desk.limits)
    choice = coater_choice(gr, "siren_coat", desk.shelf)
    keys = key_choice(gr, "siren_coat", desk.limits, _KEY_WORDS, _KEY_COMMAND)
    maker = key_maker(gr, "siren_coat", desk, choice)
    with gr.Row():
        strength = gr.Slider(
            0.25, 2, value=1, step=0.05, min_width=240, label="Strength (1 = as trained)",
            elem_id="siren_coat_strength",
        )  # fmt: skip
        layout = gr.Radio(
            ["Plain folder", "Training folder (kohya)"],
            value="Plain folder",
            label="Output",
            min_width=240,
            elem_id="siren_coat_layout",
        )
    start, _, word = run_and_stop(gr, "siren_coat", "Coat the images", desk.stops)
    card = gr.HTML(elem_id="siren_coat_result")
    with gr.Row():
        archive = gr.File(label="All coated files (ZIP)", visible=False, elem_id="siren_coat_zip")
        record = gr.File(
            label="Record: keep it, don't publish it", visible=False, elem_id="siren_coat_record"
        )
    singles = gr.File(
        label="Single files (PNG)",
        file_count="multiple",
        visible=False,
        elem_id="siren_coat_singles",
    )
    looks = gr.Gallery(
        label="Before and after: the most changed image",
        show_label=False,
        columns=3,
        visible=False,
        elem_id="siren_coat_looks",
        **lossless(gr),
    )
    bar = gr.Progress()

    def run(
        given: Any, typed: str, name: str, upload: Any, key_file: Any, secret: str,
        recipient: str, power: float, kind: str, job_word: str, progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            from siren_ext.data.dataset import ImageSet

            watch = PanelProgress(progress, desk.stops, job_word)
            watch.stage("Reading the images")
            coater = desk.shelf.load(name, upload)
            key = open_key(key_file, secret, recipient)
            job = desk.jobs.new("coat")
            place = take_in(given, typed, desk.limits, job / "originals")
            data = ImageSet.open(place)
            out = None
            if desk.outputs is not None and not given:
                out = desk.outputs / "coated" / place.resolve().name
            way = "kohya" if kind.startswith("Training") else "plain"
            done = coat_step(
                data, coater, job, out=out, strength=power, layout=way, key=key, progress=watch
            )
            return (
                cards.coat_card(done),
                str(done.archive),
                str(done.record),
                [str(path) for path in done.files[:_SINGLE_FILES]],
                before_after(done, data, job),
            )

        return reveal(gr, cards.attempt(work, (None, None, None, None)))

    start.then(
        run,
        [files, folder, *choice, *keys, strength, layout, word],
        [card, archive, record, singles, looks],
        **private(gr),
    )
    shown = [files, folder, *choice, *keys, strength, layout]
    shown += [card, archive, record, singles, looks]
    return {part.elem_id: part for part in shown} | maker
