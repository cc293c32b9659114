from __future__ import annotations

import numpy as np
import pytest
import torch

from siren_ext.baselines.frequency import FrequencyPattern
from siren_ext.errors import ConfigError, ImageError
from siren_ext.metrics.quality import psnr
from siren_ext.samples.folder import sample_set


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.cat(list(sample_set().tensors(128))[:16])


def test_the_pattern_is_read_back(images: torch.Tensor) -> None:
    method = FrequencyPattern(seed=3, strength=0.25)
    found = method.protect(images)
    assert psnr(found.images, images).mean() > 38
    assert method.p_value(method.evidence(found.images)) < 1e-8
    assert method.p_value(method.evidence(found.images), "calibrated") == pytest.approx(1 / 1001)
    other = FrequencyPattern(seed=4)
    assert other.p_value(other.evidence(found.images), "calibrated") > 0.01


def test_images_of_another_size_keep_it(images: torch.Tensor) -> None:
    method = FrequencyPattern()
    larger = torch.nn.functional.interpolate(images, (200, 160))
    found = method.protect(larger)
    assert found.images.shape == larger.shape
    assert method.p_value(method.evidence(found.images)) < 1e-4


def test_no_strength_changes_nothing(images: torch.Tensor) -> None:
    found = FrequencyPattern(strength=0).protect(images)
    assert (found.images - images).abs().max() <= 1 / 255


def test_the_published_rule_accuses_pictures_with_one_spectrum() -> None:
    """What all pictures share counts 20 times for the t test, once for the rank."""
    rng = np.random.default_rng(0)
    cells = len(FrequencyPattern(size=32).pattern())
    rows = rng.normal(size=cells) + 0.3 * rng.normal(size=(20, cells))
    values = np.array(
        [
            [FrequencyPattern(seed, 32).p_value(rows, rule) for rule in ("published", "calibrated")]
            for seed in range(200)
        ]
    )
    published, ranks = (values <= 0.05).mean(0)
    assert published > 0.3
    assert ranks < 0.11


def test_cells_are_listed_once_and_in_the_band() -> None:
    rows, columns = FrequencyPattern(size=64).cells()
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == len(rows) > 500
    assert columns.min() > 0
    assert columns.max() < 32


def test_errors_say_what_was_expected() -> None:
    with pytest.raises(ConfigError, match="even size"):
        FrequencyPattern(size=33)
    with pytest.raises(ConfigError, match="strength from 0 to 2"):
        FrequencyPattern(strength=3)
    with pytest.raises(ImageError, match="at least 32"):
        FrequencyPattern().evidence(torch.zeros(2, 3, 16, 16))


@pytest.mark.parametrize("pictures", [torch.full((30, 3, 64, 64), 0.5), torch.rand(1, 3, 64, 64)])
def test_equal_pictures_prove_nothing(pictures: torch.Tensor) -> None:
    for seed in range(6):
        method = FrequencyPattern(seed)
        assert method.p_value(method.evidence(pictures.expand(30, -1, -1, -1))) == 1
