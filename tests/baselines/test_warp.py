from __future__ import annotations

import pytest
import torch

from siren_ext.baselines.warp import Warp
from siren_ext.errors import ConfigError
from siren_ext.metrics.quality import psnr


def smooth(count: int, size: int = 64) -> torch.Tensor:
    rough = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(rough, (size, size), mode="bicubic").clamp(0, 1)


def test_no_strength_changes_nothing() -> None:
    images = smooth(2)
    assert (Warp(size=64, points=8, strength=0).apply(images) - images).abs().max() <= 1 / 255


def test_an_image_of_another_size_is_not_made_soft() -> None:
    rough = torch.rand(1, 3, 96, 130, generator=torch.Generator().manual_seed(1))
    assert (Warp(strength=0).apply(rough) - rough).abs().max() <= 1 / 255
    # a pixel is moved by the same share of each side
    wide, square = (Warp(size=320).grid(*shape) for shape in ((160, 240), (320, 320)))
    still = Warp(size=320, strength=0)
    moves = [
        float((found - still.grid(*found.shape[1:3])).abs().mean()) for found in (wide, square)
    ]
    assert moves[0] == pytest.approx(moves[1], rel=0.1)  # a little is averaged between points


def test_the_grid_comes_from_the_seed_with_a_mean_of_1() -> None:
    assert Warp(seed=3).control().abs().mean() == pytest.approx(1, abs=1e-5)
    assert torch.equal(Warp(seed=3).control(), Warp(seed=3).control())
    assert not torch.equal(Warp(seed=3).control(), Warp(seed=4).control())


def test_a_point_moves_by_half_the_strength() -> None:
    """At the working size, in pixels; the published figure."""
    still, moved = Warp(size=320, points=320, strength=0).grid(), Warp(size=320, points=320).grid()
    pixels = (moved - still).abs()[:, 8:-8, 8:-8].mean() * 319 / 2
    assert pixels == pytest.approx(1, abs=0.02)


def test_images_keep_size_and_look() -> None:
    images = smooth(2)[:, :, :50]
    found = Warp().protect(images, ["a", "b"])
    assert found.images.shape == images.shape
    assert psnr(found.images, images).min() > 30
    assert found.captions == ("a", "b")
    assert found.marked == (True, True)


def test_the_trigger_marks_just_the_warped_fifth() -> None:
    images = smooth(20)
    warp = Warp("trigger", size=64, points=8, seed=2)
    found = warp.protect(images, ["an icon"] * 20)
    assert sum(found.marked) == 4
    for row, marked in enumerate(found.marked):
        assert (found.captions[row] == "tq an icon") == marked
        assert (psnr(found.images[row, None], images[row, None]) < 45) == marked
    assert warp.protect(images, ["an icon"] * 20, keep_trigger=False).captions == ("an icon",) * 20
    assert warp.prompt("a cat") == "tq a cat"
    assert Warp().prompt("a cat") == "a cat"


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="unconditional or trigger"):
        Warp("other")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at most as many as pixels"):
        Warp(size=64)
