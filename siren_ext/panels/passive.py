"""The panel for images that were published without a coating: was a LoRA trained on them?"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.diffusion.load import BUNDLED
from siren_ext.errors import AdapterError, ConfigError
from siren_ext.panels import html as cards
from siren_ext.panels.gradio_compat import upload_field, upload_paths
from siren_ext.panels.host import PanelHost, PanelProgress
from siren_ext.panels.packages import absent_notice
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
from siren_ext.report.integrity import JSON

if TYPE_CHECKING:
    from siren_ext.passive.judge import KeyedEvidence

RISKS = {"1 in a hundred (a hint only)": 1e-2, "1 in a thousand (recommended)": 1e-3}
"""What the choice of risk shows, to the risk itself."""
_ABOUT = (
    "For images that you published without a coating. Add two sets of the same kind: published "
    "images, and as many that nobody else has seen. The test checks whether the LoRA knows the "
    "published images better.",
    "Leave out pictures that the model itself made: to the test they look like its training "
    "images. If the two sets also differ in other ways, the verdict is invalid. This takes "
    "minutes with a small model, and up to hours with a full checkpoint.",
)


def passive_panel(gr: Any, host: PanelHost | None = None) -> dict[str, Any]:
    """Lay out the test of images without a coating inside the current ``gr.Blocks``.

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
    gr.HTML(cards.intro(*_ABOUT), elem_id="siren_passive_intro")
    if absent := absent_notice(gr, "siren_passive", "siren-ext passive"):
        return absent
    inputs = _inputs(gr, host)
    buttons = run_and_stop(gr, "siren_passive", "Test the LoRA", host.stops)
    card = gr.HTML(elem_id="siren_passive_result")
    report = gr.File(label="Report", visible=False, elem_id="siren_passive_report")
    connect(gr, buttons, _checker(host), _runner(gr, host), inputs, [card, report])
    return {part.elem_id: part for part in (*inputs, card, report)}


def _inputs(gr: Any, host: PanelHost) -> list[Any]:
    """The fields in the order of the runner's arguments."""
    fields = []
    with gr.Row():
        for name, label in (("published", "Published images"), ("unpublished", "Unseen images")):
            with gr.Column():
                prefix = f"siren_passive_{name}"
                fields.append(image_files(gr, prefix, label, host.limits))
                text = "… or a folder on this machine"
                fields.append(folder_box(gr, f"{prefix}_folder", text, host.limits))
    with gr.Row():
        base = gr.Textbox(
            label="Model that the LoRA is for: pocket (built in), or the path of a checkpoint",
            value="pocket",
            min_width=240,
            elem_id="siren_passive_base",
            visible=host.limits.folders,
        )
        risk = gr.Dropdown(
            list(RISKS),
            value=list(RISKS)[-1],
            label="Accepted risk of a false alarm",
            min_width=240,
            elem_id="siren_passive_risk",
        )
    lora = upload_field(
        gr,
        label="Suspicious LoRA (.safetensors)",
        file_types=[".safetensors"],
        height=ONE_FILE_PX,
        elem_id="siren_passive_lora",
    )
    keyed = upload_field(
        gr,
        label="report.json of a keyed test on the same LoRA, to give both verdicts together "
        "(optional)",
        file_types=[".json"],
        height=ONE_FILE_PX,
        elem_id="siren_passive_keyed",
    )
    return [*fields, base, risk, lora, keyed]


def _checker(host: PanelHost) -> Callable[..., None]:
    """What is checked before the job is queued."""

    def check(
        published: Any, first: str, unpublished: Any, second: str, base: str, risk: str, lora: Any,
        keyed: Any,
    ) -> None:  # fmt: skip
        check_given(published, first, host.limits, what="published images")
        check_given(unpublished, second, host.limits, what="unpublished images")
        _models(base, lora, host)
        _risk(risk)
        _keyed(keyed)

    return check


def base_model(base: str, host: PanelHost) -> str:
    """The model that a LoRA is for.

    Parameters
    ----------
    base : str
        ``pocket`` or a path, as typed; not used where visitors may not name files.
    host : PanelHost
        Its limits say whether they may.

    Returns
    -------
    str
        ``pocket``, or the path of an existing file or folder.

    Raises
    ------
    ConfigError
        There is no such file or folder.
    """
    base = base.strip().strip('"') if host.limits.folders else "pocket"
    if base not in BUNDLED and not Path(base).exists():
        raise ConfigError(
            f"There is no model {base}. Expected 'pocket', or the path of an existing checkpoint."
        )
    return base


