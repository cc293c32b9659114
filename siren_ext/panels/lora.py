"""The panel that tests a LoRA inside a program that can generate images with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from siren_ext.errors import ConfigError
from siren_ext.panels import cards
from siren_ext.panels.desk import BarProgress, Desk
from siren_ext.panels.dialect import private
from siren_ext.panels.steps import judge_step
from siren_ext.panels.verify import BLANKS, shown, verdict_parts
from siren_ext.panels.widgets import RISKS, coater_choice, reveal, risk_choice, run_and_stop
from siren_ext.progress import Progress

NO_LORA = "none: the checkpoint alone"
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
    settings; both pools are scored and tested.
    """
    desk = desk or Desk()
    checkpoints, loras = host.checkpoints(), host.loras()
    gr.HTML(
        cards.intro(
            "Generates images with a suspicious LoRA and with a reference, at equal prompts and "
            "seeds, and tests whether the LoRA was trained on images coated with your coater."
        )
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
            [NO_LORA, *loras], value=NO_LORA, label="Reference: your clean LoRA, or",
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
    risk = risk_choice(gr, "siren_lora_risk", desk.alpha)
    start, _, word = run_and_stop(gr, "siren_lora", "Generate and verify", desk.stops)
    outputs = verdict_parts(gr, "siren_lora")
    bar = gr.Progress()

    def renew() -> tuple[Any, Any, Any]:
        fresh = host.loras()
        return (
            gr.update(choices=host.checkpoints()),
            gr.update(choices=fresh),
            gr.update(choices=[NO_LORA, *fresh]),
        )

    def run(
        model: str, accused: list[str], clean: str, words: str, unwanted: str, n: float, m: float,
        power: float, rounds: float, scale: float, side: float, first: float, name: str,
        upload: Any, accepted: str, job_word: str, progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watch = BarProgress(progress, desk.stops, job_word)
            watch.stage("Preparing")
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
            other = () if clean == NO_LORA else ((clean, float(power)),)
            return lora_step(host, order, other, int(m), desk, name, upload, RISKS[accepted], watch)

        return reveal(gr, cards.attempt(work, BLANKS))

    refresh.click(renew, [], [checkpoint, suspect, reference], **private(gr))
    inputs = [
        checkpoint, suspect, reference, prompts, negative, count, more, weight, steps, guidance,
        size, seed, *choice, risk,
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
    clean: tuple[tuple[str, float], ...],
    reference_count: int,
    desk: Desk,
    coater_name: str,
    coater_upload: Any,
    alpha: float,
    progress: Progress,
) -> tuple[Any, ...]:
    """Generate both pools and judge; values for :func:`~siren_ext.panels.verify.verdict_parts`."""
    from dataclasses import replace

    if not order.loras:
        raise ConfigError("No suspicious LoRA was chosen; choose at least one of the list.")
    if clean and clean[0][0] in {name for name, _ in order.loras}:
        raise ConfigError("The reference is the suspicious LoRA itself; choose another one.")
    coater = desk.shelf.load(coater_name, coater_upload)
    job = desk.jobs.new("lora")
    pools = job / "suspect", job / "reference"
    orders = order, replace(order, loras=clean, count=reference_count, role="reference")
    sources = tuple(
        {"kind": "generated", **host.generate(wanted, folder, progress)}
        for wanted, folder in zip(orders, pools, strict=True)
    )
    judged = judge_step(
        *pools, coater, job, alpha=alpha, sources=(sources[0], sources[1]), progress=progress
    )
    return shown(judged, "" if clean else BARE_REFERENCE)
