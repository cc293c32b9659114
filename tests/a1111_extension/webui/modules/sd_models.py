"""The list of checkpoints, found by title, by name and by the title without its folder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

checkpoints_list: dict[str, Any] = {}
checkpoint_aliases: dict[str, Any] = {}


def _add(name: str, digest: str) -> None:
    short = name.rpartition("/")[2]
    info = SimpleNamespace(
        name=name,
        title=f"{name} [{digest[:10]}]",
        short_title=f"{short} [{digest[:10]}]",
        sha256=digest,
        filename=f"/models/{name}",
    )
    checkpoints_list[info.title] = info
    checkpoint_aliases.update({info.title: info, name: info})


_add("other.safetensors", "0123456789" + "0" * 54)
_add("small/tiny.safetensors", "9876543210" + "0" * 54)


def get_closet_checkpoint_match(search_string):
    if search_string in checkpoint_aliases:
        return checkpoint_aliases[search_string]
    found = [info for title, info in checkpoints_list.items() if search_string in title]
    return found[0] if search_string and found else None
