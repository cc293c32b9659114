"""The first part of the test of a LoRA: its file is asked, before any picture is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.errors import AdapterError, ConfigError, ModelError
from siren_ext.evidence.counting import FiledKey
from siren_ext.evidence.ledger import ledger_of
from siren_ext.panels import html as cards
from siren_ext.panels.actions import Verification, precedence_of, require_matching_key
from siren_ext.panels.generation import ImageGenerator, ImageRequest, Loras
from siren_ext.panels.gradio_compat import upload_paths
from siren_ext.panels.host import PanelHost
from siren_ext.panels.packages import missing_packages
from siren_ext.panels.uploads import check_given, collect_images
from siren_ext.panels.widgets import folder_box, image_files
from siren_ext.progress import NULL, Progress
from siren_ext.report.redaction import clean as redacted
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import Verdict
from siren_ext.verdict.wording import odds

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

WHAT = "originals"
"""What messages call the owner's clean images."""
ABOUT = (
    "If you add the originals of your coated images (with their captions) and a key, the LoRA's "
    "file is tested first, without making pictures. This test looks at what the model adds to "
    "your clean images. Pictures are made only if it finds nothing and there is a prompt. The "
    "effect of clean LoRAs chosen as references is subtracted. For Stable Diffusion 1.x, 2.x and "
    "XL."
)


def originals_inputs(gr: Any, host: PanelHost) -> list[Any]:
    """Lay out the fields for the owner's clean images.

    They are hidden if the packages that run a diffusion model are not installed.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    host : PanelHost
        Limits.

    Returns
    -------
    list[Any]
        An upload field and a text field for a folder.
    """
    shown = not missing_packages()
    with gr.Accordion(
        "Test the model's file first: your originals", open=False, visible=shown,
        elem_id="siren_lora_first",
    ):  # fmt: skip
        gr.HTML(cards.hint(ABOUT), elem_id="siren_lora_about")
        upload = image_files(gr, "siren_lora_originals", "Your originals", host.limits)
        text = "… or a folder on this machine"
        folder = folder_box(gr, "siren_lora_originals_folder", text, host.limits)
    return [upload, folder]


def originals_given(upload: Any, folder: str | None) -> bool:
    """Whether the owner's clean images were given.

    Parameters
    ----------
    upload : Any
        Value of the file field.
    folder : str | None
        A folder typed by the user.

    Returns
    -------
    bool
        True if there is a file or a folder.
    """
    return bool(upload_paths(upload) or (folder or "").strip())


def check_originals(upload: Any, folder: str, key: CoatingKey | None, host: PanelHost) -> None:
    """Check what was given for the test of the file, before a job waits in a queue.

    Parameters
    ----------
    upload, folder : Any, str
        Values of the fields.
    key : CoatingKey | None
        The owner's key, if it was given.
    host : PanelHost
        Limits.

    Raises
    ------
    ConfigError
        There is no key.
    DatasetError, ImageError
        See :func:`~siren_ext.panels.uploads.collect_images`.
    """
    if key is None:
        raise ConfigError(
            "To test the LoRA's file a key is needed, but none was given. Add your key file, or "
            "remove the originals."
        )
    check_given(upload, folder, host.limits, what=WHAT)


