"""The positive control: a known message in copies of scored pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from support.keyed_samples import BITS, coaters, noise

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.data.images import square_view
from siren_ext.samples.folder import sample_set
from siren_ext.scoring.control import control_features, control_message
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import keyed_test


def test_the_message_follows_from_the_coater_alone() -> None:
    message = control_message("ab" * 32, 48)
    assert set(message) == {-1, 1}
    np.testing.assert_array_equal(message, control_message("ab" * 32, 48))
    others = [control_message(f"{i:064x}", 48) for i in range(400)]
    assert len({tuple(other) for other in others}) == 400
    assert abs(np.mean(others)) < 0.05
    assert len(control_message("", 13)) == 13


def test_the_bundled_coater_reads_its_control_in_the_samples_and_not_in_noise() -> None:
    coater = Coater.load(coater_path("keyed"))
    pictures = torch.cat(list(sample_set().tensors(128)))[:12]
    side = coater.config.working_size
    message = control_message(coater.fingerprint, coater.config.message_bits)
    read = control_features(square_view(pictures, side), coater).numpy()
    assert keyed_test(read, message).p_value < 1e-6
    assert keyed_test(coater.features(pictures).detach().numpy(), message).p_value > 1e-3
    blank = torch.rand(12, 3, side, side, generator=torch.Generator().manual_seed(1))
    read = control_features(blank, coater).numpy()
    assert keyed_test(read, message).p_value > 1e-6


def test_scores_hold_the_control(tmp_path: Path) -> None:
    coater = coaters(tmp_path / "c")
    scores = score_folder(noise(tmp_path / "pictures", 5, seed=1), coater, batch_size=2)
    assert scores.features is not None
    assert scores.control is not None
    assert scores.control.shape == scores.features.shape == (5, BITS)
    assert not np.array_equal(scores.control, scores.features)
    scores.save(tmp_path / "s.json")
    again = ScoreSet.load(tmp_path / "s.json")
    assert again.control is not None
    np.testing.assert_array_equal(again.control, scores.control)
    joined = ScoreSet.concat([scores, again])
    assert joined.control is not None
    assert len(joined.control) == 10
    plain = Coater.load(tmp_path / "c" / "plain.safetensors")
    assert score_folder(tmp_path / "pictures", plain).control is None
