"""Coating keys: drawn well, never shown, kept encrypted, hostile files refused."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
import traceback

import numpy as np
import pytest
from support.evidence_samples import PASSPHRASE, SALT, SIGNS, cheap, known_key

from siren_ext.errors import EvidenceError, MissingExtraError
from siren_ext.keys import encrypted_file
from siren_ext.keys.coating_key import FORMAT, CoatingKey, KeyRing
from siren_ext.keys.encrypted_file import read_encrypted, write_encrypted

__all__ = ["cheap"]
needs_cipher = pytest.mark.usefixtures("cheap")
PACKED = np.packbits(SIGNS > 0).tobytes()


def secrets_in(text: str) -> list[str]:
    """Ways to write the known message or its salt that occur in a text."""
    bits = "".join("1" if sign > 0 else "0" for sign in SIGNS)
    ways = [PACKED.hex(), SALT.hex(), bits, bits.translate(str.maketrans("01", "-+"))]
    plain = text.replace(" ", "").replace("\n", "")
    ways += [",".join(map(str, SIGNS)), ",".join(map(str, SIGNS.astype(float)))]
    return [way for way in ways if way in plain]


def test_a_key_is_uniform_and_from_the_operating_system(monkeypatch):
    keys = [CoatingKey.draw() for _ in range(200)]
    assert len({key.fingerprint() for key in keys}) == 200
    table = np.stack([key.signs() for key in keys])
    assert set(np.unique(table)) == {-1, 1}
    assert abs(table.mean()) < 5 / np.sqrt(table.size)
    assert np.abs(table.mean(axis=0)).max() < 6 / np.sqrt(200)
    np.random.seed(0)
    first = CoatingKey.draw()
    np.random.seed(0)
    assert first != CoatingKey.draw()
    monkeypatch.setattr(os, "urandom", lambda count: b"\xff" * count)
    assert (CoatingKey.draw(11).signs() == 1).all(), "bits are those of os.urandom"


@pytest.mark.parametrize("signs", [[], [0, 1], [1, 2], [[1, -1]], "word", [np.nan], [1] * 513])
def test_other_messages_are_refused(signs):
    with pytest.raises(EvidenceError, match="expected 1 to 512 values"):
        CoatingKey(signs)


def test_the_fingerprint_binds_and_hides():
    key = known_key()
    assert key.fingerprint() == CoatingKey(SIGNS, SALT).fingerprint()
    flipped = SIGNS.copy()
    flipped[17] *= -1
    others = [
        CoatingKey(SIGNS),  # the same message with a salt of its own
        CoatingKey(flipped, SALT),
        CoatingKey(SIGNS[:47], SALT),
        CoatingKey(np.append(SIGNS, -1), SALT),
    ]
    assert len({key.fingerprint(), *(other.fingerprint() for other in others)}) == 5
    assert all(other != key for other in others)
    with pytest.raises(EvidenceError, match="32"):
        CoatingKey(SIGNS, b"short")


def test_no_way_of_showing_a_key_shows_it():
    key, ring = known_key(), KeyRing([("gallery", known_key())])
    shown = [repr(key), str(key), f"{key}", repr([key]), repr(ring), str({"key": key})]
    assert not secrets_in("".join(shown))
    assert secrets_in(repr(list(SIGNS)) + PACKED.hex()), "the search itself must work"
    assert not hasattr(key, "__dict__")
    for how in (pickle.dumps, json.dumps):
        with pytest.raises(TypeError):
            how(key)
    assert copy.deepcopy(key) is key
    with pytest.raises(AttributeError, match="can't be changed"):
        key._salt = b""
    with pytest.raises(ValueError, match="read-only"):
        key.signs()[0] = 1


def test_a_ring_has_one_key_per_recipient():
    ring = KeyRing.draw(["gallery", "printer"], bits=20)
    assert ring.names == ("gallery", "printer")
    assert ring.key("printer") == dict(ring)["printer"]
    assert ring.key("gallery") != ring.key("printer")
    longer = ring.extended(["shop"])
    assert longer.key("gallery") == ring.key("gallery")
    assert longer.key("shop").bits == 20
    with pytest.raises(EvidenceError, match="several keys; name one of its recipients: gallery"):
        ring.key()
    with pytest.raises(EvidenceError, match="no key for 'nobody'"):
        ring.key("nobody")
    with pytest.raises(EvidenceError, match="'gallery' is there already"):
        ring.extended(["gallery "])
    for name in ("two\nlines", "x" * 201, "\u202etxt"):
        with pytest.raises(EvidenceError, match="can't be a recipient"):
            KeyRing.draw([name])
    assert KeyRing.draw().key().bits == 48


@needs_cipher
def test_a_file_keeps_the_keys_and_tells_nothing(tmp_path):
    path = tmp_path / "keys.json"
    ring = KeyRing([("gallery", known_key()), ("shop", CoatingKey.draw())])
    ring.save(path, PASSPHRASE)
    again = KeyRing.load(path, PASSPHRASE)
    assert again.names == ring.names
    assert list(again) == list(ring)
    np.testing.assert_array_equal(again.key("gallery").signs(), SIGNS)
    text = path.read_text()
    assert not secrets_in(text)
    assert "gallery" not in text
    assert PASSPHRASE not in text
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ring.save(tmp_path / "twice.json", PASSPHRASE)
    assert json.loads(text)["sealed"] != json.loads((tmp_path / "twice.json").read_text())["sealed"]


@needs_cipher
def test_a_file_is_never_overwritten_unasked(tmp_path):
    path = tmp_path / "keys.json"
    KeyRing.draw().save(path, PASSPHRASE)
    before = path.read_bytes()
    with pytest.raises(EvidenceError, match="exists already and is not overwritten"):
        KeyRing.draw().save(path, PASSPHRASE)
    assert path.read_bytes() == before
    KeyRing.draw(["a"]).save(path, PASSPHRASE, replace=True)
    assert KeyRing.load(path, PASSPHRASE).names == ("a",)
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["keys.json"]


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
