"""A section of the coat panel that writes a commitment before the images are published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.panels import html as cards
from siren_ext.panels.actions import require_matching_key
from siren_ext.panels.gradio_compat import private
from siren_ext.panels.host import PanelHost
from siren_ext.panels.keys import open_key
from siren_ext.panels.uploads import collect_images
from siren_ext.panels.widgets import folder_box, image_files, reveal

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import CoatingKey

COMMITMENT_NAME = "commitment.json"
_ABOUT = (
    "Records hashes of your coater, your key and the coated images in a small file. Publish the "
    "line that you get before you publish the images (in a post, or in an e-mail to yourself), or "
    "have it time-stamped. The line reveals nothing, and later it proves that your coater and key "
    "came first. Enter the key above, as for coating."
)


def commit_maker(
    gr: Any, prefix: str, host: PanelHost, coater: tuple[Any, Any], keys: list[Any]
) -> dict[str, Any]:
    """A folded section that commits to the chosen coater, the given key and coated images.

    Shown only where visitors own the machine, like the section that makes a key.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    prefix : str
        First part of the components' ids.
    host : PanelHost
        Limits, coaters and folders.
    coater : tuple[Any, Any]
        The components of :func:`~siren_ext.panels.widgets.coater_choice`.
    keys : list[Any]
        The components of :func:`~siren_ext.panels.keys.key_choice`.

    Returns
    -------
    dict[str, Any]
        The components by their ``elem_id``.
    """
    with gr.Accordion(
        "Before you publish: prove that you were first",
        open=False,
        visible=host.limits.folders,
        elem_id=f"{prefix}_commit",
    ):
        about = gr.HTML(cards.hint(_ABOUT), elem_id=f"{prefix}_commit_about")
        files = image_files(
            gr, f"{prefix}_commit_files", "The coated images, or their ZIP", host.limits
        )
        folder = folder_box(
            gr, f"{prefix}_commit_folder", "… or their folder on this machine", host.limits
        )
        make = gr.Button("Make a commitment", elem_id=f"{prefix}_commit_run")
        card = gr.HTML(elem_id=f"{prefix}_commit_result")
        file = gr.File(
            label="Commitment: keep it to yourself and don't change it",
            visible=False,
            elem_id=f"{prefix}_commit_file",
        )

    def run(
        uploads: Any, place: str, coater_name: str, coater_file: Any,
        key_file: Any, passphrase: str, recipient: str,
    ) -> tuple[Any, ...]:  # fmt: skip
        def work() -> tuple[Any, ...]:
            chosen = host.coaters.load(coater_name, coater_file)
            key = open_key(key_file, passphrase, recipient)
            require_matching_key(chosen, key)
            with host.jobs.working("commit") as job:
                coated = collect_images(
                    uploads, place, host.limits, job / "coated", what="coated images"
                )
                source = host.coaters.file(coater_name, coater_file)
                text, path = commit_step(source, key, coated, job)
                return cards.note(text, "Commitment made"), str(path)

        return reveal(gr, cards.attempt(work, (None,)))

    make.click(run, [files, folder, *coater, *keys[:3]], [card, file], **private(gr))
    return {part.elem_id: part for part in (about, files, folder, make, card, file)}


def commit_step(coater: Path, key: CoatingKey | None, coated: Path, job: Path) -> tuple[str, Path]:
    """Write a commitment.

    Parameters
    ----------
    coater : Path
        The coater file.
    key : CoatingKey | None
        The key that the images were coated with, if any.
    coated : Path
        Folder of the coated images.
    job : Path
        Temporary folder for the file.

    Returns
    -------
    tuple[str, Path]
        A message with the SHA-256 to publish, and the file.

    Raises
    ------
    CoaterError
        The coater can't be read.
    EvidenceError
        The folder has no coated images, or one can't be read.
    """
    from siren_ext.evidence.commitment import make_commitment
    from siren_ext.keys.single_bits import joint_hash, key_hashes

    bits = {} if key is None else {key.fingerprint(): joint_hash(key_hashes(key))}
    made = make_commitment(coater, bits, coated, bits=bits)
    path = job / COMMITMENT_NAME
    digest = made.save(path)
    covered = "your coater and key" if key else "your coater, but no key,"
    return (
        f"It covers {covered} and {len(made.files)} coated images. Publish this line before you "
        f"publish the images: SHA-256 {digest}. Download the file now, because the copy on this "
        "page will be deleted. You will need it later under Verify.",
        path,
    )
