"""The plot of studies against each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from siren_ext.errors import ScoreError
from siren_ext.experiments.tradeoff import read_point


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": "siren_ext.detection", "version": 1}'])
def test_tradeoff_refuses_other_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "detection.json"
    path.write_text(text)
    with pytest.raises(ScoreError, match=r"detection\.json"):
        read_point(path)
