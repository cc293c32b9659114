"""The command ``train`` passes its settings."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.models
def test_train_passes_its_settings(
    call, photos: Path, coater_file: Path, tmp_path: Path, monkeypatch
) -> None:
    import siren_ext.training.recipes as module
    from siren_ext.coater.bundled import coater_path, usual_start
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.training.config import TrainConfig

    seen: dict[str, object] = {}

    def stand_in(data, base, word, out, config, **rest) -> None:
        seen.update(rest, data=len(data), base=base, word=word, out=out, config=config)

    monkeypatch.setattr(module, "train_for_base", stand_in)
    out = tmp_path / "c.safetensors"
    line = ["train", photos, "--base", "pocket", "--class-word", "fox", "--out", out]
    code, _, err = call(*line, "--start", coater_file, "--steps", "5", "--set", "surrogate.rank=4")
    assert code == 0, err
    assert (seen["data"], seen["base"], seen["word"], seen["out"]) == (4, "pocket", "fox", out)
    assert seen["config"] == TrainConfig(steps=5)
    assert seen["start"].config.channels == 4
    assert seen["surrogate"].rank == 4
    assert seen["coater"] is None
    code, _, err = call(*line)
    assert code == 0, err
    assert seen["start"].fingerprint == Coater.load(coater_path(usual_start())).fingerprint
    code, _, err = call(*line, "--set", "coater.bits=8")
    assert code == 0, err
    assert (seen["start"], seen["coater"]) == (None, CoaterConfig(bits=8))
    code, _, err = call(*line, "--start", "none", "--preset", "paper", "--set", "nu=0.2")
    assert code == 0, err
    assert seen["config"] == TrainConfig.preset("paper", nu=0.2, steps=60 * 4)
    assert seen["coater"] == CoaterConfig.preset("paper")
    code, _, err = call(*line, "--start", coater_file, "--preset", "official", "--steps", "7")
    assert code == 0, err
    assert seen["config"] == TrainConfig.preset("official", steps=7)
    code, _, err = call(*line, "--preset", "keyed")
    assert code == 0, err
    assert seen["config"].steps == 0
    assert (seen["coater"], seen["start"]) == (CoaterConfig.preset("keyed"), None)
    assert seen["coater"].message_bits == 48
    code, _, err = call(*line, "--start", "none", "--preset", "best")
    assert code == 2
    assert "expected one of default, coarse, keyed, official, paper" in err
    code, _, err = call(*line, "--start", coater_file, "--set", "coater.bits=8")
    assert code == 2
    assert "--start none" in err
