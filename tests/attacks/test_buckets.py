"""Aspect buckets against cases computed by hand from the rules of sd-scripts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siren_ext.attacks.buckets import Buckets
from siren_ext.errors import ConfigError, ImageError


def test_buckets_of_512_pixels() -> None:
    # the other side of 320 is 262144 // 320 = 819, of which 768 = 12 x 64 is left, and so on
    half = [(256, 1024), (320, 768), (384, 640), (448, 576)]
    # seen from the long side: 704 -> 372 -> 320, 832 -> 315 -> 256, 896 -> 292, 960 -> 273
    more = [(320, 704), (256, 832), (256, 896), (256, 960)]
    upright = half + more
    assert Buckets().sizes() == sorted([*upright, *((h, w) for w, h in upright), (512, 512)])


def test_buckets_of_another_area_and_odd_limits() -> None:
    # limits become 128 and 384; area 65536: 128 -> 512, at most 384; 192 -> 341 -> 320; 256 -> 256;
    # 320 -> 204 -> 192; 384 -> 170 -> 128
    found = Buckets((256, 256), min_side=130, max_side=330).sizes()
    assert found == [(128, 384), (192, 320), (256, 256), (320, 192), (384, 128)]


@pytest.mark.parametrize(
    ("size", "bucket", "resized"),
    [
        ((512, 512), (512, 512), (512, 512)),
        # a bucket itself
        ((1024, 256), (1024, 256), (1024, 256)),
        # ratio 4/3: 576/448 = 1.286 is nearest; scaled by 448/750 to 597.33 x 448
        ((1000, 750), (576, 448), (597, 448)),
        # ratio 0.75: 448/576 = 0.778 is nearest; scaled by 448/750 to 448 x 597.33
        ((750, 1000), (448, 576), (448, 597)),
        # small images are enlarged: 100 x 100 by 5.12
        ((100, 100), (512, 512), (512, 512)),
        # beyond the last ratio: 1024 x 256, scaled by 256/100
        ((1000, 100), (1024, 256), (2560, 256)),
    ],
)
def test_nearest_bucket(
    size: tuple[int, int], bucket: tuple[int, int], resized: tuple[int, int]
) -> None:
    assert Buckets().choose(*size) == (bucket, resized)


@pytest.mark.parametrize(
    ("size", "bucket", "resized"),
    [
        # small enough: not resized, cut down to multiples of 64
        ((300, 300), (256, 256), (300, 300)),
        ((500, 333), (448, 320), (500, 333)),
        ((512, 512), (512, 512), (512, 512)),
        # 4/3 of 262144 pixels is 591.2 x 443.4. By width: 576 x 432 -> 576 x 384, ratio 1.5. By
        # height: 384, and 512 wide, ratio 1.333, which is nearer.
        ((1000, 750), (512, 384), (512, 384)),
        # ratio 2: 724.1 x 362.0. By width 704 x 352 -> 320, ratio 2.2; by height 320 x 640.
        ((1600, 800), (640, 320), (640, 320)),
        # ratio 1.1: 537.0 x 488.2. By width 512 x 465.45 -> 448, ratio 1.143; by height 448 x 492.8
        # -> 448, ratio 1. The first is nearer: 512 x 465.45, cut to 448.
        ((1100, 1000), (512, 448), (512, 465)),
    ],
)
def test_buckets_that_never_enlarge(
    size: tuple[int, int], bucket: tuple[int, int], resized: tuple[int, int]
) -> None:
    assert Buckets(no_upscale=True).choose(*size) == (bucket, resized)


@given(
    st.integers(64, 3000),
    st.integers(64, 3000),
    st.sampled_from([(512, 512), (768, 512), (1024, 1024)]),
    st.booleans(),
)
def test_a_bucket_has_whole_steps_and_lies_in_the_resized_image(
    width: int, height: int, resolution: tuple[int, int], no_upscale: bool
) -> None:
    buckets = Buckets(resolution, no_upscale=no_upscale)
    try:
        bucket, resized = buckets.choose(width, height)
    except ImageError:
        assert no_upscale
        assert max(width, height) > 8 * min(width, height)
        return
    assert bucket[0] % 64 == bucket[1] % 64 == 0
    assert 0 < bucket[0] <= resized[0]
    assert 0 < bucket[1] <= resized[1]
    assert bucket[0] * bucket[1] <= resolution[0] * resolution[1]
    if no_upscale:
        assert resized[0] <= width
        assert resized[1] <= height


def test_images_without_a_bucket_are_refused() -> None:
    buckets = Buckets(no_upscale=True)
    with pytest.raises(ImageError, match=r"500x63 pixels.*at least 64 pixels on both sides"):
        buckets.choose(500, 63)
    with pytest.raises(ImageError, match="no bucket"):
        buckets.choose(20000, 100)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"step": 0}, "step is 0; expected a whole number from 1"),
        ({"step": 64.0}, "step is 64.0; expected a whole number"),
        ({"step": 600}, "step is 600; expected no more than"),
        ({"resolution": 512}, "resolution is 512; expected width and height"),
        ({"resolution": (512, 0)}, "resolution is 0; expected a whole number"),
        ({"min_side": 600}, "min_side is 600 and max_side 1024; expected limits"),
        ({"max_side": 500}, "min_side is 256 and max_side 500; expected limits"),
        ({"min_side": 32}, "min_side is 32; expected at least step, 64"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Buckets(**settings)
