"""Which of a server's model files is meant by a name, with or without folder and suffix."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from siren_ext.text import folded

T = TypeVar("T")
SUFFIX = re.compile(r"\.(safetensors|ckpt|gguf|sft|pt2?|pth|bin|pkl)$", re.IGNORECASE)


def plain(name: str) -> str:
    """A name with the slashes of any system."""
    return name.strip().replace("\\", "/").strip("/")


def without_suffix(names: Iterable[str]) -> set[str]:
    """Names without the suffix of a model file."""
    return {SUFFIX.sub("", name) for name in names}


def ends_of_path(path: str) -> set[str]:
    """A path with all, some or none of its folders.

    Parameters
    ----------
    path : str
        Such as ``models/styles/cat.safetensors``, with the slashes of any system.

    Returns
    -------
    set[str]
        Here the path, ``styles/cat.safetensors`` and ``cat.safetensors``.
    """
    parts = plain(path).split("/")
    return {"/".join(parts[start:]) for start in range(len(parts))}


def best_fits(
    listed: Sequence[T], wanted: str, ranks: Callable[[T], Sequence[Collection[str]]]
) -> list[T]:
    """The files that fit a name best.

    Parameters
    ----------
    listed : Sequence[T]
        The server's list.
    wanted : str
        The name.
    ranks : Callable[[T], Sequence[Collection[str]]]
        Gives a file's names as :func:`plain` writes them, the most exact ones first.

    Returns
    -------
    list[T]
        Several if they fit equally well. Capital letters are ignored only if nothing has the name
        as it is.
    """
    name = plain(wanted)
    named = [(file, ranks(file)) for file in listed] if name else []
    depth = max((len(names) for _, names in named), default=0)
    for write in (str, folded):
        for rank in range(depth):
            found = [file for file, names in named if write(name) in map(write, names[rank])]
            if found:
                return found
    return []
