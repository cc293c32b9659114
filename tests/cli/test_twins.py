"""The command ``twins``, from coating in twins to the file of differences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.evidence_samples import PASSPHRASE
from support.tiny_attribution import tiny_lora
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.coating.twins import RECORD_NAME
from siren_ext.evidence.ledger import read_ledger
from siren_ext.files import locked, sha256_file
from siren_ext.keys.coating_key import KeyRing
from siren_ext.suspects.local import LocalSuspect

need_models()
pytestmark = pytest.mark.models


@pytest.fixture
def folders(call, coater_file: Path, tmp_path: Path) -> list[Path | str]:
    """The options of the two folders, coated by the command."""
    photos = draw_images(tmp_path / "photos", 4)
    line = ["coat", photos, "--coater", coater_file, "--out", tmp_path / "out"]
    code, told, err = call(*line, "--twins", tmp_path / "private")
    assert code == 0, err
    assert "4 twins kept" in told
    assert "Keep private to yourself" in err
    return ["--published", tmp_path / "out", "--twins", tmp_path / "private"]


def test_a_model_is_compared_and_a_control_subtracted(
    call, folders, tmp_path: Path, tmp_path_factory
) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    line = ["twins", "--base", model, *folders, "--set", "draws=1"]
    code, told, err = call(*line, "--out", tmp_path / "one.json")
    assert code == 0, err
    assert told.startswith("4 images compared with their twins")
    kept = json.loads((tmp_path / "one.json").read_text())
    assert kept["source"]["kind"] == "twins"
    assert kept["source"]["provenance"]["control"] is None
    assert kept["source"]["record_sha256"] == sha256_file(tmp_path / "private" / RECORD_NAME)
    assert any(image["score"] for image in kept["images"])
    assert not list(tmp_path.glob("*.partial"))
    for control in ("base", str(model)):
        code, _, err = call(*line, "--control", control, "--out", tmp_path / "same.json")
        assert code == 2
        assert "A clean model is the suspicious model itself" in err
    lora = tiny_lora(tmp_path / "lora.safetensors", LocalSuspect(model).pipeline, seed=1)
    with locked(tmp_path / "two.json"):
        code, _, err = call(*line, "--adapter", lora, "--out", tmp_path / "two.json")
        assert code == 2
        assert "is being written by another run" in err
    code, _, err = call(*line, "--adapter", lora, "--out", tmp_path / "two.json")
    assert code == 0, err
    two = json.loads((tmp_path / "two.json").read_text())
    assert two["source"]["provenance"]["control"]["model_fingerprint"]  # the base model


def test_coins_are_committed_before_publication(
    call, folders, coater_file: Path, tmp_path: Path
) -> None:
    line = ["commit", "--coater", coater_file, "--coated", tmp_path / "out"]
    code, told, err = call(*line, "--twins", tmp_path / "private", "--out", tmp_path / "c.json")
    assert code == 0, err
    record = sha256_file(tmp_path / "private" / RECORD_NAME)
    assert f"SHA-256 of the twins' coins: {record}" in told
    assert json.loads((tmp_path / "c.json").read_text())["twins"] == record
    assert "does not cover a key" not in err
    assert "Keep c.json.ledger beside it: it counts the tests of the twins" in err
    assert read_ledger(tmp_path / "c.json.ledger")[1] == ""


def test_a_record_that_has_changed_since_it_was_made_is_told(
    call, folders, coater_file: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    line = ["coat", photos, "--coater", coater_file, "--out", tmp_path / "out"]
    line += ["--twins", tmp_path / "private"]
    code, _, err = call(*line)
    assert code == 0, err
    assert "the record of the twins has changed" not in err
    draw_images(tmp_path / "more", 5, size=48)
    (tmp_path / "more" / "4.png").rename(photos / "new.png")
    code, _, err = call(*line)
    assert code == 0, err
    assert (
        "Warning: the record of the twins has changed, so a commitment to the earlier "
        "record no longer"
    ) in err


def test_from_the_commitment_to_a_checked_report(
    call, folders, coater_file: Path, tmp_path: Path, tmp_path_factory, monkeypatch, cheap
) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    line = ["--coater", coater_file, "--twins", tmp_path / "private"]
    assert call("commit", *line, "--out", tmp_path / "c.json")[0] == 0
    line = ["twins", "--base", model, *folders, "--set", "draws=1", "--out", tmp_path / "x.json"]
    assert call(*line)[0] == 0
    line = ["verify", "--suspect", tmp_path / "x.json", "--out", tmp_path / "report"]
    code, told, err = call(*line, "--commitment", tmp_path / "c.json")
    assert code == 0, err
    assert "comparison of twins: inconclusive" in told
    assert "published copies preferred. With 97.5 % confidence" in told
    assert "the coins of the twins" in err
    assert "This is test 1 of the commitment; p is multiplied by 2." in err
    assert "no ledger" not in err
    assert "earlier tests" not in err
    check = ["report", "check", tmp_path / "report", "--commitment", tmp_path / "c.json"]
    code, told, err = call(*check)
    assert code == 3, told
    assert "coins: not checked" in told
    assert "The report calls itself test 1, for which p was multiplied by 2" in told
    check += ["--ledger", tmp_path / "c.json.ledger"]
    code, told, err = call(*check, "--twins", tmp_path / "private")
    assert "number of tests: matches. It is test 1, and p was multiplied by 2" in told
    assert "coins: matches. 4 coins are those of the record" in told
    assert "figures: matches" in told
    KeyRing.draw(bits=48).save(tmp_path / "keys.json", PASSPHRASE)
    monkeypatch.setenv("SECRET", PASSPHRASE)
    with_key = ["--key", tmp_path / "keys.json", "--suspect", tmp_path / "x.json"]
    told = call(*check, *with_key, "--passphrase-env", "SECRET")[2]
    assert "this report has no keyed test, so the key and the scores were not used" in told
    record = tmp_path / "private" / RECORD_NAME
    record.write_text(record.read_text() + " ")
    code, told, err = call(*check, "--twins", record)
    assert code == 2
    assert "coins: differs. This is not the record" in told
    kept = json.loads((tmp_path / "x.json").read_text())
    kept["source"]["record_sha256"] = "0" * 64
    (tmp_path / "x.json").write_text(json.dumps(kept))
    line = ["verify", "--suspect", tmp_path / "x.json", "--out", tmp_path / "other"]
    code, told, err = call(*line, "--commitment", tmp_path / "c.json")
    assert "coins of the twins are not the committed ones" in err


def test_bad_input_is_one_message(call, folders, tmp_path: Path) -> None:
    (tmp_path / "private" / RECORD_NAME).unlink()
    line = ["twins", "--base", "pocket", *folders, "--out", tmp_path / "x.json"]
    code, _, err = call(*line)
    assert code == 2
    assert RECORD_NAME in err
    assert "Traceback" not in err
