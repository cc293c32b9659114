"""What a reader of files from other people is for the fuzzer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """A good file: its place below the reader's folder, its bytes and what they consist of."""

    place: str
    data: bytes
    kind: str


@dataclass(frozen=True)
class Reader:
    """A reader: good files, and what reads the folder that holds one of them, damaged.

    ``read`` gets the folder and the place of the damaged file. ``kept`` are the other files.
    """

    name: str
    samples: Sequence[Sample]
    read: Callable[[Path, str], object]
    kept: dict[str, bytes] = field(default_factory=dict)


def of_file(reads: Callable[[Path], object]) -> Callable[[Path, str], object]:
    return lambda folder, place: reads(folder / place)


def sample_of(file: Path, kind: str, place: str = "") -> Sample:
    return Sample(place or file.name, file.read_bytes(), kind)
