"""The command ``personalize`` passes its settings."""

from __future__ import annotations

from pathlib import Path


def test_personalize_passes_its_settings(call, photos: Path, tmp_path: Path, monkeypatch) -> None:
    from siren_ext.personalize import run as module
    from siren_ext.personalize.config import PersonalizeConfig

    seen: dict[str, object] = {}

    def stand_in(data, model, config, out, *, device, progress) -> None:
        seen.update(data=len(data), model=model, config=config, out=out, device=device)

    monkeypatch.setattr(module, "personalize", stand_in)
    out = tmp_path / "lora.safetensors"
    line = ["personalize", photos, "--base", "pocket", "--out", out, "--steps", "7"]
    code, _, err = call(*line, "--set", "rank=4", "--device", "cpu")
    assert code == 0, err
    assert (seen["data"], seen["model"], seen["out"], seen["device"]) == (4, "pocket", out, "cpu")
    assert seen["config"] == PersonalizeConfig(steps=7, rank=4)
