"""The panel that tests a LoRA inside a program that can generate images with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.errors import ConfigError
from siren_ext.panels import html as cards
from siren_ext.panels.actions import Verification, require_matching_key, verify_step
from siren_ext.panels.generation import ImageGenerator, ImageRequest, Loras
from siren_ext.panels.gradio_compat import private
from siren_ext.panels.host import PanelHost, PanelProgress
from siren_ext.panels.keys import commitment_path, key_choice, open_key, with_ledger
from siren_ext.panels.lora_file import (
    check_originals,
    enough,
    file_remark,
    originals_given,
    originals_inputs,
    tried_first,
    with_first,
)
from siren_ext.panels.official import coater_import
from siren_ext.panels.verify import BLANKS, KEY_TEXT, verdict_parts, verdict_values
from siren_ext.panels.widgets import (
    RISKS,
    coater_choice,
    connect,
    reveal,
    risk_choice,
    run_and_stop,
)
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.a1111_checkpoints import title_parts

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

NO_LORA = "none: checkpoint only"
NO_LORAS = (
    "The web UI found no LoRA. Put the file into its LoRA folder and press 'Refresh the lists'."
)
KEY_ALONE = "no reference: key only"
_KEY_COMMAND = "siren-ext verify --suspect scores.json --key keys.json --out report"


def lora_panel(gr: Any, generator: ImageGenerator, host: PanelHost | None = None) -> dict[str, Any]:
    """Lay out the test of a LoRA inside the current ``gr.Blocks``.

    Images are generated with the suspicious LoRAs and with the reference, with the same prompts,
    seeds and settings; both sets are scored and tested. With a key, no reference is needed.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    generator : ImageGenerator
        The program that generates.
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
            "Tests whether a suspicious LoRA was trained on images that you coated. It generates "
            "images with the LoRA and with a reference, using the same prompts and seeds, and "
            "compares them. With the key of a keyed coater, no reference is needed. You can "
            "choose several references; three or more are also compared as models."
        ),
        elem_id="siren_lora_intro",
    )
    models = _model_inputs(gr, generator)
    originals = originals_inputs(gr, host)
    settings = _setting_inputs(gr)
    coater = coater_choice(gr, "siren_lora", host.coaters)
    section = coater_import(gr, "siren_lora", host, coater)
    keys = key_choice(gr, "siren_lora", host.limits, KEY_TEXT, _KEY_COMMAND, commitment=True)
    risk = risk_choice(gr, "siren_lora_risk", host.alpha)
    buttons = run_and_stop(gr, "siren_lora", "Generate and verify", host.stops)
    outputs = verdict_parts(gr, "siren_lora")
    inputs = [*models, *settings, *coater, *keys, risk, *originals]
    run = _runner(gr, generator, host)
    connect(gr, buttons, _checker(host), run, inputs, list(outputs.values()))
    return {part.elem_id: part for part in inputs} | outputs | section


def _model_inputs(gr: Any, generator: ImageGenerator) -> list[Any]:
    """Checkpoint, suspicious LoRAs and references."""
    checkpoints, loras = generator.checkpoints(), generator.loras()
    with gr.Row():
        checkpoint = gr.Dropdown(
            checkpoints, value=checkpoints[0] if checkpoints else None, label="Checkpoint",
            elem_id="siren_lora_checkpoint",
        )  # fmt: skip
        suspect = gr.Dropdown(
            loras, value=[], multiselect=True, label="Suspicious LoRA(s)",
            info=None if loras else NO_LORAS, elem_id="siren_lora_suspect",
        )  # fmt: skip
        reference = gr.Dropdown(
            [NO_LORA, KEY_ALONE, *loras], value=[NO_LORA], multiselect=True,
            label="Reference: your own clean LoRA(s)", elem_id="siren_lora_reference",
        )  # fmt: skip
        refresh = gr.Button("Refresh the lists", elem_id="siren_lora_refresh")
    models = [checkpoint, suspect, reference]

    def renew(chosen: str | None) -> tuple[Any, Any, Any]:
        fresh, titles = generator.loras(), generator.checkpoints()
        return (
            gr.update(choices=titles, value=_still_chosen(chosen, titles)),
            gr.update(choices=fresh),
            gr.update(choices=[NO_LORA, KEY_ALONE, *fresh]),
        )

    refresh.click(renew, [checkpoint], models, **private(gr))
    return models


def _still_chosen(chosen: str | None, titles: Sequence[str]) -> str | None:
    """The chosen checkpoint's title as it is now, else the first one."""
    if chosen in titles:
        return chosen
    # a web UI adds " [hash]" to a title when the checkpoint is first used; Gradio 4 shows a value
    # that is not among the choices as an empty box
    name = title_parts(chosen or "")[0]
    return next((one for one in titles if title_parts(one)[0] == name), next(iter(titles), None))


