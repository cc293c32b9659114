"""Options that the commands of the studies share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import typer

T = TypeVar("T")

StudyImages = Annotated[
    str,
    typer.Option("--data", help="Folder, dataset.toml, or samples for the bundled set."),
]
StudyCoater = Annotated[
    str,
    typer.Option("--coater", help="Coater file, or samples or keyed for a bundled one."),
]


def shard_of(everything: Sequence[T], shard: str) -> list[T]:
    """The part of a study's work that one of several processes does.

    Parameters
    ----------
    everything : Sequence[T]
        All of it.
    shard : str
        ``i/n`` for every n-th piece from the i-th on, counted from 0.

    Raises
    ------
    BadParameter
        If the text is none of this form.
    """
    first, _, count = shard.partition("/")
    if not (first.isdecimal() and count.isdecimal() and int(first) < int(count)):
        raise typer.BadParameter(f"--shard is {shard!r}; expected i/n with i from 0 to n - 1.")
    return list(everything[int(first) :: int(count)])
