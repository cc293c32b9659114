"""Coating keys: drawn well, never shown, kept encrypted."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat

import numpy as np
import pytest
from support.evidence_samples import PASSPHRASE, SALT, SIGNS, known_key

from siren_ext.errors import EvidenceError
from siren_ext.keys.coating_key import CoatingKey, KeyRing

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
    with pytest.raises(EvidenceError, match="already a key for 'gallery'"):
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
    with pytest.raises(EvidenceError, match="already exists and was not overwritten"):
        KeyRing.draw().save(path, PASSPHRASE)
    assert path.read_bytes() == before
    KeyRing.draw(["a"]).save(path, PASSPHRASE, replace=True)
    assert KeyRing.load(path, PASSPHRASE).names == ("a",)
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["keys.json"]
