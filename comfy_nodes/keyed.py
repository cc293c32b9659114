"""Nodes for keyed coatings: the owner's secret message, and the test that needs no reference."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import paths
from .types import CATEGORY, Case, KeySocket, ScoresSocket, VerdictSocket
from .verify import ALPHA, in_words


class LoadKey(io.ComfyNode):
    """A key file -> SIREN_KEY."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SirenLoadKey",
            display_name="Load Key",
            category=CATEGORY,
            description="Opens the encrypted file of 'siren-ext key new'. The passphrase comes "
            "from the environment, so that no workflow and no saved picture holds it.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=paths.key_names() or [paths.NO_KEYS],
                    tooltip="A key file in models/siren.",
                ),
                io.String.Input(
                    "passphrase_variable",
                    default="SIREN_PASSPHRASE",
                    tooltip="Name of the environment variable in which ComfyUI was given the "
                    "passphrase. Never type the passphrase itself here.",
                ),
                io.String.Input(
                    "recipient",
                    default="",
                    tooltip="Whose key, where the file holds several; else leave it empty.",
                ),
            ],
            outputs=[
                KeySocket.Output(
                    "key", display_name="key", tooltip="For Coat Image, Coat Folder, Keyed Verify."
                )
            ],
        )

    @classmethod
    def validate_inputs(
        cls, name: str | None = None, passphrase_variable: str | None = None
    ) -> bool | str:
        return paths.all_of(
            paths.input_check(paths.key_file, name),
            paths.input_check(paths.passphrase, passphrase_variable),
        )

    @classmethod
    def fingerprint_inputs(cls, name: str, **_: Any) -> Any:
        return paths.stamp(paths.key_file(name))

    @classmethod
    def execute(cls, name: str, passphrase_variable: str, recipient: str) -> io.NodeOutput:
        from siren_ext.keys.coating_key import KeyRing

        ring = KeyRing.load(paths.key_file(name), paths.passphrase(passphrase_variable))
        return io.NodeOutput(ring.key(recipient.strip() or None))


class KeyedVerify(io.ComfyNode):
    """One pool of scores and the key -> SIREN_VERDICT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SirenKeyedVerify",
            display_name="Keyed Verify",
            category=CATEGORY,
            description="Tests whether the suspicious model's pictures carry the message of your "
            "key. Needs a keyed coater and no reference model.",
            is_output_node=True,
            inputs=[
                ScoresSocket.Input(
                    "suspect",
                    tooltip="30 or more pictures of the suspicious model, scored by a keyed "
                    "coater.",
                ),
                KeySocket.Input("key", tooltip="The key with which the pictures were coated."),
                io.Float.Input("alpha", **ALPHA),
            ],
            outputs=[
                VerdictSocket.Output(
                    "verdict", display_name="verdict", tooltip="For Verification Report."
                ),
                io.Float.Output(
                    "p", display_name="p", tooltip="How often a random message fits as well."
                ),
                io.String.Output(
                    "text", display_name="text", tooltip="The verdict in words, with its limits."
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
            Case(verdict, suspect, None), verdict.deciding.p_value, text, ui={"text": (text,)}
        )
