"""The picture of a verdict: drawn, in the colours of both pools, and no state left behind."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from support.score_sets import normal, pool

from siren_ext.report.charts import _free_spot, distributions_svg, histogram_svg, verdict_picture
from siren_ext.stats.ks import ks_less
from siren_ext.verdict.verify import verify


def test_verdict_picture_shows_both_pools() -> None:
    suspect, reference = np.linspace(0, 1, 30), np.linspace(2, 3, 100)
    verdict = verify(pool(suspect, hashed=False), pool(reference, hashed=False))
    pixels = verdict_picture(verdict, suspect, reference)
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert (pixels[0, 0] == 255).all()
    for colour in ((0xC2, 0x41, 0x0C), (0x1D, 0x6F, 0xB8)):
        near = np.abs(pixels.astype(int) - colour).max(2) <= 2
        assert near.sum() > 200, colour
    assert np.array_equal(pixels, verdict_picture(verdict, suspect, reference))


def test_the_gaps_label_does_not_cover_the_axis() -> None:
    right_of_a_gap_at_the_left_end = _free_spot([12.5, 0.0], 0.04)[1]
    assert right_of_a_gap_at_the_left_end == (1, 1)
    assert _free_spot([12.5, 0.0], 0.6)[1] == (-1, 1)


def test_charts_are_sound_and_follow_the_page():
    first, second = normal(5, 30, 1), normal(8, 100, 2)
    finding = ks_less(first, second)
    for svg in (histogram_svg(first, second), distributions_svg(first, second, finding)):
        ElementTree.fromstring(svg)
        assert "var(--suspect)" in svg
        assert "var(--reference)" in svg
        assert "#0a0b" not in svg
        assert "<style" in svg or "style=" in svg
    assert f"D = {finding.statistic:.3f}" in distributions_svg(first, second, finding)
    assert histogram_svg(first, second) == histogram_svg(first, second)
    assert "D =" not in distributions_svg(second, first, ks_less(second + 99, first))
