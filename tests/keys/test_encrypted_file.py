"""Encrypted files: hostile ones are refused before any work."""

from __future__ import annotations

import json
import traceback

import pytest
from support.evidence_samples import PASSPHRASE, known_key
from support.hostile_files import check_reader, damaged

from siren_ext.errors import EvidenceError, MissingExtraError
from siren_ext.keys import coating_key, encrypted_file
from siren_ext.keys.coating_key import (
    FORMAT,
    MAX_BITS,
    MAX_NAME,
    MAX_RECIPIENTS,
    CoatingKey,
    KeyRing,
)
from siren_ext.keys.encrypted_file import read_encrypted, write_encrypted
from siren_ext.schema import to_plain

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
        ({"format": "other"}, "has the format 'other'; expected 'siren_ext.keys'"),
        ({"version": 2}, "has the version 2; expected 1"),
        ({"version": True}, "has the version True; expected 1"),
        ({"derivation": None}, "has no derivation; expected named values"),
        ({"derivation": []}, r"derivation is \[\]; expected named values"),
        ({"extra": 1}, "has the unknown name 'extra'"),
        ({"cipher__name": "none"}, "cipher.name is 'none'; expected 'aes-256-gcm'"),
        ({"derivation__name": "md5"}, "derivation.name is 'md5'; expected 'scrypt'"),
        ({"derivation__salt": "zz" * 16}, "derivation.salt is 'z.*expected 32 hexadecimal digits"),
        ({"derivation__salt": ""}, "derivation.salt is ''; expected 32 hexadecimal digits"),
        ({"derivation__salt": "00" * 16 + "\n"}, r"derivation.salt is .*expected 32 hexadecimal"),
        ({"cipher__nonce": "00"}, "cipher.nonce is '00'; expected 24 hexadecimal digits"),
        ({"derivation__cost": 40}, "derivation.cost is 40; expected a whole number from 14 to 18"),
        ({"derivation__cost": 1}, "derivation.cost is 1; expected a whole number from 14 to 18"),
        ({"derivation__cost": 14.5}, "derivation.cost is 14.5; expected a whole number"),
        ({"derivation__cost": True}, "derivation.cost is True; expected a whole number"),
        ({"sealed": "***"}, r"sealed is '\*\*\*'; expected base64 text"),
        ({"sealed": None}, "has no sealed; expected base64 text"),
        ({"sealed": 7}, "sealed is 7; expected base64 text"),
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
def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "keys.json"
    KeyRing.draw().save(path, PASSPHRASE)
    check_reader(path, lambda path: KeyRing.load(path, PASSPHRASE), EvidenceError)


@needs_cipher
def test_a_huge_cost_is_refused_before_any_work(tmp_path, monkeypatch):
    path = tmp_path / "keys.json"
    KeyRing.draw().save(path, PASSPHRASE)
    changed(path, derivation__cost=30)
    monkeypatch.setattr(encrypted_file, "_cipher", lambda *_: pytest.fail("it went to work"))
    with pytest.raises(EvidenceError, match="cost is 30; expected a whole number from 14 to 18"):
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


@needs_cipher
@pytest.mark.parametrize("field", ["message", "salt", "recipient", "bits"])
@pytest.mark.parametrize("wrong", ["secret-7f3a", ["secret-7f3a"], {"secret-7f3a": 1}, None, 1e9])
def test_no_error_and_no_repr_shows_what_was_encrypted(tmp_path, field, wrong):
    entry = {"recipient": "a", "bits": 48, "message": "5e" * 6, "salt": "7c" * 32, field: wrong}
    path = tmp_path / "keys.json"
    write_encrypted(path, FORMAT, {"keys": [entry]}, PASSPHRASE)
    if (field, wrong) == ("recipient", "secret-7f3a"):
        assert "7c" * 32 not in repr(KeyRing.load(path, PASSPHRASE))
        return
    with pytest.raises(EvidenceError) as error:
        KeyRing.load(path, PASSPHRASE)
    told = "".join(traceback.TracebackException.from_exception(error.value).format(chain=True))
    for secret in ("secret-7f3a", "5e5e", "7c7c", "1000000000"):
        assert secret not in told
    assert error.value.__cause__ is None
    assert error.value.__context__ is None


@needs_cipher
def test_damaged_content_is_refused_without_being_quoted(tmp_path):
    """Sealed by somebody who knows the passphrase, but not by this program."""
    path = tmp_path / "keys.json"
    text = json.dumps({"keys": [{"recipient": "secret-7f3a"}]})
    for name, (content, _) in damaged(text).items():
        derivation = encrypted_file._Derivation("scrypt", 14, "00" * 16)
        file = encrypted_file._File(
            FORMAT, 1, derivation, encrypted_file._Cipher("aes-256-gcm", "00" * 12), b""
        )
        cipher = encrypted_file._cipher(PASSPHRASE, derivation)
        file.sealed = cipher.encrypt(bytes(12), content, file.head())
        path.write_text(json.dumps(to_plain(file)))
        with pytest.raises(
            EvidenceError, match=r"was decrypted, but it is not a siren_ext\.keys file"
        ) as error:
            KeyRing.load(path, PASSPHRASE)
        assert "7f3a" not in str(error.value), name


@needs_cipher
def test_stored_keys_show_nothing(tmp_path):
    stored = known_key()._stored("gallery")
    shown = f"{stored!r} {stored} {coating_key._StoredRing([stored])!r}"
    assert stored.message not in shown
    assert stored.salt not in shown
    assert "48" in shown


@needs_cipher
def test_the_most_and_longest_keys_can_be_read_back(tmp_path):
    names = [f"{i:05d}" + "\N{SNOWMAN}" * (MAX_NAME - 5) for i in range(MAX_RECIPIENTS)]
    key = CoatingKey([1] * MAX_BITS)
    ring = KeyRing((name, key) for name in names)
    ring.save(tmp_path / "k.json", PASSPHRASE)
    assert KeyRing.load(tmp_path / "k.json", PASSPHRASE).names == ring.names


def test_files_that_are_no_key_files(tmp_path):
    large = tmp_path / "large.json"
    with large.open("wb") as stream:
        stream.truncate(encrypted_file.MAX_BYTES + 1)
    for path, words in (
        (tmp_path / "none.json", "can't be read"),
        (large, "at most 33,554,432"),
        (tmp_path, "is a folder"),
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
    with pytest.raises(EvidenceError, match=r"'siren_ext.signing_key'; expected 'siren_ext.keys'"):
        KeyRing.load(tmp_path / "s.json", PASSPHRASE)
    changed(tmp_path / "s.json", format=FORMAT)
    with pytest.raises(EvidenceError, match="the file was changed"):
        read_encrypted(tmp_path / "s.json", FORMAT, dict, PASSPHRASE)


def test_without_the_package_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    monkeypatch.setitem(
        __import__("sys").modules, "cryptography.hazmat.primitives.ciphers.aead", None
    )
    with pytest.raises(MissingExtraError, match=r"siren-ext\[evidence\]"):
        KeyRing.draw().save(tmp_path / "k.json", PASSPHRASE)
    assert not (tmp_path / "k.json").exists()
