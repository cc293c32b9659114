from __future__ import annotations

from pathlib import Path

import pytest
import torch

from siren_ext.baselines.base import Protected
from siren_ext.experiments.baseline_models import pictures_after_training, write_protected


def protected(size: int) -> Protected:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, size, size), generator=rng) / 255
    return Protected(images, ("a cat", "tq a dog", "a bird"), (False, True, False))


def test_images_and_captions_are_written_as_they_are(tmp_path: Path) -> None:
    found = write_protected(protected(32), tmp_path / "set")
    assert torch.equal(torch.cat(list(found.tensors(32))), protected(32).images)
    assert found.captions() == ["a cat", "tq a dog", "a bird"]


@pytest.mark.models
@pytest.mark.slow
def test_a_model_is_trained_and_its_pictures_are_read(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("peft")
    found = pictures_after_training(protected(128), tmp_path, str, steps=1, count=2)
    assert found.shape == (2, 3, 128, 128)
