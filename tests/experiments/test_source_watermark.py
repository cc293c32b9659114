"""The watermark baseline: the mark is in the pictures, and is read from outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from siren_ext.attribution.distances import l2
from siren_ext.attribution.key_queries import Asking
from siren_ext.attribution.source_config import SourceConfig
from siren_ext.baselines.luo import Luo
from siren_ext.data.images import Picture, read_picture, to_tensor, to_uint8, write_picture
from siren_ext.experiments.source_models import SOURCES, Length, SourceModels
from siren_ext.experiments.source_watermark import (
    bit_accuracy,
    marked_pictures,
    watermark_rows,
)
from siren_ext.suspects.function import FunctionSuspect

SMALL = Length(("first",), 2, 3, source_steps=1, steps=1, source_batch=1, batch=1, images=3)
SIDE = 64


def draw(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(
        0.3 + 0.4 * torch.rand(1, 3, 4, 4, generator=generator), (SIDE, SIDE), mode="bilinear"
    )[0]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SourceModels:
    """Models that answer with their training images."""

    def learn(self, name, data, training):
        known = {item.caption: to_tensor(read_picture(item.path).rgb)[0] for item in data.items}
        drawn = [draw(training.seed * 100 + number) for number in range(4)]
        found = FunctionSuspect(name, lambda text, seed: known.get(text, drawn[seed % 4]))
        found.release = lambda: None
        return found

    monkeypatch.setattr(SourceModels, "suspect", learn)
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(SMALL.needed):
        write_picture(Picture(to_uint8(draw(number))), folder / f"{number:03d}.png")
        (folder / f"{number:03d}.txt").write_text(f"scene {number}")
    from siren_ext.data.dataset import ImageSet

    return SourceModels(SOURCES["first"], ImageSet.from_folder(folder), tmp_path / "out", SMALL)


def test_the_mark_is_written_and_read(models: SourceModels) -> None:
    mark = Luo(seed=2)
    marked = marked_pictures(models, mark)
    assert [item.caption for item in marked.items] == list(models.own.captions())
    assert bit_accuracy(mark, [item.path for item in marked.items]) > 0.9
    assert bit_accuracy(mark, [item.path for item in models.made.items]) < 0.75
    assert bit_accuracy(Luo(seed=7), [item.path for item in marked.items]) < 0.75


def test_models_of_marked_pictures_are_told_from_innocent_ones(
    models: SourceModels, tmp_path: Path
) -> None:
    config = SourceConfig(pictures=2)
    rows = watermark_rows(models, Asking(config, "t2i", l2, SIDE, tmp_path / "answers"), 0.1)
    means = {row["rho"]: row for row in rows if row["metric"] == "bits"}
    assert means[1.0]["value"] > 0.9
    assert 0.3 < means[0.0]["value"] < 0.7
    assert [means[rho]["models"] for rho in (1.0, 0.0)] == [2, 3]
    assert {row["source"] for row in rows} == {"first"}
    assert next(row for row in rows if row["metric"] == "bits auc")["value"] == 1