def _setting_inputs(gr: Any) -> list[Any]:
    """Prompts, numbers of images and the settings of generation."""
    prompts = gr.Textbox(
        label="Prompts, one per line (used in turn)", lines=3, elem_id="siren_lora_prompts"
    )
    negative = gr.Textbox(label="Negative prompt", value="", elem_id="siren_lora_negative")
    with gr.Row():
        count = gr.Slider(4, 400, value=30, step=1, label="Images with the suspicious LoRA",
                          elem_id="siren_lora_count")  # fmt: skip
        reference_count = gr.Slider(4, 400, value=100, step=1, label="Images with each reference",
                                    elem_id="siren_lora_more")  # fmt: skip
        weight = gr.Slider(0.1, 1.5, value=1, step=0.05, label="LoRA weight",
                           elem_id="siren_lora_weight")  # fmt: skip
    with gr.Row():
        steps = gr.Slider(1, 100, value=20, step=1, label="Sampling steps",
                          elem_id="siren_lora_steps")  # fmt: skip
        guidance = gr.Slider(1, 20, value=7, step=0.5, label="CFG scale",
                             elem_id="siren_lora_guidance")  # fmt: skip
        size = gr.Slider(64, 1536, value=512, step=64, label="Width and height (px)",
                         elem_id="siren_lora_size")  # fmt: skip
        seed = gr.Number(value=0, precision=0, label="First seed", elem_id="siren_lora_seed")
    return [prompts, negative, count, reference_count, weight, steps, guidance, size, seed]


def _checker(host: PanelHost) -> Callable[..., None]:
    """What is checked before the job is queued."""

    def check(_: str, suspects: list[str], references: list[str], prompts: str, *rest: Any) -> None:
        coater_name, coater_file, key_file, passphrase, recipient = rest[8:13]
        key = open_key(key_file, passphrase, recipient)
        if originals_given(rest[16], rest[17]):
            check_originals(rest[16], rest[17], key, host)
        else:
            prompt_lines(prompts)
        check_choice(suspects or [], chosen_references(references), key)
        require_matching_key(host.coaters.load(coater_name, coater_file), key)

    return check


