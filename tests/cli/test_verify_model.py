"""The command ``verify`` with a model's file: measured, tested and reported in one go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from support.evidence_samples import PASSPHRASE
from support.key_commands import env, refused
from support.keyed_coating import SHAPE
from support.tiny_attribution import tiny_lora
from support.tiny_models import need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.evidence.ledger import ledger_of
from siren_ext.keys.coating_key import KeyRing
from siren_ext.suspects.local import LocalSuspect

need_models()
pytestmark = [
    pytest.mark.models,
    pytest.mark.usefixtures("cheap", "few_copies", "few_messages", "secret_in_environment"),
]


@pytest.fixture
def owned(work: Path, photos: Path) -> Path:
    """A coater, keys and photos with captions in the current folder."""
    for number in range(1, 4):
        (photos / f"{number}.txt").write_text("a fox")
    Coater(SHAPE, seed=1).save(work / "coater.safetensors")
    KeyRing.draw(bits=SHAPE.message_bits).save(work / "keys.json", PASSPHRASE)
    return work


def test_a_model_is_measured_and_judged_at_once(call, owned: Path, tmp_path_factory) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    line = ["verify", "--model", model, "--images", "photos", "--coater", "coater.safetensors"]
    line += ["--key", "keys.json", *env(), "--set", "preference.draws=2", "--out", "report"]
    line += ["--show-tint"]
    code, told, err = call(*line)
    assert code == 0, err
    assert "keyed test" in told
    assert "\nlearnt tint: correlation " in told
    assert " of 1000 random messages as well; decides nothing\n" in told
    page = (owned / "report" / "report.html").read_text()
    assert page.count('<figure class="tint">') == 2
    assert "Suspect: how the model was measured" in page
    assert "siren-ext verify --model BASE --adapter FILE --images ORIGINALS" in page
    assert "Score the images" not in page
    assert told.endswith("report/report.html\n")
    assert "The measurement was saved as report.preference.json. It can reveal the message" in err
    kept = json.loads((owned / "report.preference.json").read_text())
    assert kept["source"]["kind"] == "preference"
    assert kept["source"]["settings"]["draws"] == 2
    stored = (owned / "report" / "report.json").read_text()
    assert "features" not in json.loads(stored)["suspect"]["images"][0]
    assert ledger_of(owned / "keys.json").read_text().count("\n") == 2  # begun, and one test
    check = ["report", "check", "report", "--suspect", "report.preference.json"]
    check += ["--key", "keys.json", *env()]
    again = ["--model", model, "--images", "photos", "--coater", "coater.safetensors"]
    code, told, err = call(*check, *again, "-q")
    assert (code, err) == (3, "Not checked: signature, commitment, number of tests.\n")
    assert "T and p follow from the key, the measurement and the coater" in told
    assert "learnt tint: matches. the comparison follows from the measurement" in told
    assert "\nmeasurement: matches. the model gives the same figures again" in told
    (owned / "photos" / "new.png").write_bytes((owned / "photos" / "1.png").read_bytes())
    code, told, _ = call(*check, *again, "-q")
    assert "\nmeasurement: differs. the images are not those that were measured" in told
    (owned / "photos" / "new.png").unlink()
    code, told, err = call(*check, *again, "--control", "base", "-q")
    assert code == 2
    assert "\nmeasurement: differs. the clean models that are subtracted are others" in told
    assert not list(owned.glob("*.partial"))


def test_a_part_of_an_adapter_is_measured_and_checked(call, owned: Path, tmp_path_factory) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    lora = tiny_lora(owned / "lora.safetensors", LocalSuspect(model).pipeline)
    weights = load_file(lora)
    strange = {k.replace("down_blocks_0", "down_blocks_7"): v + 0 for k, v in weights.items()}
    assert strange.keys() != weights.keys()
    save_file(weights | strange, lora)
    same = ["--model", model, "--adapter", lora, "--images", "photos"]
    same += ["--coater", "coater.safetensors", "--key", "keys.json", *env()]
    line = ["verify", *same, "--out", "report", "--set", "preference.draws=1"]
    refused(call, [*line, "-q"], "down_blocks_7")
    code, _, err = call(*line, "--allow-partial")
    assert code == 0, err
    assert "Warning: " in err
    assert "down_blocks_7" in err
    check = ["report", "check", "report", "--suspect", "report.preference.json", *same]
    code, told, err = call(*check, "-q")
    assert code == 3, err
    assert "\nmeasurement: matches." in told


def test_two_steps_give_the_same_measurement(call, owned: Path, tmp_path_factory) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    clean = shared_model(tmp_path_factory.getbasetemp(), "kl", "v_prediction")
    same = ["--coater", "coater.safetensors", "--control", str(clean)]
    line = ["verify", "--model", model, "--images", "photos", *same, "--out", "report"]
    assert call(*line, "--key", "keys.json", *env(), "--set", "preference.draws=1")[0] == 0
    line = ["preference", "photos", "--base", model, *same, "--set", "draws=1", "--out", "p.json"]
    assert call(*line)[0] == 0
    assert (owned / "p.json").read_text() == (owned / "report.preference.json").read_text()
    line = ["verify", "--suspect", "p.json", "--key", "keys.json", *env(), "--out", "second"]
    refused(call, (*line, "--show-tint"), "Give its file with --coater")
    Coater(SHAPE, seed=2).save(owned / "other.safetensors")
    before = ledger_of(owned / "keys.json").read_text()
    refused(call, (*line, "--coater", "other.safetensors"), "the measurement was made with")
    assert ledger_of(owned / "keys.json").read_text() == before
    code, told, _ = call(*line, "--coater", "coater.safetensors", "--show-tint")
    assert code == 0
    assert "\nlearnt tint: correlation " in told
    assert (owned / "second" / "report.html").read_text().count('class="tint"') == 2


def test_what_does_not_fit_is_refused_before_the_work(call, owned: Path) -> None:
    (owned / "scores.json").write_text("{}")
    model = ("verify", "--out", "r", "--model", "pocket")
    owners = ("--images", "photos", "--coater", "coater.safetensors", "--key", "keys.json")
    KeyRing.draw(bits=48).save(owned / "others.json", PASSPHRASE)
    for arguments, words in (
        (("verify", "--out", "r"), "--suspect is missing, but needed without --model"),
        (("verify", "--out", "r", "--images", "photos"), "--suspect is missing"),
        (
            ("verify", "--out", "r", "--suspect", "scores.json", "--images", "photos"),
            "--images can't be used without --model; leave it out",
        ),
        (model, "--images and --coater and --key are missing, but needed with --model"),
        (
            (*model, *owners, "--suspect", "scores.json", "--reference", "scores.json"),
            "--suspect and --reference can't be used with --model; leave them out",
        ),
        (
            ("report", "check", "r", "--control", "base"),
            "--control can't be used without --model",
        ),
        (
            ("report", "check", "r", "--model", "pocket"),
            "--key and --suspect and --images and --coater are missing, but needed with --model",
        ),
        ((*model, *owners, *env(), "--coater", "none.safetensors"), "none.safetensors"),
        ((*model, *owners, *env(), "--images", "none"), "none"),
        ((*model, *owners, *env(), "--commitment", "scores.json"), "scores.json"),
        ((*model, *owners, *env(), "--set", "preference.high=2"), "PreferenceConfig.high"),
        (
            (*model, *owners, *env(), "--key", "others.json"),
            "The key has 48 bits, but this coater needs 16",
        ),
    ):
        refused(call, arguments, words)
    (owned / "r.preference.json").write_text("mine")
    refused(call, (*model, *owners, *env()), "r.preference.json exists and is not a file of scores")
    assert (owned / "r.preference.json").read_text() == "mine"
    assert not (owned / "r").exists()
    assert not ledger_of(owned / "keys.json").exists()
