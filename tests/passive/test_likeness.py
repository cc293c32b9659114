"""Distances from pictures: imitated images are nearer, and what is redrawn is compared in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.owned_sets import owned_sets, picture
from support.stopping import StopAfter
from support.tiny_models import need_models, shared_model
from torch import Tensor

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled
from siren_ext.suspects.base import PromptPlan

need_models()
pytestmark = pytest.mark.models

from siren_ext.passive.likeness import (  # noqa: E402
    likeness_table,
    near_pictures,
    redrawn_distances,
)

PLAN = PromptPlan(prompts=tuple(f"image {number}" for number in range(4)), count=4)


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    return ImageSet.open(owned_sets(tmp_path, 4, size=(64, 64))[0])


def test_copies_have_no_distance_and_any_order_gives_the_same(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, images: ImageSet
) -> None:
    from siren_ext.diffusion import pipelines

    base = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    encoder = pipelines.load_pipeline(base, device="cpu", dtype=torch.float32)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, seed in enumerate((2, 0, 77, 88)):
        picture(seed, (64, 64)).save(folder / f"{number}.png")
    pictures = ImageSet.open(folder)
    found = near_pictures(images, pictures, encoder, 64, nearest=1)
    assert found.shape == (4, 2)
    assert np.allclose(found[[0, 2]], 0, atol=1e-5)
    assert (found[[1, 3]] > 0.01).all()
    both = near_pictures(images, pictures, encoder, 64, nearest=99)
    assert (both >= found - 1e-9).all()
    (folder / "0.png").rename(folder / "9.png")
    again = near_pictures(images, ImageSet.open(folder), encoder, 64, nearest=1)
    assert np.allclose(again, found, atol=1e-6)


def test_what_is_changed_less_is_nearer_and_a_stopped_run_resumes(
    tmp_path: Path, images: ImageSet
) -> None:
    asked: list[tuple[str, float]] = []

    def redraw(image: Tensor, plan: PromptPlan, index: int, strength: float) -> Tensor:
        asked.append((plan.prompt(index), strength))
        return (image * (1 - 0.1 * strength)).clamp(0, 1)

    whole = redrawn_distances(images, redraw, PLAN, 32)
    assert whole.shape == (4, 3)
    assert (np.diff(whole, axis=1) > 0).all()
    assert asked[:4] == [("image 0", 0.3), ("image 0", 0.5), ("image 0", 0.7), ("image 1", 0.3)]
    part = tmp_path / "part"
    with pytest.raises(Cancelled):
        redrawn_distances(images, redraw, PLAN, 32, partial=part, progress=StopAfter(2))
    count = len(asked)
    assert np.array_equal(redrawn_distances(images, redraw, PLAN, 32, partial=part), whole)
    assert len(asked) - count < 12
    assert not part.exists()


def test_the_table_has_the_columns_that_were_measured(images: ImageSet) -> None:
    near = np.arange(8.0).reshape(4, 2)
    assert likeness_table(images, near, None, {}).names == ("patches", "style")
    found = likeness_table(images, near, near - 1, {"kind": "likeness"})
    assert found.names == ("patches", "style", "diff:patches", "diff:style")
    assert np.array_equal(found.values[:, 2:], np.ones((4, 2)))
    redrawn = likeness_table(images, np.ones((4, 5)), None, {})
    assert redrawn.names[2:] == ("redraw_30", "redraw_50", "redraw_70")
