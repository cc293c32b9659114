"""The picture of the study of source attribution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siren_ext.data.images import read_picture
from siren_ext.experiments.source_plot import plot_source
from siren_ext.experiments.source_tables import Finding, finding_rows, judge_all

pytest.importorskip("matplotlib")


def test_the_picture_shows_the_rows(tmp_path: Path) -> None:
    shares = {"a": 1.0, "b": 0.5, "x": 0.0, "y": 0.0}
    near = {name: np.linspace(0.1, 0.3, 6) + 0.1 * (share == 0) for name, share in shares.items()}
    judged = judge_all(near, shares, 0.01)
    found = Finding("detection", judged, judged, dict.fromkeys(shares, 0.5))
    rows = finding_rows("all", [found], 1e-3, 0.3, 0.1)
    for name, some in (("whole", rows), ("conf", [r for r in rows if r["metric"] == "conf"])):
        plot_source(some, tmp_path / f"{name}.png")
    whole, conf = (read_picture(tmp_path / f"{name}.png").rgb for name in ("whole", "conf"))
    assert whole.shape == conf.shape
    half = whole.shape[1] // 2
    assert (whole[:, half:] != conf[:, half:]).any()  # the lead by N is drawn on the right
