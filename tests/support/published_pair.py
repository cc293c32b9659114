"""Files of the published shape, with random weights under the published names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

State = dict[str, Tensor]


def block(name: str, wide: int, out: int, generator: torch.Generator) -> State:
    """Convolution and batch norm as PyTorch names them in a Sequential."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    return {
        f"{name}.layers.0.weight": draw(out, wide, 3, 3) / (3 * wide**0.5),
        f"{name}.layers.0.bias": draw(out),
        f"{name}.layers.1.weight": 1 + 0.1 * draw(out),
        f"{name}.layers.1.bias": 0.1 * draw(out),
        f"{name}.layers.1.running_mean": draw(out),
        f"{name}.layers.1.running_var": 5 + draw(out).abs(),
        f"{name}.layers.1.num_batches_tracked": torch.tensor(7),
    }


def published_states() -> tuple[State, State]:
    """State dicts of a trained pair: generator and extractor."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    made: State = {"msg": torch.randint(0, 2, (1, 48), generator=generator).float()}
    for number in range(4):
        made |= block(f"conv_bns.{number}", 64 if number else 3, 64, generator)
    made |= block("after_concat_layer", 115, 64, generator)
    made |= {"final_layer.weight": draw(3, 64, 1, 1) / 8, "final_layer.bias": draw(3)}
    read: State = {"center": draw(1, 48)}
    for number in range(8):
        read |= block(f"layers.{number}", 64 if number else 3, 64, generator)
    read |= block("layers.8", 64, 48, generator)
    read |= {"linear.weight": draw(48, 48), "linear.bias": draw(48)}
    return made, read


def meta_learned(states: tuple[State, State]) -> tuple[State, State]:
    """The pair as meta-learning saves it: without a centre."""
    made, read = states
    return made, {name: value for name, value in read.items() if name != "center"}


def written(folder: Path, generator: Any, extractor: Any) -> tuple[Path, Path]:
    """Both as files with the published names."""
    paths = folder / "end_encoder.pth", folder / "end_decoder.pth"
    for path, data in zip(paths, (generator, extractor), strict=True):
        torch.save(data, path)
    return paths


def work_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported pairs see images at 32 px in place of 512, for the sake of time."""
    from siren_ext.coater.config import PRESETS

    monkeypatch.setitem(PRESETS, "official", PRESETS["official"] | {"working_size": 32})
