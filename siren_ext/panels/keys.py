"""A key in a panel: the fields that take it, how it is opened, and the file of a fresh one.

Passphrase and message live in memory for one run: nothing here writes, logs or returns them, and
the uploaded file is read where it lies, encrypted, and goes with the page's other uploads.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.errors import CoaterError, EvidenceError
from siren_ext.panels import html as cards
from siren_ext.panels.gradio_compat import private, upload_paths
from siren_ext.panels.host import Desk, UploadLimits
from siren_ext.panels.widgets import ONE_FILE_PX, reveal
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

KEY_NAME = "siren_keys.json"
MISSING = (
    "Keys need the package 'cryptography', which is not installed here. Install it into the Python "
    "that runs this page (pip install cryptography) and start the page again."
)
_MEMORY = (
    "The key is opened in memory for this one run. Passphrase and message are not stored, logged "
    "or sent back."
)
_NOT_YOURS = (
    "This page is open to others or does not run on your machine: whoever runs its server could "
    "read a key that is opened here. If in doubt, do this step on your own machine: {command}"
)


def keys_can_be_opened() -> bool:
    """Whether this Python has what key files are encrypted with."""
    return find_spec("cryptography") is not None


def key_choice(
    gr: Any,
    prefix: str,
    limits: UploadLimits,
    words: str,
    command: str,
    *,
    commitment: bool = False,
) -> list[Any]:
    """A folded part with key file, passphrase and recipient; in this order.

    Parameters
    ----------
    words : str
        what a key is for in this panel.
    command : str
        the same step on the visitor's own machine, for pages that run elsewhere.
    commitment : bool
        a fourth field, for the file that says what was fixed before the release.
    """
    ready = keys_can_be_opened()
    with gr.Accordion("Key (only with a keyed coater)", open=False, elem_id=f"{prefix}_key"):
        lines = [words, _MEMORY if ready else MISSING]
        if ready and not limits.folders:
            lines.append(_NOT_YOURS.format(command=command))
        gr.HTML(cards.hint(*lines), elem_id=f"{prefix}_key_about")
        file = gr.File(
            label="Key file (.json)",
            file_types=[".json"],
            visible=ready,
            height=ONE_FILE_PX,
            elem_id=f"{prefix}_key_file",
        )
        with gr.Row():
            secret = passphrase_box(gr, f"{prefix}_key_passphrase", "Passphrase", visible=ready)
            recipient = gr.Textbox(
                label="Recipient, if the file holds several keys",
                value="",
                visible=ready,
                min_width=240,
                elem_id=f"{prefix}_key_recipient",
            )
        if commitment:
            fixed = gr.File(
                label="Commitment (.json), if you made one",
                file_types=[".json"],
                height=ONE_FILE_PX,
                elem_id=f"{prefix}_commitment",
            )
            return [file, secret, recipient, fixed]
    return [file, secret, recipient]


def passphrase_box(gr: Any, elem_id: str, label: str, *, visible: bool = True) -> Any:
    """A line whose letters are not shown, and that no web UI writes into its settings."""
    box = gr.Textbox(
        label=label,
        value="",
        type="password",
        lines=1,
        max_lines=1,
        visible=visible,
        min_width=240,
        elem_id=elem_id,
    )
    # AUTOMATIC1111 and Forge offer to save what stands in a page's fields as its defaults
    box.do_not_save_to_config = True
    return box


def open_key(upload: Any, passphrase: str | None, recipient: str | None) -> CoatingKey | None:
    """The key of an uploaded file; None where no field was filled in.

    Raises
    ------
    EvidenceError
        the file is no key file, the passphrase is missing or wrong, the file holds
        several keys, or there is no file for the other fields.
    """
    paths = upload_paths(upload)
    wanted = (recipient or "").strip()
    if not paths:
        if passphrase or wanted:
            raise EvidenceError(
                "A passphrase or recipient was given without a key file. Add the file under 'Key', "
                "or empty both fields."
            )
        return None
    if not keys_can_be_opened():
        raise EvidenceError(MISSING)
    from siren_ext.keys.coating_key import FORMAT, KeyRing
    from siren_ext.keys.encrypted_file import require_encrypted

    try:
        require_encrypted(paths[0], FORMAT)
    except EvidenceError as error:
        raise EvidenceError(
            f"This is no key file: {error} Expected the file that 'siren-ext key new' wrote."
        ) from None
    if not passphrase:
        raise EvidenceError("The passphrase is missing; type it under the key file.")
    return KeyRing.load(paths[0], passphrase).key(wanted or None)


def commitment_of(upload: Any) -> Path | None:
    """The uploaded commitment, if there is one."""
    return next(iter(upload_paths(upload)), None)


def key_maker(gr: Any, prefix: str, desk: Desk, choice: tuple[Any, Any]) -> dict[str, Any]:
    """A folded part that makes a key file for the chosen coater; gives its components by elem_id.

    Only for hosts whose visitors own the machine: a secret is not drawn on somebody else's.
    """
    shown = desk.limits.folders and keys_can_be_opened()
    with gr.Accordion("Make a key", open=False, visible=shown, elem_id=f"{prefix}_newkey"):
        about = gr.HTML(
            cards.hint(
                "Draws a secret message at random for the keyed coater chosen above and gives it "
                "as an encrypted file, as 'siren-ext key new' does. Without the file and the "
                "passphrase nothing can be proved later: keep a copy of each, apart."
            ),
            elem_id=f"{prefix}_newkey_about",
        )
        names = gr.Textbox(
            label="Recipients, one a line: a key for each (empty: one key)",
            value="",
            lines=2,
            elem_id=f"{prefix}_newkey_recipients",
        )
        with gr.Row():
            first = passphrase_box(
                gr, f"{prefix}_newkey_passphrase", "New passphrase, 8 letters or more"
            )
            second = passphrase_box(gr, f"{prefix}_newkey_again", "The same once more")
        make = gr.Button("Make a key", elem_id=f"{prefix}_newkey_run")
        card = gr.HTML(elem_id=f"{prefix}_newkey_result")
        file = gr.File(label="Key file: keep it", visible=False, elem_id=f"{prefix}_newkey_file")

    def run(name: str, upload: Any, recipients: str, secret: str, again: str) -> tuple[Any, ...]:
        def work() -> tuple[Any, ...]:
            coater = desk.shelf.load(name, upload)
            text, path = fresh_key(coater, recipients, secret, again, desk.jobs.new("key"))
            return cards.note(text, "Key made"), str(path)

        return reveal(gr, cards.attempt(work, (None,)))

    make.click(run, [*choice, names, first, second], [card, file], **private(gr))
    return {part.elem_id: part for part in (about, names, first, second, make, card, file)}


def fresh_key(
    coater: Coater, recipients: str, passphrase: str, again: str, job: Path
) -> tuple[str, Path]:
    """Words and the encrypted file of a key, or one per recipient, for ``coater``.

    Raises
    ------
    CoaterError
        the coater takes no key.
    EvidenceError
        the passphrases differ or are too short, or a recipient has no fit name.
    """
    from siren_ext.keys.coating_key import KeyRing

    if not coater.keyed:
        raise CoaterError(
            "The chosen coater is not keyed, so a key is of no use with it. Choose a keyed one; "
            "'siren-ext train --preset keyed' makes one."
        )
    if (passphrase or "") != (again or ""):
        raise EvidenceError("The two passphrases differ; type the same one twice.")
    lines = [line.strip() for line in (recipients or "").splitlines() if line.strip()]
    ring = KeyRing.draw(lines, coater.config.message_bits)
    path = job / KEY_NAME
    ring.save(path, passphrase or "")
    prints = "; ".join(
        f"{printable(name)}: {key.fingerprint()}" if name else key.fingerprint()
        for name, key in ring
    )
    return (
        "Download the file now, as the copy on this page is deleted. Fingerprint, which tells "
        f"nothing about the message: {prints}",
        path,
    )
