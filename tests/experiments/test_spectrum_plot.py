"""The picture of the spectrum."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from siren_ext.experiments.spectrum_plot import plot_spectrum


def test_a_frame_for_each_axis(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        {"condition": "usual", "steps": steps, "axis": axis, "low": low, "high": high}
        | {"learnt": 0.1 * high, "error": 0.01, "worth": high}
        for steps in (100, 200)
        for axis in ("brightness", "red-green")
        for low, high in ((0.0, 0.0), (0.0, 1.0))
    ]
    widths = []
    for name, given in (("two.png", rows), ("one.png", rows[:2])):
        plot_spectrum(given, tmp_path / name)
        widths.append(Image.open(tmp_path / name).width)
    assert widths[0] - widths[1] == 4 * 130  # a frame of 4 inches, beside the legend
