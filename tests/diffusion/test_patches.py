"""Similarity of patches: against a direct computation, copies of parts, and flat images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_models import draw_images, need_models, shared_model
from torch.nn import functional

from siren_ext.attribution.influence import rank_patches
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion.patches import descriptors, patch_similarity
from siren_ext.errors import DatasetError


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(found, dim=-1)


def test_it_is_the_mean_of_the_best_cosines_by_area() -> None:
    pictures, images = normal(2, 36, 10), normal(3, 36, 10, seed=1)
    found = patch_similarity(pictures, images)
    assert found.shape == (2, 16, 3)
    best = (pictures[1] @ images[2].T).max(dim=1).values.view(6, 6)
    # 6 rows fall into four areas of 2, 1, 2 and 1 rows
    assert np.isclose(found[1, 0, 2], float(best[:2, :2].mean()))
    assert np.isclose(found[1, 5, 2], float(best[2:3, 2:3].mean()))
    assert np.isclose(found[1, 15, 2], float(best[5:, 5:].mean()))


def test_an_image_is_most_like_itself_and_like_its_parts() -> None:
    images = normal(4, 64, 12)
    found = patch_similarity(images, images)
    assert np.allclose([found[row, :, row] for row in range(4)], 1, atol=1e-5)
    mixed = torch.cat([images[1, :20], images[2, 20:]])[None]
    ranking = rank_patches(patch_similarity(mixed, images))
    assert list(ranking.order[:2]) == [2, 1]


@pytest.mark.models
def test_descriptors_of_files(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    need_models()
    from siren_ext.diffusion import pipelines

    folder = draw_images(tmp_path / "images", 3, size=64)
    Image.new("RGB", (64, 64), (200, 30, 30)).save(folder / "2.png")
    data = ImageSet.open(folder)
    base = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    pipeline = pipelines.load_pipeline(base, device="cpu", dtype=torch.float32)
    found = descriptors(pipeline, data, 64)
    assert found.shape == (3, 36, 36)
    length = found.norm(dim=2)
    assert torch.allclose(length[:2], torch.ones(2, 36), atol=1e-5)
    assert torch.all((length - 1).abs().minimum(length) < 1e-5), "flat patches may be zero"
    assert torch.equal(found, descriptors(pipeline, data, 64))
    with pytest.raises(DatasetError, match="contains no images"):
        descriptors(pipeline, ImageSet((), folder, "nothing"), 64)
