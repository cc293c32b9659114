"""The panel that tests a LoRA inside a program that can generate images with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from siren_ext.errors import ConfigError
from siren_ext.panels import html as cards
from siren_ext.panels.actions import judge_step, require_match
from siren_ext.panels.gradio_compat import private
from siren_ext.panels.host import Desk, PanelProgress
from siren_ext.panels.keys import commitment_of, key_choice, open_key
from siren_ext.panels.verify import BLANKS, KEY_WORDS, shown, verdict_parts
from siren_ext.panels.widgets import RISKS, coater_choice, reveal, risk_choice, run_and_stop
from siren_ext.progress import Progress

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey

NO_LORA = "none: the checkpoint alone"
KEY_ALONE = "no reference: the key alone"
_KEY_COMMAND = "siren-ext verify --suspect scores.json --key keys.json --out report"
BARE_REFERENCE = (
    "The reference is the checkpoint without any LoRA. A LoRA changes style and subject as well, "
    "and that alone can shift scores: a stronger reference is a LoRA of your own, trained on your "
    "clean originals."
)


@dataclass(frozen=True)
class Order:
    """Which images a program is asked for: image i has prompt i (in turn) and seed + i.

    ``loras`` are (name, weight); empty for the checkpoint alone. ``role`` is shown as
    progress.
    """

    checkpoint: str
    loras: tuple[tuple[str, float], ...]
    prompts: tuple[str, ...]
    count: int
    seed: int
    steps: int
    guidance: float
    size: int
    negative: str = ""
    role: str = "suspicious model"


class GeneratingHost(Protocol):
    """A program that holds checkpoints and LoRAs and can generate with them."""

    def checkpoints(self) -> list[str]:
        """Titles of the checkpoints, the loaded one first."""

    def loras(self) -> list[str]:
        """Names of the LoRA files."""

    def generate(self, order: Order, out: Path, progress: Progress) -> dict[str, Any]:
        """Write ``order.count`` PNG files into ``out``; gives how they were made, plain values."""


def lora_panel(gr: Any, host: GeneratingHost, desk: Desk | None = None) -> dict[str, Any]:
    """Lay out the test of a LoRA inside the current ``gr.Blocks``; components by elem_id.

    The host generates with the suspicious LoRAs and with the reference at equal prompts, seeds and
    settings; the pools are scored and tested. With a key the reference may be left out.
    """
    desk = desk or Desk()
    checkpoints, loras = host.checkpoints(), host.loras()
    gr.HTML(
        cards.intro(
            "Generates images with a suspicious LoRA and with a reference, at equal prompts and "
            "seeds, and tests whether the LoRA was trained on images coated with your coater. With "
            "the key of a keyed coater the reference can be left out."
        ),
        elem_id="siren_lora_intro",
    )
    with gr.Row():
        checkpoint = gr.Dropdown(
            checkpoints, value=checkpoints[0] if checkpoints else None, label="Checkpoint",
            elem_id="siren_lora_checkpoint",
        )  # fmt: skip
        suspect = gr.Dropdown(
            loras, value=[], multiselect=True, label="Suspicious LoRA(s)",
            elem_id="siren_lora_suspect",
        )  # fmt: skip
        reference = gr.Dropdown(
            [NO_LORA, KEY_ALONE, *loras], value=NO_LORA, label="Reference: your own clean LoRA",
            elem_id="siren_lora_reference",
        )  # fmt: skip
        refresh = gr.Button("Refresh the lists", elem_id="siren_lora_refresh")
    prompts = gr.Textbox(
        label="Prompts, one a line, taken in turn", lines=3, elem_id="siren_lora_prompts"
    )
    negative = gr.Textbox(label="Negative prompt", value="", elem_id="siren_lora_negative")
    with gr.Row():
        count = gr.Slider(4, 400, value=30, step=1, label="Images of the suspicious LoRA",
                          elem_id="siren_lora_count")  # fmt: skip
        more = gr.Slider(4, 400, value=100, step=1, label="Images of the reference",
                         elem_id="siren_lora_more")  # fmt: skip
        weight = gr.Slider(0.1, 1.5, value=1, step=0.05, label="LoRA weight",
                           elem_id="siren_lora_weight")  # fmt: skip
    with gr.Row():
        steps = gr.Slider(1, 100, value=20, step=1, label="Sampling steps",
                          elem_id="siren_lora_steps")  # fmt: skip
        guidance = gr.Slider(1, 20, value=7, step=0.5, label="CFG scale",
                             elem_id="siren_lora_guidance")  # fmt: skip
        size = gr.Slider(64, 1536, value=512, step=64, label="Side (px)",
                         elem_id="siren_lora_size")  # fmt: skip
        seed = gr.Number(value=0, precision=0, label="First seed", elem_id="siren_lora_seed")
    choice = coater_choice(gr, "siren_lora", desk.shelf)
    keys = key_choice(gr, "siren_lora", desk.limits, KEY_WORDS, _KEY_COMMAND, commitment=True)
    risk = risk_choice(gr, "siren_lora_risk", desk.alpha)
    start, _, word = run_and_stop(gr, "siren_lora", "Generate and verify", desk.stops)
    outputs = verdict_parts(gr, "siren_lora")
    bar = gr.Progress()

    def renew() -> tuple[Any, Any, Any]:
        fresh = host.loras()
        return (
            gr.update(choices=host.checkpoints()),
            gr.update(choices=fresh),
            gr.update(choices=[NO_LORA, KEY_ALONE, *fresh]),
        )

    def run(
        model: str, accused: list[str], clean: str, words: str, unwanted: str, n: float, m: float,
        power: float, rounds: float, scale: float, side: float, first: float, name: str,
        upload: Any, key_file: Any, secret: str, recipient: str, fixed: Any, accepted: str,
        job_word: str, progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watch = PanelProgress(progress, desk.stops, job_word)
            watch.stage("Preparing")
            key = open_key(key_file, secret, recipient)
            order = Order(
                checkpoint=model or "",
                loras=tuple((lora, float(power)) for lora in accused or []),
                prompts=prompt_lines(words),
                count=int(n),
                seed=int(first or 0),
                steps=int(rounds),
                guidance=float(scale),
                size=int(side),
                negative=unwanted or "",
            )
            names = {NO_LORA: (), KEY_ALONE: None}
            other = names.get(clean, ((clean, float(power)),))
            return lora_step(
                host, order, other, int(m), desk, name, upload, RISKS[accepted], watch,
                key=key, commitment=commitment_of(fixed),
            )  # fmt: skip

        return reveal(gr, cards.attempt(work, BLANKS))

    refresh.click(renew, [], [checkpoint, suspect, reference], **private(gr))
    inputs = [
        checkpoint, suspect, reference, prompts, negative, count, more, weight, steps, guidance,
        size, seed, *choice, *keys, risk,
    ]  # fmt: skip
    start.then(run, [*inputs, word], list(outputs.values()), **private(gr))
    return {part.elem_id: part for part in inputs} | outputs


def prompt_lines(text: str) -> tuple[str, ...]:
    """The prompts of a text box; raises :class:`ConfigError` when there are none."""
    lines = tuple(line.strip() for line in (text or "").splitlines() if line.strip())
    if not lines:
        raise ConfigError(
            "No prompt was given; write what a user of the LoRA would ask for, one prompt a line."
        )
    return lines


def lora_step(
    host: GeneratingHost,
    order: Order,
    clean: tuple[tuple[str, float], ...] | None,
    reference_count: int,
    desk: Desk,
    coater_name: str,
    coater_upload: Any,
    alpha: float,
    progress: Progress,
    *,
    key: CoatingKey | None = None,
    commitment: Path | None = None,
) -> tuple[Any, ...]:
    """Generate the pools and judge; values for :func:`~siren_ext.panels.verify.verdict_parts`.

    ``clean`` are the reference's LoRAs: empty for the checkpoint alone, None for no reference at
    all, where the ``key`` alone decides.
    """
    if clean is None and key is None:
        raise ConfigError(
            "Without a reference the key alone decides, but none was given. Add your key file, or "
            "choose a reference."
        )
    if not order.loras:
        raise ConfigError("No suspicious LoRA was chosen; choose at least one of the list.")
    if clean and clean[0][0] in {name for name, _ in order.loras}:
        raise ConfigError("The reference is the suspicious LoRA itself; choose another one.")
    coater = desk.shelf.load(coater_name, coater_upload)
    require_match(coater, key)
    job = desk.jobs.new("lora")

    def made(wanted: Order, folder: Path) -> dict[str, Any]:
        return {"kind": "generated", **host.generate(wanted, folder, progress)}

    about, second = made(order, job / "suspect"), {}
    if clean is not None:
        other = replace(order, loras=clean, count=reference_count, role="reference")
        second = made(other, job / "reference")
    judged = judge_step(
        job / "suspect",
        None if clean is None else job / "reference",
        coater,
        job,
        alpha=alpha,
        key=key,
        commitment=commitment,
        sources=(about, second),
        progress=progress,
    )
    return shown(judged, BARE_REFERENCE if clean == () else "")
