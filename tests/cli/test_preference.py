"""The command ``preference``: measures a model, and ``verify`` tests a key against the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evidence_samples import PASSPHRASE
from support.keyed_coating import SHAPE
from support.tiny_attribution import tiny_lora
from support.tiny_models import need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.files import locked
from siren_ext.keys.coating_key import KeyRing
from siren_ext.suspects.local import LocalSuspect

need_models()
pytestmark = [pytest.mark.models, pytest.mark.usefixtures("few_copies", "few_messages")]


def test_a_model_is_measured_and_a_key_is_tested(
    call, photos: Path, tmp_path: Path, tmp_path_factory, monkeypatch, cheap
) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    coater = tmp_path / "coater.safetensors"
    Coater(SHAPE, seed=1).save(coater)
    KeyRing.draw(bits=SHAPE.message_bits).save(tmp_path / "keys.json", PASSPHRASE)
    monkeypatch.setenv("SECRET", PASSPHRASE)
    out = tmp_path / "preference.json"
    line = ["preference", photos, "--base", model, "--coater", coater, "--out", out]
    code, told, err = call(*line, "--set", "draws=2")
    assert code == 0, err
    assert told.startswith("Preference measured on 4 images")
    kept = json.loads(out.read_text())
    assert kept["source"]["kind"] == "preference"
    assert kept["source"]["settings"]["draws"] == 2
    assert not list(tmp_path.glob("*.partial"))

    test = ["verify", "--suspect", out, "--key", tmp_path / "keys.json"]
    test += ["--passphrase-env", "SECRET", "--out", tmp_path / "report"]
    how = ["--scale", "0.5", "--allow-partial", "--set", "preference.draws=3"]
    code, told, err = call(*test, *how)
    assert (code, told) == (2, "")
    assert "--scale and --allow-partial and --set preference can't be used without --model" in err
    code, told, err = call(*test)
    assert (code, told) == (2, "")
    assert "takes the coater that the images were coated with. Give its file with --coater" in err
    assert not (tmp_path / "report").exists()
    code, told, err = call(*test, "--coater", coater)
    assert code == 0, err
    assert "; bits alone, not corrected: p = " in told
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Does the model prefer the secret message?" in page
    assert "images of the suspicious model" not in page
    check = ["report", "check", tmp_path / "report" / "report.json"]
    code, told, err = call(*check)
    assert code == 3, err
    assert "keyed statistic: not checked" in told
    check += ["--suspect", out, *test[3:7]]
    code, told, err = call(*check)
    assert code == 3, err
    assert "can be checked only with the coater (--coater)" in told
    code, told, err = call(*check, "--coater", coater)
    assert code == 3, err
    assert "keyed statistic: matches. T and p follow from the key, the measurement" in told


def test_a_control_is_a_model_or_the_base(
    call, photos: Path, tmp_path: Path, tmp_path_factory
) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    coater = tmp_path / "coater.safetensors"
    Coater(SHAPE, seed=1).save(coater)
    lora = tiny_lora(tmp_path / "lora.safetensors", LocalSuspect(model).pipeline, seed=1)
    line = ["preference", photos, "--base", model, "--coater", coater, "--set", "draws=1"]
    line += ["--adapter", lora, "--control"]
    for number, control in enumerate(("base", str(model))):
        code, _, err = call(*line, control, "--out", tmp_path / f"{number}.json")
        assert code == 0, err
    kept = (tmp_path / "0.json").read_text()
    assert kept == (tmp_path / "1.json").read_text()
    assert any(image["score"] for image in json.loads(kept)["images"])
    code, _, err = call(*line, lora, "--out", tmp_path / "same.json")
    assert code == 2
    assert "A clean model is the suspicious model itself" in err
    assert not (tmp_path / "same.json").exists()


def test_what_is_left_out_is_reported(call, photos: Path, tmp_path: Path, tmp_path_factory) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    coater = tmp_path / "coater.safetensors"
    Coater(SHAPE, seed=1).save(coater)
    (photos / "photo.dng").write_bytes(b"II*\0\x08\0\0\0")
    (photos / "bad.png").write_bytes((photos / "1.png").read_bytes()[:50])
    (photos / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    line = ["preference", photos, "--base", model, "--coater", coater, "--set", "draws=1"]
    code, told, err = call(*line, "--out", tmp_path / "preference.json")
    assert code == 3
    assert told.startswith("Preference measured on 4 images")
    assert "photo.dng: camera RAW files can't be read here" in err
    assert "bad.png" in err
    assert "Left out: 1 MP4 file (film.mp4)" in err


def test_coated_copies_are_refused(call, photos: Path, tmp_path: Path, tmp_path_factory) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    coater = tmp_path / "coater.safetensors"
    Coater(SHAPE, seed=1).save(coater)
    line = ["preference", photos, "--base", model, "--coater", coater]
    (photos / "siren_manifest.json").write_text("{}")
    code, _, err = call(*line, "--out", tmp_path / "preference.json")
    assert code == 2
    assert "contains coated copies" in err
    assert "expected the folder of the images before they were coated" in err


def test_the_output_is_checked_and_locked(call, photos: Path, tmp_path: Path) -> None:
    line = ["preference", photos, "--base", "pocket", "--coater", tmp_path / "none.safetensors"]
    other = tmp_path / "cat.json"
    other.write_text("{}")
    code, _, err = call(*line, "--out", other)
    assert (code, other.read_text()) == (2, "{}")
    assert "cat.json exists and is not a file of scores, so it was not replaced" in err
    code, _, err = call(*line, "--out", photos)
    assert code == 2
    assert "is a folder; expected the name of a file" in err
    coater = tmp_path / "coater.safetensors"
    Coater(SHAPE, seed=1).save(coater)
    line[-1] = coater
    with locked(tmp_path / "new.json"):
        code, _, err = call(*line, "--out", tmp_path / "new.json")
    assert code == 2
    assert "new.json is being written by another run" in err


def test_adapters_of_other_people_are_used_and_asked_for_again(
    call, photos: Path, tmp_path: Path, tmp_path_factory, monkeypatch, cheap
) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    pipeline = LocalSuspect(model).pipeline
    loras = [tiny_lora(tmp_path / f"{seed}.safetensors", pipeline, seed=seed) for seed in range(3)]
    coater, keys, report = (tmp_path / name for name in ("c.safetensors", "keys.json", "report"))
    Coater(SHAPE, seed=1).save(coater)
    KeyRing.draw(bits=SHAPE.message_bits).save(keys, PASSPHRASE)
    monkeypatch.setenv("SECRET", PASSPHRASE)
    asked = ["--model", model, "--adapter", loras[0], "--images", photos, "--coater", coater]
    asked += ["--key", keys, "--passphrase-env", "SECRET"]
    others = ["--other", loras[1], "--other", loras[2]]
    code, _, err = call("verify", *asked, *others, "--out", report, "--set", "preference.draws=1")
    assert code == 0, err
    kept = tmp_path / "report.preference.json"
    made = json.loads(kept.read_text())["source"]["provenance"]
    assert len(made["others"]) == 2
    again = ["report", "check", report, "--suspect", kept, *asked]
    code, told, err = call(*again, *others)
    assert "the model gives the same figures again" in told, err
    _, told, _ = call(*again, "--other", loras[2])
    assert "the adapters of other people's images are others" in told
    for wrong, why in (
        (tmp_path / "gone.safetensors", "does not exist"),
        (model, "is no adapter"),
    ):
        code, _, err = call("verify", *asked, "--other", wrong, "--out", tmp_path / "second")
        assert (code, why in err) == (2, True), err
