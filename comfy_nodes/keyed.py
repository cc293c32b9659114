"""Nodes for keyed coatings: the owner's key, and the test that needs no reference model."""

from __future__ import annotations

import os
from typing import Any

from comfy_api.latest import io

from . import commitments, example_key, files, paths, shown
from .types import CATEGORY, Case, CoaterSocket, KeySocket, ScoresSocket, VerdictSocket, schema
from .verify import ALPHA, in_words

_BACK_UP = (
    "Back up the key file and the passphrase, in different places: without both you can't prove "
    "anything later."
)


class LoadKey(io.ComfyNode):
    """Opens a key file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenLoadKey",
            search_aliases=["secret", "passphrase", "watermark key"],
            display_name="Load Key",
            category=CATEGORY,
            description="Opens an encrypted key file made by New Key. The passphrase is never "
            "saved in a workflow or image.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=[*(files.key_names() or [files.NO_KEYS]), example_key.NAME],
                    tooltip="A key file in models/siren. The bundled key belongs to the example "
                    "LoRA; everybody has it.",
                ),
                io.String.Input(
                    "passphrase_variable",
                    default="SIREN_PASSPHRASE",
                    tooltip="Name of the environment variable that holds the passphrase. If it is "
                    "empty, the passphrase that New Key made is used. Never type the "
                    "passphrase itself here.",
                ),
                io.String.Input(
                    "recipient",
                    default="",
                    tooltip="Whose key to use, if the file has more than one. Otherwise leave it "
                    "empty.",
                ),
            ],
            outputs=[
                KeySocket.Output(
                    "key",
                    display_name="key",
                    tooltip="For Coat Image, Coat Folder and Keyed Verify.",
                )
            ],
        )

    @classmethod
    def validate_inputs(
        cls, name: str | None = None, passphrase_variable: str | None = None
    ) -> bool | str:
        if name == example_key.NAME:
            return True
        return paths.all_of(
            paths.input_check(files.key_file, name),
            paths.input_check(files.passphrase, passphrase_variable),
        )

    @classmethod
    def fingerprint_inputs(cls, name: str, **_: Any) -> Any:
        return None if name == example_key.NAME else paths.stamp(files.key_file(name))

    @classmethod
    def execute(cls, name: str, passphrase_variable: str, recipient: str) -> io.NodeOutput:
        from siren_ext.evidence.counting import FiledKey
        from siren_ext.keys.coating_key import KeyRing

        if name == example_key.NAME:
            return io.NodeOutput(example_key.example_key())
        file = files.key_file(name)
        ring = KeyRing.load(file, files.passphrase(passphrase_variable))
        return io.NodeOutput(FiledKey(ring.key(recipient.strip() or None), file, len(ring)))


class NewKey(io.ComfyNode):
    """Makes a key file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenNewKey",
            search_aliases=["make a key", "secret", "passphrase", "watermark key"],
            display_name="New Key",
            category=CATEGORY,
            description="Makes a secret key for your keyed coater, in an encrypted file in "
            "models/siren. A key that already exists is opened, never replaced.",
            is_output_node=True,
            inputs=[
                CoaterSocket.Input("coater", tooltip="A keyed coater of your own."),
                io.String.Input(
                    "save_as", default="my key", tooltip="Name of the key file in models/siren."
                ),
            ],
            outputs=[
                KeySocket.Output(
                    "key",
                    display_name="key",
                    tooltip="For Coat Image, Coat Folder and Keyed Verify.",
                ),
                io.String.Output("file", display_name="file", tooltip="Its name in Load Key."),
            ],
        )

    @classmethod
    def validate_inputs(cls, save_as: str | None = None) -> bool | str:
        return paths.input_check(files.new_key_file, save_as)

    @classmethod
    def fingerprint_inputs(cls, save_as: str | None, **_: Any) -> str | float:
        # without its file, a key that ComfyUI still has in memory proves nothing later
        return paths.fingerprint((files.new_key_file, save_as))

    @classmethod
    def execute(cls, coater: Any, save_as: str) -> io.NodeOutput:
        from siren_ext.errors import CoaterError
        from siren_ext.evidence.counting import FiledKey
        from siren_ext.evidence.ledger import start_ledger
        from siren_ext.keys.coating_key import KeyRing

        if not coater.keyed:
            raise CoaterError(
                "This coater takes no key. Train one with the preset 'keyed' in Train Coater."
            )
        path = files.new_key_file(save_as)
        if path.is_file():
            title = "Key opened (it already existed)"
            ring = KeyRing.load(path, files.new_passphrase())
        else:
            title = "Key made"
            ring = KeyRing.draw(bits=coater.config.message_bits)
            ring.save(path, files.new_passphrase())
            start_ledger(path)
        key = FiledKey(ring.key(None), path, len(ring))
        lines = [f"models/{paths.MODELS}/{path.name}, fingerprint {key.fingerprint()}", _BACK_UP]
        if os.environ.get(files.VARIABLE) is None:
            lines.append(f"The passphrase is in {files.passphrase_file()}")
        return io.NodeOutput(key, path.name, ui=shown.shown(title, lines, tone="good"))


