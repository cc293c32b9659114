"""Scores stand in for reference images."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.noise_files import noise_folder

from siren_ext.errors import ScoreError
from siren_ext.panels.actions import verify_step
from siren_ext.panels.host import PanelHost
from siren_ext.panels.verify import reference_path


def test_scores_stand_in_for_reference_images(host: PanelHost, tmp_path: Path) -> None:
    first, second = noise_folder(tmp_path / "s", 5, 1, 255), noise_folder(tmp_path / "r", 6, 2, 255)
    coater = host.coaters.load("mine.safetensors")
    direct = verify_step(first, second, coater, host.jobs.new("t"))
    scores = tmp_path / "clean.json"
    direct.reference.save(scores)
    assert reference_path([str(scores)], "", host, tmp_path / "job") == scores
    again = verify_step(first, scores, coater, host.jobs.new("t"))
    assert again.verdict.finding == direct.verdict.finding
    other = host.coaters.load("samples")
    with pytest.raises(ScoreError, match="another coater"):
        verify_step(first, scores, other, host.jobs.new("t"))
