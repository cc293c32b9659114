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


def names_of_file(path: str) -> tuple[set[str], ...]:
    """Names of a file in a server's folder of models in four ranks, the most exact ones first.

    Parameters
    ----------
    path : str
        The path in that folder, with the slashes of any system.

    Returns
    -------
    tuple[set[str], ...]
        The path, the same without suffix, and with fewer folders with and without suffix.
    """
    whole, ends = {plain(path)}, ends_of_path(path)
    return whole, without_suffix(whole), ends, without_suffix(ends)


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
