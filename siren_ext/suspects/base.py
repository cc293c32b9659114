"""What a suspect is: something that makes pictures on request, and a record of how."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor

from siren_ext.config import Config
from siren_ext.errors import ConfigError
from siren_ext.files import sha256_file, write_json
from siren_ext.images import Picture, to_uint8, write_picture
from siren_ext.progress import NULL, Progress

PROVENANCE = "provenance.json"
SAVE_SECONDS = 5.0


@dataclass(frozen=True)
class PromptPlan(Config):
    """Which pictures to ask for: picture i has prompt i (in turn) and seed ``seed + i``.

    ``size`` is the side in pixels, 0 the model's own; ``guidance`` the classifier-free scale (1:
    none; 3 suits the pocket model, 7.5 Stable Diffusion); ``negative`` the negative prompt.
    """

    prompts: tuple[str, ...] = ("an image",)
    count: int = 100
    seed: int = 0
    steps: int = 20
    guidance: float = 3.0
    size: int = 0
    negative: str = ""

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "count": (1, 1_000_000),
        "seed": (0, 2**62),
        "steps": (1, 1000),
        "guidance": (0.0, 100.0),
        "size": (0, 8192),
    }

    def __post_init__(self) -> None:
        """Check the settings; raises :class:`ConfigError`."""
        super().__post_init__()
        texts = isinstance(self.prompts, tuple) and all(isinstance(p, str) for p in self.prompts)
        if not texts or not self.prompts:
            raise ConfigError(
                f"PromptPlan.prompts is {self.prompts!r}; expected at least one prompt in a list."
            )

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


class Suspect(Protocol):
    """Anything that can be asked for pictures."""

    def describe(self) -> dict[str, Any]:
        """Plain values for the record: kind, model and adapter hashes; no machine paths."""

    def generate(
        self, plan: PromptPlan, *, indices: Sequence[int] | None = None, progress: Progress = NULL
    ) -> Iterator[Mimicry]:
        """The plan's pictures, or those of ``indices`` alone, in rising order."""


def generate_images(
    suspect: Suspect, plan: PromptPlan, out: Path, *, progress: Progress = NULL
) -> list[Path]:
    """Write the plan's pictures to ``out`` as 00000.png, 00001.png, ... and ``provenance.json``.

    A second call makes only the pictures that are missing or no longer what the record says.

    Raises :class:`ConfigError` when ``out`` holds the pictures of another suspect or plan.
    """
    out = Path(out)
    record: dict[str, Any] = {
        "kind": "generated",
        "suspect": suspect.describe(),
        "plan": json.loads(json.dumps(plan.to_dict())),
    }
    images = _earlier(out, record)
    paths = [out / f"{index:05d}.png" for index in range(plan.count)]
    missing = [
        index
        for index, path in enumerate(paths)
        if not path.is_file() or images.get(path.name, {}).get("sha256") != sha256_file(path)
    ]
    out.mkdir(parents=True, exist_ok=True)
    # the record comes first, so that a stopped run is recognised by the next call
    write_json(out / PROVENANCE, {**record, "images": images})
    progress.stage("Generating", plan.count, plan.count - len(missing))
    last_save = time.monotonic()
    try:
        for mimicry in suspect.generate(plan, indices=missing) if missing else ():
            path = paths[mimicry.index]
            write_picture(Picture(to_uint8(mimicry.image)), path)
            images[path.name] = {
                "prompt": mimicry.prompt,
                "seed": mimicry.seed,
                "sha256": sha256_file(path),
            }
            if time.monotonic() - last_save > SAVE_SECONDS:
                write_json(out / PROVENANCE, {**record, "images": images})
                last_save = time.monotonic()
            progress.advance(note=path.name)
    finally:
        write_json(out / PROVENANCE, {**record, "images": dict(sorted(images.items()))})
    return paths


def _earlier(out: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The pictures that an earlier call of the same plan finished."""
    path = out / PROVENANCE
    if not path.is_file():
        if out.is_dir() and any(out.glob("*.png")):
            raise ConfigError(
                f"{out} holds pictures without a {PROVENANCE}; expected an empty folder or one "
                "that this step made. Choose another folder."
            )
        return {}
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        images = dict(earlier.pop("images"))
        same = bool(earlier == record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} can't be read: {error}. Delete the folder to start anew.") from (
            error
        )
    if not same:
        raise ConfigError(
            f"{out} holds pictures of another model, adapter or plan. Choose another folder, or "
            "delete this one."
        )
    return images