def _models(base: str, lora: Any, host: PanelHost) -> tuple[str, Path]:
    """The base model, where visitors may name one, and the LoRA's file."""
    base = base_model(base, host)
    paths = upload_paths(lora)
    if not paths:
        raise AdapterError("No LoRA was given; add the suspicious LoRA's file.")
    return base, paths[0]


def _keyed(upload: Any) -> KeyedEvidence | None:
    """The keyed verdict of an uploaded report; None without one."""
    from siren_ext.report.keyed_summary import keyed_summary

    paths = upload_paths(upload)
    if not paths:
        return None
    with tempfile.TemporaryDirectory(prefix="siren_keyed_") as folder:
        shutil.copyfile(paths[0], Path(folder) / JSON)  # browsers rename downloads
        return keyed_summary(Path(folder))


def _risk(text: str) -> float:
    if text not in RISKS:
        raise ConfigError(
            f"There is no risk {text!r} to choose; expected one of {', '.join(RISKS)}."
        )
    return RISKS[text]


def _runner(gr: Any, host: PanelHost) -> Callable[..., tuple[Any, ...]]:
    """The function behind the run button."""
    bar = gr.Progress()

    def run(
        published: Any, first: str, unpublished: Any, second: str, base: str, risk: str, lora: Any,
        keyed: Any, job_id: str, progress: Any = bar,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            watched = PanelProgress(progress, host.stops, job_id)
            watched.stage("Reading the images")
            with host.jobs.working("passive") as job:
                notes: list[str] = []
                sets = [
                    collect_images(
                        files, folder, host.limits, job / name, what=f"{name} images", notes=notes
                    )
                    for name, files, folder in (
                        ("published", published, first),
                        ("unpublished", unpublished, second),
                    )
                ]
                model, adapter = _models(base, lora, host)
                done = passive_step(
                    sets[0], sets[1], model, adapter, _risk(risk), job / "report", watched,
                    keyed=_keyed(keyed), device=host.coaters.device,
                )  # fmt: skip
                return cards.with_notices(done, notes)

        return reveal(gr, cards.attempt(work, (None,)))

    return run


def passive_step(
    published: Path,
    unpublished: Path,
    base: str,
    lora: Path,
    alpha: float,
    out: Path,
    progress: Progress,
    *,
    keyed: KeyedEvidence | None = None,
    device: str = "auto",
) -> tuple[str, str]:
    """Test whether a LoRA was trained on published images, and write a report.

    Parameters
    ----------
    published, unpublished : Path
        Folders of images.
    base : str
        ``pocket``, or the path of a checkpoint.
    lora : Path
        The suspicious LoRA.
    alpha : float
        Accepted risk of a false alarm.
    out : Path
        Folder for the report.
    progress : Progress
        Counts the images.
    keyed : KeyedEvidence | None
        The keyed verdict on the same LoRA, to state both together.
    device : str
        ``auto`` or a torch device name.

    Returns
    -------
    tuple[str, str]
        An HTML card and the path of the report's page.

    Raises
    ------
    SirenError
        The sets or the models can't be used.
    Cancelled
        The user stopped.
    """
    import torch

    from siren_ext.data.dataset import ImageSet
    from siren_ext.passive.config import CompletionConfig, PassiveConfig
    from siren_ext.passive.judge_config import JudgeConfig
    from siren_ext.suspects.local import LocalSuspect
    from siren_ext.workflows.passive_evidence import passive_evidence

    options: dict[str, Any] = {"device": device, "dtype": torch.float32}
    found = passive_evidence(
        ImageSet.open(published),
        ImageSet.open(unpublished),
        LocalSuspect(base, lora, **options),
        LocalSuspect(base, **options),
        out,
        PassiveConfig(),
        JudgeConfig(alpha=alpha),
        completion=CompletionConfig(),
        keyed=keyed,
        progress=progress,
    )
    verdict = found.verdict
    title = verdict.outcome[:1].upper() + verdict.outcome[1:]
    skipped = [f"{name} was skipped: {why}" for name, why in found.problems]
    lines = [*verdict.warnings, *skipped, "The report says what this does not prove."]
    said = f"{verdict.headline} {verdict.combined}".strip()
    return cards.note(said, title) + cards.notices(lines), str(found.report.html)