def first_step(
    generator: ImageGenerator,
    request: ImageRequest,
    clean: Sequence[Loras],
    originals: tuple[Any, str],
    coater: Coater,
    key: CoatingKey | None,
    host: PanelHost,
    job: Path,
    *,
    alpha: float = 1e-6,
    commitment: Path | None = None,
    progress: Progress = NULL,
) -> Verification | None:
    """Measure a model's file, test the key and write the report into ``job/file``.

    Parameters
    ----------
    generator, request : ImageGenerator, ImageRequest
        Where the files are, and which checkpoint and suspicious LoRAs.
    clean : Sequence[Loras]
        The LoRAs of each reference model, () for the checkpoint alone. Those that are LoRAs are
        subtracted.
    originals : tuple[Any, str]
        Values of the fields of :func:`originals_inputs`.
    coater, key : Coater, CoatingKey | None
        Of the published images; the test of a ``FiledKey`` is counted.
    host, job : PanelHost, Path
        Limits and device, and a temporary folder.
    alpha, commitment, progress
        As in :func:`~siren_ext.panels.actions.verify_step`.

    Returns
    -------
    Verification | None
        The verdict with its report, without pictures; None if no originals or no key were given.

    Raises
    ------
    CoaterError
        The coater is not keyed, or the key doesn't fit it.
    ModelError, AdapterError
        A model can't be found or loaded, or is of another family.
    DatasetError, ImageError
        See :func:`~siren_ext.panels.uploads.collect_images`.
    Cancelled
        The user stopped.
    """
    if key is None or not originals_given(*originals):
        return None
    import torch

    from siren_ext.data.dataset import ImageSet
    from siren_ext.suspects.local import LocalSuspect, WeightedAdapter
    from siren_ext.workflows.preference_evidence import preference_evidence

    require_matching_key(coater, key)
    images = collect_images(*originals, host.limits, job / "originals", what=WHAT)

    def opened(loras: Loras) -> LocalSuspect:
        files = generator.files(request.checkpoint, loras)
        adapters = [WeightedAdapter(path, weight) for path, weight in files.loras]
        device = host.coaters.device
        return LocalSuspect(files.checkpoint, adapters, device=device, dtype=torch.float32)

    found = preference_evidence(
        opened(request.loras),
        ImageSet.open(images),
        coater,
        key,
        job / "file",
        config=VerifyConfig(alpha=alpha),
        controls=[opened(loras) for loras in clean if loras],
        standing=lambda scores: precedence_of(commitment, scores, key),
        progress=progress,
    )
    ledger = ledger_of(key.file) if isinstance(key, FiledKey) else None
    shown = (found.verdict, found.measured, None, found.report)
    return Verification(*shown, [], [], ledger, (found.measurement,), found.alike)


def tried_first(
    generator: ImageGenerator, request: ImageRequest, *given: Any, **terms: Any
) -> tuple[Verification | None, str]:
    """The first step; if the file can't be tested and there are prompts, the pictures decide.

    Takes what :func:`first_step` does and raises the same, except that with prompts a model that
    can't be tested by its file is no error.

    Returns
    -------
    tuple[Verification | None, str]
        The result, and why there is none.
    """
    try:
        return first_step(generator, request, *given, **terms), ""
    except (ModelError, AdapterError) as error:
        if not request.prompts:
            raise
        return (
            None,
            f"The LoRA's file could not be tested, so pictures were made: {redacted(str(error))}",
        )


def enough(first: Verification) -> bool:
    """Whether the test of the file found the coating, so that no pictures are needed."""
    return first.verdict.outcome == "coating found"


def file_remark(verdict: Verdict, *, alone: bool) -> str:
    """What the card says about the test of the file.

    Parameters
    ----------
    verdict : Verdict
        Of the file.
    alone : bool
        Whether no pictures were made.

    Returns
    -------
    str
        One or two sentences.
    """
    if alone:
        return (
            "This is about the LoRA's file. No pictures were made. The file that ends in "
            ".preference.json can reveal your message: keep it as secret as the key."
        )
    return (
        f"The LoRA's file was tested first: {verdict.outcome}, {odds(verdict.deciding.p_value)}. "
        "Its report is among the files below."
    )


def with_first(
    done: Verification, first: Verification | None, *remarks: str
) -> tuple[Verification, str]:
    """The test of the pictures, with the files of the test of the file and a remark on it.

    Parameters
    ----------
    done : Verification
        Of the pictures.
    first : Verification | None
        Of the file; None if it was not tested.
    *remarks : str
        Further remarks; "" for none.

    Returns
    -------
    tuple[Verification, str]
        For :func:`~siren_ext.panels.verify.verdict_values`.
    """
    texts = [text for text in remarks if text]
    if first is None:
        return done, " ".join(texts)
    files = (first.report.html, first.report.json, *first.more)
    texts.insert(0, file_remark(first.verdict, alone=False))
    both = replace(done, more=(*done.more, *files), alike=first.alike)
    return both, " ".join(texts)
