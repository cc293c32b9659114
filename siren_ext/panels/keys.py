"""Keys in a panel: the fields for a key, how it is opened, and how a new key file is made.

The passphrase and the message stay in memory for one run: this module never writes, logs or
returns them. The uploaded file stays encrypted and is deleted with the page's other uploads.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.errors import CoaterError, EvidenceError
from siren_ext.evidence.counting import FiledKey
from siren_ext.evidence.ledger import ledger_of, start_ledger
from siren_ext.panels import html as cards
from siren_ext.panels.gradio_compat import private, upload_field, upload_paths
from siren_ext.panels.host import PanelHost, UploadLimits
from siren_ext.panels.widgets import ONE_FILE_PX, reveal
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

KEY_NAME = "siren_keys.json"
MISSING = (
    "Keys need the package 'cryptography', which is not installed. Install it into the Python that "
    "runs this page (pip install cryptography) and restart the page."
)
_MEMORY = (
    "Your key is opened in memory for this run only. The passphrase and the message are not "
    "stored, logged or sent back."
)
_NOT_YOURS = (
    "This page can be reached by other people or does not run on your own machine: anybody who "
    "runs its server could read a key that you open here. If in doubt, run this step on your own "
    "machine: {command}"
)


def keys_can_be_opened() -> bool:
    """Whether the package that key files are encrypted with is installed.

    Returns
    -------
    bool
        True if ``cryptography`` can be imported.
    """
    return find_spec("cryptography") is not None


def key_choice(
    gr: Any,
    prefix: str,
    limits: UploadLimits,
    purpose: str,
    command: str,
    *,
    commitment: bool = False,
) -> list[Any]:
    """A folded section with the fields for a key.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    prefix : str
        First part of the components' ids.
    limits : UploadLimits
        The host's limits.
    purpose : str
        What a key is for in this panel.
    command : str
        The command for the same step on the visitor's own machine, shown on pages that run
        elsewhere.
    commitment : bool
        Whether to add two fields, for a commitment file and for the key's ledger.

    Returns
    -------
    list[Any]
        The fields for key file, passphrase, recipient and (if asked for) commitment and ledger.
    """
    ready = keys_can_be_opened()
    with gr.Accordion("Key (only with a keyed coater)", open=False, elem_id=f"{prefix}_key"):
        lines = [purpose, _MEMORY if ready else MISSING]
        if ready and not limits.folders:
            lines.append(_NOT_YOURS.format(command=command))
        gr.HTML(cards.hint(*lines), elem_id=f"{prefix}_key_about")
        file = upload_field(
            gr,
            label="Key file (.json)",
            file_types=[".json"],
            visible=ready,
            height=ONE_FILE_PX,
            elem_id=f"{prefix}_key_file",
        )
        with gr.Row():
            passphrase = passphrase_box(gr, f"{prefix}_key_passphrase", "Passphrase", visible=ready)
            recipient = gr.Textbox(
                label="Recipient, if the file has more than one key",
                value="",
                visible=ready,
                min_width=240,
                elem_id=f"{prefix}_key_recipient",
            )
        if commitment:
            fixed = upload_field(
                gr,
                label="Commitment (.json), if you made one",
                file_types=[".json"],
                height=ONE_FILE_PX,
                elem_id=f"{prefix}_commitment",
            )
            ledger = upload_field(
                gr,
                label="Ledger (.ledger): the file beside the key file that counts its tests",
                file_types=[".ledger"],
                visible=ready,
                height=ONE_FILE_PX,
                elem_id=f"{prefix}_ledger",
            )
            return [file, passphrase, recipient, fixed, ledger]
    return [file, passphrase, recipient]


def passphrase_box(gr: Any, elem_id: str, label: str, *, visible: bool = True) -> Any:
    """A field that hides what is typed, and that no web UI saves in its settings.

    Parameters
    ----------
    gr : Any
        The host's ``gradio`` module.
    elem_id : str
        Id of the component.
    label : str
        Its label.
    visible : bool
        Whether it is shown.

    Returns
    -------
    Any
        The ``gr.Textbox``.
    """
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
    # AUTOMATIC1111 and Forge offer to save the fields of a page as its defaults
    box.do_not_save_to_config = True
    return box


def open_key(upload: Any, passphrase: str | None, recipient: str | None) -> FiledKey | None:
    """Open the key in an uploaded file.

    Parameters
    ----------
    upload : Any
        Value of the file field.
    passphrase : str | None
        The passphrase.
    recipient : str | None
        Whose key to use, if the file has more than one.

    Returns
    -------
    FiledKey | None
        The key; None if no field was filled in.

    Raises
    ------
    EvidenceError
        The file is not a key file, the passphrase is missing or wrong, the file has several keys
        and no recipient was named, or the other fields were filled in without a file.
    """
    paths = upload_paths(upload)
    wanted = (recipient or "").strip()
    if not paths:
        if passphrase or wanted:
            raise EvidenceError(
                "A passphrase or recipient was given without a key file. Add the file under 'Key', "
                "or clear both fields."
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
            f"This is not a key file: {error} Expected the file that 'siren-ext key new' wrote."
        ) from None
    if not passphrase:
        raise EvidenceError("The passphrase is missing. Type it in the field below the key file.")
    ring = KeyRing.load(paths[0], passphrase)
    return FiledKey(ring.key(wanted or None), paths[0], len(ring))


def with_ledger(key: FiledKey | None, upload: Any, job: Path) -> FiledKey | None:
    """Copy the uploaded ledger of a key, so that a test can be entered into it.

    Parameters
    ----------
    key : FiledKey | None
        The opened key, if there is one.
    upload : Any
        Value of the file field.
    job : Path
        Temporary folder for the copy, which the visitor gets back.

    Returns
    -------
    FiledKey | None
        The key, with its ledger in ``job``.

    Raises
    ------
    EvidenceError
        There is a ledger without a key.
    """
    paths = upload_paths(upload)
    if key is None:
        if paths:
            raise EvidenceError("A ledger was given without a key file. Add the key file as well.")
        return None
    moved = FiledKey(key, job / key.file.name, key.keys)
    if paths:
        shutil.copyfile(paths[0], ledger_of(moved.file))
    return moved


def commitment_path(upload: Any) -> Path | None:
    """Path of an uploaded commitment.

    Parameters
    ----------
    upload : Any
        Value of the file field.

    Returns
    -------
    Path | None
        The file, None if there is none.
    """
    return next(iter(upload_paths(upload)), None)


def key_maker(gr: Any, prefix: str, host: PanelHost, coater: tuple[Any, Any]) -> dict[str, Any]:
    """A folded section that makes a key file for the chosen coater.

    Shown only where visitors own the machine: a secret must not be created on somebody else's.

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

    Returns
    -------
    dict[str, Any]
        The components by their ``elem_id``.
    """
    shown = host.limits.folders and keys_can_be_opened()
    with gr.Accordion("Make a key", open=False, visible=shown, elem_id=f"{prefix}_newkey"):
        about = gr.HTML(
            cards.hint(
                "Creates a random secret message for the keyed coater chosen above and gives you "
                "an encrypted key file, like 'siren-ext key new'. Without both the file and the "
                "passphrase you can't prove anything later: back them up, in different places."
            ),
            elem_id=f"{prefix}_newkey_about",
        )
        names = gr.Textbox(
            label="Recipients, one per line; each one gets a key (leave empty for a single key)",
            value="",
            lines=2,
            elem_id=f"{prefix}_newkey_recipients",
        )
        with gr.Row():
            first = passphrase_box(
                gr, f"{prefix}_newkey_passphrase", "New passphrase (8 characters or more)"
            )
            second = passphrase_box(gr, f"{prefix}_newkey_again", "Repeat the passphrase")
        make = gr.Button("Make a key", elem_id=f"{prefix}_newkey_run")
        card = gr.HTML(elem_id=f"{prefix}_newkey_result")
        file = gr.File(
            label="Key file and its ledger: keep both, in one folder",
            file_count="multiple",
            visible=False,
            elem_id=f"{prefix}_newkey_file",
        )

    def run(
        coater_name: str, coater_file: Any, recipients: str, passphrase: str, again: str
    ) -> tuple[Any, ...]:
        def work() -> tuple[Any, ...]:
            chosen = host.coaters.load(coater_name, coater_file)
            text, path = new_key_file(chosen, recipients, passphrase, again, host.jobs.new("key"))
            return cards.note(text, "Key made"), [str(path), str(ledger_of(path))]

        return reveal(gr, cards.attempt(work, (None,)))

    make.click(run, [*coater, names, first, second], [card, file], **private(gr))
    return {part.elem_id: part for part in (about, names, first, second, make, card, file)}


def new_key_file(
    coater: Coater, recipients: str, passphrase: str, again: str, job: Path
) -> tuple[str, Path]:
    """Create a key file for a coater.

    Parameters
    ----------
    coater : Coater
        A keyed coater.
    recipients : str
        One name per line for a key each; empty for a single key.
    passphrase, again : str
        The passphrase, typed twice.
    job : Path
        Temporary folder for the file.

    Returns
    -------
    tuple[str, Path]
        A message with the keys' fingerprints, and the encrypted file, with its ledger beside it.

    Raises
    ------
    CoaterError
        The coater is not keyed.
    EvidenceError
        The passphrases differ or are too short, or a recipient's name can't be used.
    """
    from siren_ext.keys.coating_key import KeyRing

    if not coater.keyed:
        raise CoaterError(
            "The chosen coater is not keyed, so a key can't be used with it. Choose a keyed "
            "coater, or train one 'with a secret message'."
        )
    if (passphrase or "") != (again or ""):
        raise EvidenceError("The two passphrases are different. Type the same one twice.")
    lines = [line.strip() for line in (recipients or "").splitlines() if line.strip()]
    ring = KeyRing.draw(lines, coater.config.message_bits)
    path = job / KEY_NAME
    ring.save(path, passphrase or "")
    start_ledger(path)
    fingerprints = "; ".join(
        f"{printable(name)}: {key.fingerprint()}" if name else key.fingerprint()
        for name, key in ring
    )
    return (
        "Download both files now: the copies on this page will be deleted. The ledger counts the "
        "key's tests; add it together with the key when you verify. Fingerprint of the key (it "
        f"reveals nothing about the message): {fingerprints}",
        path,
    )
