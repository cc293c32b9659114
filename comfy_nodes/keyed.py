"""Nodes for keyed coatings: the owner's key, and the test that needs no reference model."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import files, paths, shown
from .types import CATEGORY, Case, KeySocket, ScoresSocket, VerdictSocket, schema
from .verify import ALPHA, in_words


class LoadKey(io.ComfyNode):
    """Opens a key file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenLoadKey",
            search_aliases=["secret", "passphrase", "watermark key"],
            display_name="Load Key",
            category=CATEGORY,
            description="Opens an encrypted key file made by 'siren-ext key new'. The passphrase "
            "is read from an environment variable, so it is never saved in a workflow or image.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=files.key_names() or [files.NO_KEYS],
                    tooltip="A key file in models/siren.",
                ),
                io.String.Input(
                    "passphrase_variable",
                    default="SIREN_PASSPHRASE",
                    tooltip="Name of the environment variable that holds the passphrase. Never "
                    "type the passphrase itself here.",
                ),
                io.String.Input(
                    "recipient",
                    default="",
                    tooltip="Whose key to use if the file has more than one. Otherwise leave it "
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
        return paths.all_of(
            paths.input_check(files.key_file, name),
            paths.input_check(files.passphrase, passphrase_variable),
        )

    @classmethod
    def fingerprint_inputs(cls, name: str, **_: Any) -> Any:
        return paths.stamp(files.key_file(name))

    @classmethod
    def execute(cls, name: str, passphrase_variable: str, recipient: str) -> io.NodeOutput:
        from siren_ext.keys.coating_key import KeyRing

        ring = KeyRing.load(files.key_file(name), files.passphrase(passphrase_variable))
        return io.NodeOutput(ring.key(recipient.strip() or None))


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
            "your key. Needs a keyed coater, but no reference model.",
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
    def execute(cls, suspect: Any, key: Any, alpha: float) -> io.NodeOutput:
        from siren_ext.verdict.config import VerifyConfig
        from siren_ext.verdict.verify import verify

        verdict = verify(suspect, None, VerifyConfig(alpha=alpha), key=key)
        text = in_words(verdict)
        return io.NodeOutput(
            Case(verdict, suspect, None),
            verdict.deciding.p_value,
            text,
            ui=shown.verdict_shown(verdict),
        )
