"""SD.Next's list of checkpoints: titles without suffix."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

checkpoints_list: dict[str, Any] = {}
checkpoint_aliases: dict[str, Any] = {}


def _add(name: str, digest: str) -> None:
    info = SimpleNamespace(
        name=name,
        title=f"{name} [{digest[:10]}]",
        sha256=digest,
        filename=f"/models/{name}.safetensors",
    )
    checkpoints_list[info.title] = info
    checkpoint_aliases.update({info.title: info, name: info, info.filename: info})


_add("other", "0123456789" + "0" * 54)
_add("small/tiny", "9876543210" + "0" * 54)


def get_closest_checkpoint_match(s):
    return checkpoint_aliases.get(s)