def _runner(gr: Any, generator: ImageGenerator, host: PanelHost) -> Callable[..., tuple[Any, ...]]:
    """The function behind the run button."""
    bar = gr.Progress()

    def run(
        checkpoint: str, suspects: list[str], references: list[str], prompts: str, negative: str,
        count: float, reference_count: float, weight: float, steps: float, guidance: float,
        size: float, seed: float, coater_name: str, coater_file: Any, key_file: Any,
        passphrase: str, recipient: str, commitment: Any, ledger: Any, risk: str,
        originals: Any, originals_folder: str, job_id: str, progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watched = PanelProgress(progress, host.stops, job_id)
            watched.stage("Preparing")
            key = open_key(key_file, passphrase, recipient)
            images = originals, originals_folder
            file_only = originals_given(*images) and not prompts.strip()
            request = ImageRequest(
                checkpoint=checkpoint or "",
                loras=tuple((name, float(weight)) for name in suspects or []),
                prompts=() if file_only else prompt_lines(prompts),
                count=int(count),
                seed=int(seed or 0),
                steps=int(steps),
                guidance=float(guidance),
                size=int(size),
                negative=negative or "",
            )
            with host.jobs.working("lora") as job:
                key = with_ledger(key, ledger, job)
                clean = chosen_references(references, float(weight))
                coater = host.coaters.load(coater_name, coater_file)
                terms: dict[str, Any] = {"alpha": RISKS[risk], "progress": watched}
                terms["commitment"] = commitment_path(commitment)
                first, fault = tried_first(
                    generator, request, clean, images, coater, key, host, job, **terms
                )
                if first is not None and (enough(first) or not request.prompts):
                    return verdict_values(first, file_remark(first.verdict, alone=True))
                done = lora_step(
                    generator, request, clean, int(reference_count), coater, job, key=key, **terms
                )
                return verdict_values(*with_first(done, first, fault, reference_remark(clean)))

        return reveal(gr, cards.attempt(work, BLANKS))

    return run


def prompt_lines(text: str) -> tuple[str, ...]:
    """The prompts of a text box.

    Parameters
    ----------
    text : str
        One prompt per line; empty lines are ignored.

    Returns
    -------
    tuple[str, ...]
        At least one prompt.

    Raises
    ------
    ConfigError
        There is no prompt.
    """
    lines = tuple(line.strip() for line in (text or "").splitlines() if line.strip())
    if not lines:
        raise ConfigError(
            "No prompt was given. Write what a user of the LoRA would ask for, one prompt per line."
        )
    return lines


def chosen_references(names: Sequence[str] | None, weight: float = 1.0) -> list[Loras]:
    """The reference models of a choice.

    Parameters
    ----------
    names : Sequence[str] | None
        Names of LoRAs, :data:`NO_LORA`, or :data:`KEY_ALONE` alone.
    weight : float
        Weight of each LoRA.

    Returns
    -------
    list[Loras]
        As :func:`lora_step` takes them; empty for :data:`KEY_ALONE` and if nothing was chosen.

    Raises
    ------
    ConfigError
        :data:`KEY_ALONE` was chosen together with a reference.
    """
    chosen = list(dict.fromkeys(names or ()))
    if KEY_ALONE in chosen and len(chosen) > 1:
        raise ConfigError(
            f"'{KEY_ALONE}' was chosen together with a reference; remove one of the two."
        )
    models: list[Loras] = []
    for name in chosen:
        if name != KEY_ALONE:
            models.append(() if name == NO_LORA else ((name, weight),))
    return models


def check_choice(suspects: Sequence[str], clean: Sequence[Loras], key: CoatingKey | None) -> None:
    """Check that the chosen models can be compared.

    Parameters
    ----------
    suspects : Sequence[str]
        Names of the suspicious LoRAs.
    clean : Sequence[Loras]
        The LoRAs of each reference model, see :func:`lora_step`.
    key : CoatingKey | None
        The owner's key, if it was given.

    Raises
    ------
    ConfigError
        No LoRA was chosen, it is its own reference, or there is neither a reference nor a key.
    """
    if not clean and key is None:
        raise ConfigError(
            "Without a reference only the key can decide, but no key was given. Add your key "
            "file, or choose a reference."
        )
    if not suspects:
        raise ConfigError("No suspicious LoRA was chosen; choose at least one from the list.")
    if any(name in suspects for loras in clean for name, _ in loras):
        raise ConfigError("The reference is the suspicious LoRA itself; choose another one.")


def reference_remark(clean: Sequence[Loras]) -> str:
    """A remark on the choice of the reference, for the verdict's card.

    Parameters
    ----------
    clean : Sequence[Loras]
        The LoRAs of each reference model, see :func:`lora_step`.

    Returns
    -------
    str
        Three sentences if the bare checkpoint is a reference, else "".
    """
    if () not in clean:
        return ""
    which = "The reference" if len(clean) == 1 else "One of the references"
    return (
        f"{which} is the checkpoint without a LoRA. A LoRA also changes style and subject, and "
        "that alone can change scores. A LoRA that you trained on your clean originals is a "
        "stronger reference."
    )


def lora_step(
    generator: ImageGenerator,
    request: ImageRequest,
    clean: Sequence[Loras],
    reference_count: int,
    coater: Coater,
    job: Path,
    *,
    alpha: float = 1e-6,
    key: CoatingKey | None = None,
    commitment: Path | None = None,
    progress: Progress = NULL,
) -> Verification:
    """Generate images with the suspicious LoRAs and with each reference, and verify them.

    Parameters
    ----------
    generator : ImageGenerator
        The program that generates.
    request : ImageRequest
        The suspect's images; the references use the same prompts, seeds and settings.
    clean : Sequence[Loras]
        The LoRAs of each reference model, () for the checkpoint alone; without a reference the key
        alone decides.
    reference_count : int
        Number of images of each reference.
    coater : Coater
        The coater of the published images.
    job : Path
        Temporary folder.
    alpha, key, commitment, progress
        As in :func:`~siren_ext.panels.actions.verify_step`.

    Returns
    -------
    Verification
        The verdict with its report.

    Raises
    ------
    ConfigError
        No LoRA was chosen, it is its own reference, or there is neither a reference nor a key.
    CoaterError
        The key doesn't fit the coater.
    """
    check_choice([name for name, _ in request.loras], clean, key)
    require_matching_key(coater, key)
    suspect_folder = job / "suspect"
    sources = [generator.generate(request, suspect_folder, progress)]
    folders = []
    for number, loras in enumerate(clean, start=1):
        role = "reference" if len(clean) == 1 else f"reference {number}"
        other = replace(request, loras=loras, count=reference_count, role=role)
        folders.append(job / role)
        sources.append(generator.generate(other, folders[-1], progress))
    return verify_step(
        suspect_folder,
        folders,
        coater,
        job,
        alpha=alpha,
        key=key,
        commitment=commitment,
        sources=[{"kind": "generated", **source} for source in sources],
        progress=progress,
    )
