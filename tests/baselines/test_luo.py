from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from siren_ext.baselines.luo import Luo
from siren_ext.data.images import resize
from siren_ext.errors import ImageError
from siren_ext.metrics.quality import psnr
from siren_ext.samples.folder import sample_set


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.cat(list(sample_set().tensors(128))[:12])


def test_the_string_is_read_back_from_8_bit_images(images: torch.Tensor) -> None:
    luo = Luo(seed=5)
    marked = luo.protect(images)
    assert (luo.evidence(marked.images) == luo.string).mean() > 0.99
    assert psnr(marked.images, images).min() > 38
    assert all(marked.marked)


def test_images_of_512_pixels_keep_all_bits(images: torch.Tensor) -> None:
    luo = Luo()
    marked = luo.protect(resize(images[:6], 512, 512).clamp(0, 1)).images
    assert (luo.evidence(marked) == luo.string).all(1).mean() >= 0.95


def test_sides_need_not_be_multiples_of_a_block(images: torch.Tensor) -> None:
    luo = Luo()
    odd = images[:2, :, :125, :118]
    marked = luo.protect(odd, ["a", "b"])
    assert marked.images.shape == odd.shape
    assert marked.captions == ("a", "b")
    assert (luo.evidence(marked.images) == luo.string).mean() > 0.95


def test_swapped_details_change_pixels_but_no_bits(images: torch.Tensor) -> None:
    plain, swapped = Luo(), Luo(swap_details=True)
    first, second = plain.protect(images[:4]).images, swapped.protect(images[:4]).images
    assert not torch.equal(first, second)
    assert (plain.evidence(first) == plain.evidence(second)).mean() > 0.98


def test_the_cosine_transform_changes_no_singular_value() -> None:
    block = np.random.default_rng(0).normal(size=(4, 4))
    values = [np.linalg.svd(one, compute_uv=False) for one in (block, dctn(block, norm="ortho"))]
    assert np.allclose(*values)


def test_protected_pictures_are_found_and_others_are_not(images: torch.Tensor) -> None:
    luo = Luo(seed=1)
    read = luo.evidence(luo.protect(images).images)
    assert luo.p_value(read) < 1e-50
    assert luo.p_value(read, "calibrated") == pytest.approx(1 / 1001)
    grey = torch.full((10, 3, 64, 64), 0.5)
    assert luo.p_value(luo.evidence(grey)) > 0.4


def test_small_images_are_refused() -> None:
    with pytest.raises(ImageError, match="at least 64"):
        Luo().protect(torch.zeros(1, 3, 32, 32))
