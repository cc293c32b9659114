"""How pictures look, in numbers: what each tells, and which pools are too unlike to compare."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.looks import table

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coating.apply import coat_images
from siren_ext.data.image_files import list_images
from siren_ext.data.images import crop_view, read_picture, square_view, to_tensor
from siren_ext.samples.folder import sample_folder
from siren_ext.scoring.appearance import (
    LESS_MORE,
    LIMIT,
    Contrast,
    EarlierContrast,
    contrast,
    looks_of,
)


def seen(*channels: float, noise: float = 0.0) -> np.ndarray:
    """Looks of a flat picture of a colour, with noise."""
    rng = torch.Generator().manual_seed(0)
    view = torch.tensor(channels).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    view = (view + noise * torch.randn(1, 1, 16, 16, generator=rng)).clamp(0, 1)
    return np.array(looks_of(view))


def test_each_number_tells_what_its_words_say() -> None:
    grey = seen(0.5, 0.5, 0.5)
    assert grey[0] == pytest.approx(53.39, abs=0.01), "L* of sRGB 0.5"
    assert np.abs(grey[1:]).max() < 0.02
    moved = {
        "lighter": seen(0.6, 0.6, 0.6),
        "redder": seen(0.6, 0.45, 0.45),
        "bluer": seen(0.45, 0.45, 0.6),
        "greener": seen(0.45, 0.6, 0.45),
        "of more contrast": seen(0.5, 0.5, 0.5, noise=0.1),
    }
    for words, looks in moved.items():
        place = next(i for i, pair in enumerate(LESS_MORE) if words in pair)
        more = LESS_MORE[place].index(words)
        assert (looks[place] > grey[place]) == bool(more), words
        assert abs(looks[place] - grey[place]) > 1
    assert moved["of more contrast"][6] > 1, "edges"
    assert all(moved[words][7] > 5 for words in ("redder", "bluer", "greener")), "chroma"


def test_contrast_is_the_share_of_pairs() -> None:
    first, second = table(13, 0, at4=0.7), table(9, 1)
    first[0, 4] = second[0, 4]  # a tie counts half
    found = contrast(first, second)
    pairs = first[:, None] - second[None]
    shares = ((pairs > 0) + 0.5 * (pairs == 0)).mean((0, 1))
    assert found.share == pytest.approx(np.maximum(shares, 1 - shares).max())
    assert found.words in LESS_MORE[int(np.abs(shares - 0.5).argmax())]
    back = contrast(second, first)
    assert back.share == pytest.approx(found.share)
    assert {found.words, back.words} == set(LESS_MORE[int(np.abs(shares - 0.5).argmax())])


def test_only_pools_that_are_shown_to_be_alike_are_comparable() -> None:
    assert contrast(table(200, 0), table(200, 1)).comparable
    plain = contrast(table(200, 0, at0=0.8), table(200, 1))
    assert 0.6 < plain.share < LIMIT
    assert plain.comparable, "sure, but small"
    far = contrast(table(30, 0, at0=-3.0), table(100, 1))
    assert (far.words, far.comparable) == ("darker", False)
    few = contrast(table(4, 0, at0=9.0), table(4, 1))
    assert few.share == 1
    assert not few.comparable, "four pictures tell nothing, so they are not shown to be alike"
    assert not contrast(table(14, 0), table(400, 1)).comparable
    assert contrast(table(15, 0), table(400, 1)).comparable
    assert not contrast(table(400, 1), table(14, 0)).comparable


def test_the_bound_holds_as_often_as_it_says() -> None:
    """Of normal scores whose true share is .85; Hanley and McNeil's error is near the true one."""
    rng, true = np.random.default_rng(0), 0.85
    shift = 2**0.5 * 1.0364333894937898  # the normal quantile of .85
    held = 0
    for _ in range(2000):
        own, other = rng.normal(shift, 1, 30), np.sort(rng.normal(0, 1, 100))
        share = float(np.searchsorted(other, own).mean() / 100)
        held += Contrast(share, 30, 100, "").upper >= true
    assert 0.92 < held / 2000 < 0.985
    assert Contrast(0.85, 30, 100, "").error == pytest.approx(0.046222, abs=1e-6), "by hand"


def test_earlier_reports_are_judged_by_their_rule() -> None:
    before = EarlierContrast(1.0, 4, 4, "lighter")
    assert before.comparable
    assert before.to_dict()["error"] == pytest.approx((9 / 192) ** 0.5)
    assert not EarlierContrast(0.95, 40, 100, "lighter").comparable


def test_a_coating_hardly_moves_looks_and_another_set_does() -> None:
    coater = Coater.load(coater_path("samples"), device="cpu")
    paths = list_images(sample_folder())[::4]
    clean = [crop_view(to_tensor(read_picture(path).rgb), 128) for path in paths]
    coated = [coat_images(view, coater) for view in clean]
    looks = [
        np.array([looks_of(square_view(view, 64)) for view in views]) for views in (clean, coated)
    ]
    found = contrast(*looks)
    assert found.share < 0.6
    dark = np.array([looks_of(square_view(0.3 * view, 64)) for view in clean])
    assert not contrast(dark, looks[0]).comparable
