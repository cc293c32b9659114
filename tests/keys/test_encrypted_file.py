"""Encrypted files: hostile ones are refused before any work."""

from __future__ import annotations

import json
import traceback

import pytest
from support.evidence_samples import PASSPHRASE, known_key

from siren_ext.errors import EvidenceError, MissingExtraError
from siren_ext.keys import encrypted_file
from siren_ext.keys.coating_key import FORMAT, KeyRing
from siren_ext.keys.encrypted_file import read_encrypted, write_encrypted

needs_cipher = pytest.mark.usefixtures("cheap")


@needs_cipher
def test_a_wrong_passphrase_is_told_and_betrays_nothing(tmp_path):
    path = tmp_path / "keys.json"
    KeyRing([("gallery", known_key())]).save(path, PASSPHRASE)
    with pytest.raises(
        EvidenceError, match="passphrase is wrong, or the file was changed"
    ) as error:
        KeyRing.load(path, PASSPHRASE.upper())
    told = "".join(traceback.format_exception(error.value))
    assert PASSPHRASE.upper() not in told
    assert "gallery" not in told
    assert error.value.__cause__ is None
    with pytest.raises(EvidenceError, match="at least 8"):
        KeyRing.draw().save(tmp_path / "short.json", "seven77")
    assert not (tmp_path / "short.json").exists()


@needs_cipher
def test_letters_count_however_a_keyboard_composes_them(tmp_path):
    KeyRing.draw().save(tmp_path / "k.json", "caf\u00e9 caf\u00e9")
    assert KeyRing.load(tmp_path / "k.json", "cafe\u0301 cafe\u0301").bits == 48


def changed(path, **values):
    data = json.loads(path.read_text())
    for name, value in values.items():
        outer, _, inner = name.partition("__")
        if inner:
            data[outer][inner] = value
        elif value is None:
            del data[outer]
        else:
            data[outer] = value
    path.write_text(json.dumps(data))


@needs_cipher
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"format": "other"}, "should be a file of the format"),
        ({"version": 2}, "version 2; this program reads version 1"),
        ({"version": True}, "version True"),
        ({"derivation": None}, "damaged or of another program"),
        ({"derivation": []}, "damaged or of another program"),
        ({"extra": 1}, "damaged or of another program"),
        ({"cipher__name": "none"}, "damaged or of another program"),
        ({"derivation__name": "md5"}, "damaged or of another program"),
        ({"derivation__salt": "zz" * 16}, "damaged or of another program"),
        ({"derivation__salt": ""}, "damaged or of another program"),
        ({"cipher__nonce": "00"}, "damaged or of another program"),
        ({"derivation__cost": 40}, "cost of 40; expected 14 to 18"),
        ({"derivation__cost": 1}, "cost of 1; expected 14 to 18"),
        ({"derivation__cost": 14.0}, "damaged or of another program"),
        ({"derivation__cost": True}, "damaged or of another program"),
        ({"sealed": "***"}, "is damaged"),
        ({"sealed": None}, "is damaged"),
        ({"sealed": ""}, "passphrase is wrong, or the file was changed"),
        ({"derivation__salt": "00" * 16}, "passphrase is wrong, or the file was changed"),
        ({"cipher__nonce": "00" * 12}, "passphrase is wrong, or the file was changed"),
    ],
)
def test_hostile_files_are_refused(tmp_path, values, words):
    path = tmp_path / "keys.json"
    KeyRing.draw().save(path, PASSPHRASE)
    changed(path, **values)
    with pytest.raises(EvidenceError, match=words):
        KeyRing.load(path, PASSPHRASE)


@needs_cipher
def test_a_huge_cost_is_refused_before_any_work(tmp_path, monkeypatch):
    path = tmp_path / "keys.json"
    KeyRing.draw().save(path, PASSPHRASE)
    changed(path, derivation__cost=30)
    monkeypatch.setattr(encrypted_file, "_cipher", lambda *_: pytest.fail("it went to work"))
    with pytest.raises(EvidenceError, match="cost of 30"):
        KeyRing.load(path, PASSPHRASE)


@needs_cipher
def test_what_was_encrypted_is_checked_too(tmp_path):
    entry = {"recipient": "a", "bits": 8, "message": "ff", "salt": "00" * 32}
    bad = [
        {},
        {"keys": []},
        {"keys": 3},
        {"keys": [1]},
        {"keys": [entry, entry]},
        {"keys": [{**entry, "bits": 9}]},
        {"keys": [{**entry, "bits": True}]},
        {"keys": [{**entry, "message": "zz"}]},
        {"keys": [{**entry, "salt": "00"}]},
        {"keys": [{**entry, "recipient": 7}]},
        {"keys": [entry, {**entry, "recipient": "b", "bits": 7}]},
    ]
    for number, content in enumerate(bad):
        path = tmp_path / f"{number}.json"
        write_encrypted(path, FORMAT, content, PASSPHRASE)
        with pytest.raises(EvidenceError):
            KeyRing.load(path, PASSPHRASE)
    write_encrypted(tmp_path / "good.json", FORMAT, {"keys": [entry]}, PASSPHRASE)
    assert KeyRing.load(tmp_path / "good.json", PASSPHRASE).names == ("a",)


def test_files_that_are_no_key_files(tmp_path):
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (encrypted_file.MAX_BYTES + 1))
    for path, words in (
        (tmp_path / "none.json", "can't be read"),
        (large, "at most 1,048,576"),
        (tmp_path, "can't be read"),
    ):
        with pytest.raises(EvidenceError, match=words):
            KeyRing.load(path, PASSPHRASE)
    for text in ("{", "[]", "3", "null", '{"format": 1}', "[" * 5000):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(EvidenceError):
            KeyRing.load(tmp_path / "x.json", PASSPHRASE)


@needs_cipher
def test_kinds_are_not_mixed_up(tmp_path):
    write_encrypted(tmp_path / "s.json", "siren_ext.signing_key", {"private": "00"}, PASSPHRASE)
    with pytest.raises(EvidenceError, match=r"format 'siren_ext.keys'; found"):
        KeyRing.load(tmp_path / "s.json", PASSPHRASE)
    changed(tmp_path / "s.json", format=FORMAT)
    with pytest.raises(EvidenceError, match="the file was changed"):
        read_encrypted(tmp_path / "s.json", FORMAT, PASSPHRASE)


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    monkeypatch.setitem(
        __import__("sys").modules, "cryptography.hazmat.primitives.ciphers.aead", None
    )
    with pytest.raises(MissingExtraError, match=r"siren-ext\[evidence\]"):
        KeyRing.draw().save(tmp_path / "k.json", PASSPHRASE)
    assert not (tmp_path / "k.json").exists()
