"""A toy world for source attribution: models that know some captions by heart, as functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from zlib import crc32

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.experiments.source_models import SOURCES, Length, SourceModels
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.function import FunctionSuspect

SIDE = 16


def scene(seed: int) -> Tensor:
    """A random picture of large patches, 3 x 16 x 16."""
    cells = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(cells, (SIDE, SIDE), mode="nearest")[0]


def caption(number: int) -> str:
    return f"scene {number}"


def write_scenes(folder: Path, numbers: Iterable[int]) -> ImageSet:
    """Scenes with their captions as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        write_picture(Picture(to_uint8(scene(number))), folder / f"{number:03d}.png")
        (folder / f"{number:03d}.txt").write_text(caption(number))
    return ImageSet.from_folder(folder)


def toy_model(
    name: str, memory: Iterable[int] | Mapping[str, Tensor], *, redraws: bool = True
) -> FunctionSuspect:
    """A model that knows scenes by heart, and draws anything for other captions.

    When it redraws an image that it does not know, it changes its colours by 0.2 or so.
    """
    known = (
        dict(memory)
        if isinstance(memory, Mapping)
        else {caption(number): scene(number) for number in memory}
    )

    own = crc32(name.encode())  # models differ by their names

    def noise(seed: int) -> Tensor:
        return torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed + own))

    def make(prompt: str, seed: int) -> Tensor:
        if prompt in known:
            return (known[prompt] + 0.03 * noise(seed)).clamp(0, 1)
        return scene(1_000_000 + (seed * 7919 + own) % 1_000_003)

    def redraw(image: Tensor, plan: PromptPlan, index: int, strength: float) -> Tensor:
        prompt, seed = plan.prompt(index), plan.seed + index
        if prompt in known:
            return (known[prompt] + 0.03 * noise(seed)).clamp(0, 1)
        return (image + 0.25 * noise(seed)).clamp(0, 1)

    return FunctionSuspect(name, make, redraw if redraws else None)


def toy_study(folder: Path, patch: pytest.MonkeyPatch, length: Length, source: str) -> SourceModels:
    """Models of the study of source attribution that learn by heart, instead of being trained."""

    def learn(
        self: SourceModels, name: str, data: ImageSet, training: PersonalizeConfig
    ) -> FunctionSuspect:
        memory = {item.caption: scene(int(item.caption.split()[1])) for item in data.items}
        model = toy_model(name, memory)
        model.release = lambda: None  # type: ignore[attr-defined]
        return model

    patch.setattr(SourceModels, "suspect", learn)
    data = write_scenes(folder / "data", range(length.needed))
    return SourceModels(SOURCES[source], data, folder / "out", length)
