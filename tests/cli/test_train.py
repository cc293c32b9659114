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
    from siren_ext.personalize.config import PersonalizeConfig
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
    assert (seen["surrogate"].rank, seen["surrogate"].prompt) == (4, None)
    assert (seen["coater"], seen["working_size"]) == (None, None)
    assert "key new" not in err
    code, _, err = call(*line, "--preset", "default")
    assert code == 0, err
    assert seen["config"] == TrainConfig()
    assert seen["start"].fingerprint == Coater.load(coater_path(usual_start())).fingerprint
    code, _, err = call(*line, "--preset", "default", "--set", "coater.bits=8")
    assert code == 0, err
    assert (seen["start"], seen["coater"]) == (None, CoaterConfig(bits=8))
    (tmp_path / "earlier.toml").write_text("steps = 7\n[coater]\nbits = 8\n")
    code, _, err = call(*line, "--config", tmp_path / "earlier.toml")
    assert code == 0, err
    assert seen["config"] == TrainConfig(steps=7)
    assert (seen["start"], seen["coater"]) == (None, CoaterConfig(bits=8))
    code, _, err = call(*line, "--start", "none", "--preset", "paper", "--set", "nu=0.2")
    assert code == 0, err
    assert seen["config"] == TrainConfig.preset("paper", nu=0.2, steps=60 * 4)
    assert (seen["surrogate"].steps, seen["surrogate"].prompt) == (30, "a photo of fox")
    assert seen["coater"] == CoaterConfig.preset("paper")
    code, _, err = call(*line, "--start", coater_file, "--preset", "official", "--steps", "7")
    assert code == 0, err
    assert seen["config"] == TrainConfig.preset("official", steps=7)
    assert seen["surrogate"] == PersonalizeConfig.preset("official", 4)
    assert (seen["surrogate"].alpha, seen["surrogate"].steps) == (1.0, 80)
    more = ("--working-size", "96", "--set", "surrogate.steps=9", "--set", "surrogate.rank=8")
    code, _, err = call(*line, "--preset", "official", *more)
    assert code == 0, err
    assert (seen["surrogate"].steps, seen["surrogate"].rank, seen["working_size"]) == (9, 8, 96)
    code, _, err = call(*line, "--start", coater_file, "--working-size", "keep")
    assert code == 0, err
    assert seen["working_size"] == "keep"
    for wrong in ("big", "-64", "6.4", "٤٨"):
        code, _, err = call(*line, "--working-size", wrong)
        assert code == 2
        assert "expected a number of pixels, or keep" in err
    for choice in ((), ("--start", "none"), ("--preset", "keyed")):
        code, _, err = call(*line, *choice)
        assert code == 0, err
        assert seen["config"].steps == 0
        assert (seen["coater"], seen["start"]) == (CoaterConfig.preset("keyed"), None)
        assert seen["coater"].message_bits == 48
        assert "siren-ext key new" in err
    code, _, err = call(*line, "--start", "none", "--preset", "best")
    assert code == 2
    assert "expected one of default, coarse, keyed, official, paper" in err
    code, _, err = call(*line, "--start", coater_file, "--set", "coater.bits=8")
    assert code == 2
    assert "--start none" in err
