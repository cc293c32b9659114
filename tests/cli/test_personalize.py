"""The command ``personalize`` passes its settings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace


def test_personalize_passes_its_settings(call, photos: Path, tmp_path: Path, monkeypatch) -> None:
    from siren_ext.personalize import run as module
    from siren_ext.personalize.config import PersonalizeConfig

    seen: dict[str, object] = {}

    def stand_in(data, model, config, out, *, class_images, device, progress, force) -> None:
        seen.update(data=len(data), model=model, config=config, out=out, device=device, force=force)
        seen["class_images"] = class_images and len(class_images)

    monkeypatch.setattr(module, "personalize", stand_in)
    out = tmp_path / "lora.safetensors"
    line = ["personalize", photos, "--base", "pocket", "--out", out, "--steps", "7"]
    code, _, err = call(*line, "--set", "rank=4", "--device", "cpu")
    assert code == 0, err
    assert (seen["data"], seen["model"], seen["out"], seen["device"]) == (4, "pocket", out, "cpu")
    assert seen["force"] is False
    assert seen["config"] == PersonalizeConfig(steps=7, rank=4)
    assert call(*line, "--force")[0] == 0
    assert seen["force"] is True
    assert seen["class_images"] is None
    line = ["personalize", photos, "--base", "pocket", "--out", tmp_path / "model"]
    line += ["--method", "dreambooth", "--class-images", photos, "--class-prompt", "a photo"]
    code, text, err = call(*line)
    assert code == 0, err
    assert "Model written" in text
    assert seen["config"] == PersonalizeConfig(method="dreambooth", class_prompt="a photo")
    assert seen["class_images"] == 4
    text = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "%s"\n'
    text += '[[datasets.subsets]]\nimage_dir = "%s"\nis_reg = true\n'
    toml = photos.parent / "dataset.toml"
    toml.write_text(text % (photos.name, photos.name))
    code, _, err = call("personalize", toml, *line[2:8])
    assert code == 0, err
    assert (seen["data"], seen["class_images"]) == (4, 4)
    assert "regularisation" not in err
    code, _, err = call("personalize", toml, *line[2:4], "--out", out, "--method", "svdiff")
    assert code == 0, err
    assert seen["class_images"] is None
    assert "svdiff does not use class images" in err


def test_errors_of_methods(call, photos: Path, tmp_path: Path) -> None:
    line = ["personalize", photos, "--base", "pocket", "--out", tmp_path / "model"]
    code, _, err = call(*line, "--method", "dreambooth")
    assert code == 2
    assert "needs class images" in err
    for words, message in (
        (["--token", "<cat>"], "--token is for textual-inversion and custom-diffusion, but"),
        (["--method", "svdiff", "--rank", "4"], "--rank is for lora, but the method is svdiff"),
        (["--method", "svdiff", "--set", "rank=4"], "--set rank is for lora, but the method is sv"),
        (["--method", "svdiff", "--set", "conv_rank=4"], "--set conv_rank is for lora, but"),
        (
            ["--set", "prior_weight=0.5"],
            "--set prior_weight is for dreambooth and custom-diffusion",
        ),
        (["--set", "token_vectors=2"], "--set token_vectors is for textual-inversion and"),
        (["--class-prompt", "a cat"], "--class-prompt is for dreambooth and custom-diffusion"),
    ):
        code, _, err = call(*line, *words)
        assert code == 2
        assert message in err
    code, _, err = call(*line, "--method", "hypernetwork")
    assert code == 2
    assert "hypernetwork" in err
    assert "svdiff" in err
    code, _, err = call(*line, "--method", "svdiff")
    assert code == 2
    assert ".safetensors" in err
    line[-1] = tmp_path / "model.safetensors"
    line[-1].write_bytes(b"another program's")
    code, _, err = call(*line, "--method", "full")
    assert code == 2
    assert "not replaced" in err


def test_unlearning_has_its_own_settings(call, photos: Path, tmp_path: Path, monkeypatch) -> None:
    from siren_ext.attacks import unlearning

    seen: dict[str, object] = {}

    def stand_in(data, model, config, out, *, class_images, device, progress, force) -> None:
        seen.update(config=config)

    monkeypatch.setattr(unlearning, "unlearn", stand_in)
    line = ["personalize", photos, "--base", "pocket", "--out", tmp_path / "lora.safetensors"]
    code, _, err = call(*line, "--unlearn", "0.1", "--set", "loss_cap=2", "--steps", "7")
    assert code == 0, err
    expected = unlearning.UnlearnConfig(isolation_rate=0.1, loss_cap=2, steps=7)
    assert seen["config"] == expected
    code, _, err = call(*line, "--unlearn", "2")
    assert code == 2
    assert "isolation_rate is 2" in err


def test_augmentations_are_settings(call, photos: Path, tmp_path: Path, monkeypatch) -> None:
    from siren_ext.attacks import augment

    seen: dict[str, object] = {}

    def stand_in(data, model, config, out, *, class_images, device, progress, force):
        seen.update(config=config)
        return SimpleNamespace(metadata={augment.FACT: '[["narrow.png", "It is too narrow."]]'})

    monkeypatch.setattr(augment, "augmented", stand_in)
    line = ["personalize", photos, "--base", "pocket", "--out", tmp_path / "lora.safetensors"]
    more = ["--augment", "crop:low=0.5", "--augment", "jpeg", "--steps", "7"]
    code, _, err = call(*line, *more)
    assert code == 3, err
    assert "narrow.png: It is too narrow." in err
    assert seen["config"] == augment.AugmentConfig(augment=("crop:low=0.5", "jpeg"), steps=7)
    code, _, err = call(*line, "--augment", "regenerate")
    assert code == 2
    assert "can't be used at each training step" in err
    code, _, err = call(*line, *more, "--unlearn", "0.1")
    assert code == 2
    assert "can't be used together" in err
