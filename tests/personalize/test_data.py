"""Training data: captions, batches, broken images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.short_runs import SMALL, small
from support.tiny_models import draw_images, need_models

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import DatasetError
from siren_ext.personalize.data import TrainingData, caption
from siren_ext.personalize.run import personalize

need_models()
pytestmark = pytest.mark.models


def test_batches_go_round_and_depend_on_seed_and_step_only(data: ImageSet) -> None:
    rows = np.array([0, 1, 1, 2, 3], np.int64)
    latents = torch.arange(8.0).view(2, 4, 1, 1, 1)
    table = TrainingData(latents, torch.arange(1, 5), ("", "a", "b", "c", "d"), rows)
    config = small(batch_size=5, caption_dropout=0.0)
    for step in (0, 7):
        batch = table.batch(step, config)
        again = table.batch(step, config)
        assert torch.equal(batch.latents, again.latents)
        assert batch.seed == again.seed
        assert sorted((batch.latents.flatten() % 4).tolist()) == [0, 1, 1, 2, 3]
        assert torch.equal(batch.texts, (batch.latents.flatten() % 4).long() + 1)
    assert table.batch(0, config).seed != table.batch(1, config).seed
    dropped = table.batch(0, small(batch_size=5, caption_dropout=1.0))
    assert dropped.texts.tolist() == [0] * 5
    assert table.epochs(small(steps=6, batch_size=3)) == 4


def test_captions_and_prompts(data: ImageSet, tmp_path: Path) -> None:
    item = data.items[0]
    assert caption(item, SMALL) == item.caption
    assert caption(item, small(prompt="an image of a thing")) == "an image of a thing"
    with pytest.raises(DatasetError, match="class words"):
        caption(item, small(prompt="an image of a {class}"))
    bare = ImageSet.open(draw_images(tmp_path / "bare" / "3_red bird", 2, captions=False).parent)
    assert caption(bare.items[0], SMALL) == "red bird"
    assert caption(bare.items[0], small(prompt="a photo of {class}")) == "a photo of red bird"
    none = ImageSet.open(draw_images(tmp_path / "none", 1, captions=False))
    with pytest.raises(DatasetError, match="no caption"):
        caption(none.items[0], SMALL)


def test_broken_images_are_left_out(model: Path, tmp_path: Path) -> None:
    folder = draw_images(tmp_path / "data", 3)
    (folder / "1.png").write_bytes(b"not a picture")
    summary = personalize(
        ImageSet.open(folder), model, small(steps=1), tmp_path / "a.safetensors", device="cpu"
    )
    assert summary.metadata["ss_num_train_images"] == "2"
