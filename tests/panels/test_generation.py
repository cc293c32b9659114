"""What a program that generates images is never asked."""

from __future__ import annotations

from typing import Any

import pytest

from siren_ext.errors import ConfigError
from siren_ext.panels.generation import ImageRequest

GOOD: dict[str, Any] = {
    "checkpoint": "", "loras": (("stolen", 1.0),), "prompts": ("a fox", "a cat <3"), "count": 4,
    "seed": 0, "steps": 3, "guidance": 7.0, "size": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        # random seeds of the web UI, with which even a LoRA without effect makes other images
        ({"seed": -1}, "first seed is -1"),
        # the reference would be made with the suspicious LoRA
        ({"prompts": ("a fox", "a cat <lora:stolen:1>")}, "used for the reference"),
        ({"prompts": ("a fox <lyco:stolen:1>",)}, "used for the reference"),
        ({"negative": "<hypernet:stolen:1>"}, "used for the reference"),
    ],
)
def test_requests_that_would_spoil_a_test_are_refused(changes: dict[str, Any], why: str) -> None:
    assert ImageRequest(**GOOD).prompts
    with pytest.raises(ConfigError, match=why):
        ImageRequest(**GOOD | changes)
