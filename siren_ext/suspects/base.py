"""What a suspect is: something that makes pictures on request, and a record of how."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

from msgspec import Meta
from torch import Tensor

from siren_ext.config import Config
from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.errors import ConfigError
from siren_ext.files import sha256_file, write_json
from siren_ext.progress import NULL, Progress

PROVENANCE = "provenance.json"
SAVE_SECONDS = 5.0


@dataclass(frozen=True)
class PromptPlan(Config):
    """Which pictures to ask for: picture i has prompt i (in turn) and seed ``seed + i``.

    ``size`` is the side in pixels, 0 the model's own; ``guidance`` the classifier-free scale (1:
    none; 3 suits the pocket model, 7.5 Stable Diffusion); ``negative`` the negative prompt;
    ``sampler`` its name as the suspect calls it, "" the suspect's own.
    """

    prompts: Annotated[tuple[str, ...], Meta(min_length=1)] = ("an image",)
    count: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    seed: Annotated[int, Meta(ge=0, le=2**62)] = 0
    steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    guidance: Annotated[float, Meta(ge=0.0, le=100.0)] = 3.0
    size: Annotated[int, Meta(ge=0, le=8192)] = 0
    negative: str = ""
    sampler: str = ""

    def prompt(self, index: int) -> str:
        """The prompt of picture ``index``."""
        return self.prompts[index % len(self.prompts)]


@dataclass(frozen=True)
class Mimicry:
    """One picture of a suspect: ``image`` (3, H, W) in [0,1], and what it was made from."""

    image: Tensor
    index: int
    prompt: str
    seed: int


@dataclass(frozen=True)
class Missed:
    """A picture that a suspect would not give, and why; it counts as nothing."""

    index: int
    reason: str


@dataclass
class Usage:
    """Requests for pictures that were made so far, whatever came of them."""

    requests: int = 0


class Suspect(Protocol):
    """Anything that can be asked for pictures."""

    def describe(self) -> dict[str, Any]:
        """Plain values for the record: kind, model and adapter hashes; no machine paths."""

    def generate(
        self, plan: PromptPlan, *, indices: Sequence[int] | None = None, progress: Progress = NULL
    ) -> Iterator[Mimicry | Missed]:
        """The plan's pictures, or those of ``indices`` alone, in rising order."""


@runtime_checkable
class Metered(Protocol):
    """A suspect whose requests are counted, since they may cost something."""

    usage: Usage


class _Notes(Progress):
    """Passes on notes within a unit of work; the units themselves are counted elsewhere."""

    def __init__(self, inner: Progress) -> None:
        super().__init__()
        self._inner = inner

    def advance(self, units: int = 1, note: str = "") -> None:
        if units == 0:
            self._inner.advance(0, note)


def generate_images(
    suspect: Suspect,
    plan: PromptPlan,
    out: Path,
    *,
    enough: Callable[[Path], bool] | None = None,
    progress: Progress = NULL,
) -> list[Path]:
    """Write the plan's pictures to ``out`` as 00000.png, 00001.png, ... and ``provenance.json``.

    A second call makes only the pictures that are missing or no longer what the record says. The
    paths given are those of the pictures that are there: a picture that the suspect would not give
    stands under ``missed`` in the record with the reason (see :func:`read_missed`), and the next
    call asks for it again. ``enough`` is asked after every picture, in rising order and earlier
    ones included; when it says yes, no more are made.

    Raises :class:`ConfigError` when ``out`` holds the pictures of another suspect or plan.
    """
    out = Path(out)
    record: dict[str, Any] = {
        "kind": "generated",
        "suspect": suspect.describe(),
        "plan": json.loads(json.dumps(plan.to_dict())),
    }
    images, requests = _earlier(out, record)
    usage = suspect.usage if isinstance(suspect, Metered) else None
    if usage is not None:
        usage.requests = requests
    lost: dict[str, str] = {}
    paths = [out / f"{index:05d}.png" for index in range(plan.count)]
    missing = [
        index
        for index, path in enumerate(paths)
        if not path.is_file() or images.get(path.name, {}).get("sha256") != sha256_file(path)
    ]
    out.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        extra: dict[str, Any] = {"missed": dict(sorted(lost.items()))} if lost else {}
        if usage is not None:
            extra["requests"] = usage.requests
        write_json(out / PROVENANCE, {**record, **extra, "images": dict(sorted(images.items()))})

    # the record comes first, so that a stopped run is recognised by the next call
    save()
    progress.stage("Generating", plan.count, plan.count - len(missing))
    last_save = time.monotonic()
    asked = iter(suspect.generate(plan, indices=missing, progress=_Notes(progress)))
    wanted = set(missing)
    there: list[Path] = []
    try:
        for index, path in enumerate(paths):
            if index in wanted:
                answer = next(asked, None)
                if answer is None:
                    continue
                if isinstance(answer, Missed):
                    lost[path.name] = answer.reason
                    images.pop(path.name, None)
                    path.unlink(missing_ok=True)  # what lay there was not the record's picture
                    progress.advance(note=f"{path.name} missed")
                    continue
                write_picture(Picture(to_uint8(answer.image)), path)
                images[path.name] = {
                    "prompt": answer.prompt,
                    "seed": answer.seed,
                    "sha256": sha256_file(path),
                }
                # what was paid for is never asked for again
                if usage is not None or time.monotonic() - last_save > SAVE_SECONDS:
                    save()
                    last_save = time.monotonic()
                progress.advance(note=path.name)
            there.append(path)
            if enough is not None and enough(path):
                break
    finally:
        save()
    return there


def read_missed(out: Path) -> list[tuple[str, str]]:
    """(name, reason) of the pictures that the last :func:`generate_images` could not get."""
    path = Path(out) / PROVENANCE
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return [(str(name), str(reason)) for name, reason in record.get("missed", {}).items()]


def _earlier(out: Path, record: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The pictures that an earlier call of the same plan finished, and the requests it made."""
    path = out / PROVENANCE
    if not path.is_file():
        if out.is_dir() and any(out.glob("*.png")):
            raise ConfigError(
                f"{out} holds pictures without a {PROVENANCE}; expected an empty folder or one "
                "that this step made. Choose another folder."
            )
        return {}, 0
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        images = dict(earlier.pop("images"))
        requests = int(earlier.pop("requests", 0))
        earlier.pop("missed", None)
        same = bool(earlier == record) or not images  # a refused call leaves an empty record
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} can't be read: {error}. Delete the folder to start anew.") from (
            error
        )
    if not same:
        raise ConfigError(
            f"{out} holds pictures of another model, adapter or plan. Choose another folder, or "
            "delete this one."
        )
    return images, requests