class CommitCoating(io.ComfyNode):
    """Writes a commitment."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenCommit",
            search_aliases=["prove first", "time stamp", "copyright", "commitment"],
            display_name="Commit",
            category=CATEGORY,
            description="Records hashes of your coater, your key and a coated folder. Publish the "
            "SHA-256 that it shows before you publish the images, so that you can "
            "prove later that your files came first.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                io.Combo.Input(
                    "name",
                    options=files.coater_names(),
                    tooltip="The coater that the images were coated with.",
                ),
                io.String.Input(
                    "folder",
                    default="siren/coated",
                    tooltip="The coated folder from Coat Folder. Leave it empty to record no "
                    "folder.",
                ),
                io.String.Input(
                    "save_as",
                    default="siren/commitment",
                    tooltip="Name of the new file inside ComfyUI's output folder. A number is "
                    "added.",
                ),
                KeySocket.Input(
                    "key", optional=True, tooltip="The key that the images were coated with."
                ),
            ],
            outputs=[
                io.String.Output(
                    "sha256",
                    display_name="sha256",
                    tooltip="Publish this before you publish the images.",
                )
            ],
        )

    @classmethod
    def validate_inputs(
        cls, name: str | None = None, folder: str | None = None, save_as: str | None = None
    ) -> bool | str:
        return paths.all_of(
            paths.input_check(files.coater_file, name),
            paths.input_check(paths.new_output, save_as),
        )

    @classmethod
    def fingerprint_inputs(cls, name: str | None, folder: str | None, **_: Any) -> str | float:
        return paths.fingerprint((files.coater_file, name), (paths.folder_if_any, folder))

    @classmethod
    def execute(cls, name: str, folder: str, save_as: str, key: Any = None) -> io.NodeOutput:
        from siren_ext.evidence.commitment import make_commitment
        from siren_ext.keys.single_bits import joint_hash, key_hashes

        example_key.require_own(key)
        coated = paths.folder_if_any(folder)
        bits = {} if key is None else {key.fingerprint(): joint_hash(key_hashes(key))}
        made = make_commitment(files.coater_file(name), bits, coated, bits=bits)
        path = paths.free_output(save_as, ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = made.save(path)
        lines = [
            f"SHA-256: {digest}",
            "Publish this line before you publish the images, or have it time-stamped. The file "
            f"{path.name} shows which images are coated: keep it to yourself and don't change it.",
        ]
        if key is None:
            lines.append("No key is connected, so the commitment does not cover a key.")
        title = f"Committed: {len(made.files)} coated images"
        tone: shown.Tone = "warn" if key is None else "good"
        return io.NodeOutput(digest, ui=shown.shown(title, lines, tone=tone))


class KeyedVerify(io.ComfyNode):
    """Tests a pool of scores with a key."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenKeyedVerify",
            search_aliases=[
                "verify lora",
                "stolen images",
                "copyright",
                "detect watermark",
                "proof",
            ],
            display_name="Keyed Verify",
            category=CATEGORY,
            description="Tests whether the suspicious model's images carry the secret message of "
            "your key. Needs a keyed coater, but no reference model. Every test is counted in the "
            "ledger beside the key file.",
            is_output_node=True,
            inputs=[
                ScoresSocket.Input(
                    "suspect",
                    tooltip="Scores of 30 or more images of the suspicious model, made with your "
                    "keyed coater.",
                ),
                KeySocket.Input(
                    "key", tooltip="The key that your published images were coated with."
                ),
                io.Float.Input("alpha", **ALPHA),
                io.Combo.Input(
                    "commitment",
                    options=commitments.commitment_names(),
                    default=commitments.NO_COMMITMENT,
                    optional=True,
                    tooltip="The file that Commit wrote before you published the images, if any.",
                ),
            ],
            outputs=[
                VerdictSocket.Output(
                    "verdict", display_name="verdict", tooltip="For Verification Report."
                ),
                io.Float.Output(
                    "p", display_name="p", tooltip="How often a random message fits equally well."
                ),
                io.String.Output(
                    "text",
                    display_name="text",
                    tooltip="The verdict in words, with warnings and limits.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, commitment: str | None = None) -> bool | str:
        return paths.input_check(commitments.commitment_file, commitment)

    @classmethod
    def fingerprint_inputs(
        cls, commitment: str | None = commitments.NO_COMMITMENT, **_: Any
    ) -> str | float:
        return paths.fingerprint((commitments.commitment_file, commitment))

    @classmethod
    def execute(
        cls, suspect: Any, key: Any, alpha: float, commitment: str = commitments.NO_COMMITMENT
    ) -> io.NodeOutput:
        from siren_ext.evidence.counting import counted
        from siren_ext.verdict.config import VerifyConfig
        from siren_ext.verdict.verify import verify

        stated = commitments.standing(commitment, suspect, key)
        standing, price = counted(key, suspect, stated)
        config = VerifyConfig(alpha=alpha, price=price)
        verdict = verify(suspect, None, config, key=key, precedence=standing)
        text = in_words(verdict)
        return io.NodeOutput(
            Case(verdict, suspect, None),
            verdict.deciding.p_value,
            text,
            ui=shown.verdict_shown(verdict),
        )
