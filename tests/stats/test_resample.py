"""The resampling study against SciPy on the same subsets, and its power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from siren_ext.errors import ScoreError
from siren_ext.stats.draw import draw_subsets
from siren_ext.stats.ks import ks_less
from siren_ext.stats.resample import PAPER_ALPHAS, resampled_ks


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("reference_size", [None, 20])
def test_resampled_p_equal_scipy(two_sided, redraw, reference_size):
    """With whole pools or replayed draws, every p of the study is SciPy's on the same subset."""
    rng = np.random.default_rng(5)
    suspect = np.round(rng.normal(-0.5, 1, 40), 1)  # many ties
    reference = np.round(rng.normal(size=35), 1)
    result = resampled_ks(
        suspect,
        reference,
        size=12,
        repeats=150,
        reference_size=reference_size,
        redraw_reference=redraw,
        two_sided=two_sided,
        rng=np.random.default_rng(6),
    )
    replay = np.random.default_rng(6)
    s, r = np.sort(suspect), np.sort(reference)
    m = reference_size or len(r)
    assert (result.size, result.reference_size, result.redrawn) == (12, m, redraw and m < len(r))
    if m < len(r) and not redraw:
        r = r[draw_subsets(1, len(r), m, replay)[0]]
    chosen = draw_subsets(150, 40, 12, replay)
    kept = draw_subsets(150, len(r), m, replay) if m < len(r) else np.ones((150, len(r)), bool)
    side = "two-sided" if two_sided else "greater"
    expected = [
        ks_2samp(s[a], r[b], alternative=side, method="exact").pvalue
        for a, b in zip(chosen, kept, strict=True)
    ]
    np.testing.assert_allclose(result.p_values, expected, atol=1e-9)


def test_resampling_is_seeded_and_tpr_is_monotone():
    rng = np.random.default_rng(7)
    suspect, reference = rng.normal(-1, 1, 300), rng.normal(size=400)
    first, again = (
        resampled_ks(suspect, reference, repeats=500, rng=np.random.default_rng(8))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.p_values, again.p_values)
    curve = first.tpr()
    assert len(PAPER_ALPHAS) == 39
    assert PAPER_ALPHAS[0] == 0.1
    assert PAPER_ALPHAS[-1] == 1e-20
    assert (np.diff(PAPER_ALPHAS) < 0).all()
    assert (np.diff(curve) <= 0).all()
    assert curve[0] > 0.9 > curve[-1]


@pytest.mark.parametrize("reference_size", [None, 20])
def test_a_low_end_is_that_of_each_subset(reference_size):
    """Replayed draws: every p of the study is that of the verdict's test on the same subset."""
    rng = np.random.default_rng(15)
    suspect = np.sort(np.round(rng.normal(-0.8, 1, 40), 1))  # many ties
    reference = np.sort(np.round(rng.normal(size=35), 1))
    settings = {"size": 12, "repeats": 150, "reference_size": reference_size, "share": 0.25}
    result = resampled_ks(suspect, reference, **settings, rng=np.random.default_rng(16))
    replay, m = np.random.default_rng(16), reference_size or 35
    chosen = draw_subsets(150, 40, 12, replay)
    kept = draw_subsets(150, 35, m, replay) if m < 35 else np.ones((150, 35), bool)
    expected = [
        ks_less(suspect[a], reference[b], share=0.25).p_value
        for a, b in zip(chosen, kept, strict=True)
    ]
    np.testing.assert_allclose(result.p_values, expected)
    with pytest.raises(ScoreError, match="two-sided test"):
        resampled_ks(suspect, reference, **settings, two_sided=True, rng=rng)


def test_power_guide():
    """30 against 300 normal scores lowered by k sigma (measured figures of the method)."""
    rng = np.random.default_rng(9)
    for shift, alpha, expected in ((1, 1e-2, 0.98), (1, 1e-4, 0.70), (2, 1e-9, 0.98)):
        p = []
        for _ in range(10):
            pools = rng.normal(-shift, 1, 3000), rng.normal(size=3000)
            p.append(resampled_ks(*pools, repeats=200, rng=rng).tpr([alpha])[0])
        assert np.mean(p) == pytest.approx(expected, abs=0.05)


def test_bad_settings_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ScoreError, match="Subsets of 30 suspect scores"):
        resampled_ks(np.arange(5.0), np.arange(50.0), rng=rng)
    with pytest.raises(ScoreError, match="Subsets of 60 reference"):
        resampled_ks(np.arange(50.0), np.arange(50.0), reference_size=60, rng=rng)
    with pytest.raises(ScoreError, match="repeats is 0"):
        resampled_ks(np.arange(50.0), np.arange(50.0), repeats=0, rng=rng)
