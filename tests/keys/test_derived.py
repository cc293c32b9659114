"""Derived keys: the same inputs give the same keys, others give unrelated ones."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from support.evidence_samples import PASSPHRASE, SALT

from siren_ext.errors import EvidenceError
from siren_ext.keys.derived import KeySalt, expand

RANDOM, COMMITMENT = "ab" * 32, "cd" * 32


def test_hkdf_is_that_of_the_rfc():
    """Test case 1 of RFC 5869, appendix A."""
    secret = "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert expand(bytes.fromhex(secret), bytes(range(0xF0, 0xFA)), 42).hex() == okm


def test_a_derived_key_can_be_derived_again():
    first, second = (KeySalt(["a", "b"], 48, SALT).derive(RANDOM, COMMITMENT) for _ in range(2))
    assert [key.fingerprint() for _, key in first] == [key.fingerprint() for _, key in second]
    assert (first.key("a").signs() == second.key("a").signs()).all()
    assert first.names == ("a", "b")


def test_whatever_goes_in_changes_the_key():
    salt = KeySalt(["a", "b"], 512, SALT)
    ring = salt.derive(RANDOM, COMMITMENT)
    others = [
        ring.key("b"),
        salt.derive("ac" * 32, COMMITMENT).key("a"),
        salt.derive(RANDOM, "ce" * 32).key("a"),
        KeySalt(["a"], 512, bytes(32)).derive(RANDOM, COMMITMENT).key("a"),
    ]
    for one in others:  # 512 fair coins agree in 256 +- 11
        assert abs(int((one.signs() == ring.key("a").signs()).sum()) - 256) < 70


def test_messages_are_uniform():
    draws = [KeySalt((), 48, SALT).derive(f"{i:064x}", COMMITMENT).key() for i in range(2000)]
    share = np.mean([key.signs() > 0 for key in draws], axis=0)
    assert np.abs(share - 0.5).max() < 0.06


def test_the_fingerprint_binds_bits_and_recipients():
    prints = {
        KeySalt(names, bits, SALT).fingerprint()
        for names, bits in ((["a"], 48), (["b"], 48), (["a"], 49), (["a", "b"], 48), (["ab"], 48))
    }
    assert len(prints) == 5
    assert KeySalt(["a"], 48).fingerprint() != KeySalt(["a"], 48).fingerprint()


@pytest.mark.usefixtures("cheap")
def test_a_salt_is_kept_encrypted(tmp_path):
    pytest.importorskip("cryptography")
    salt = KeySalt(["gallery"], 48, SALT)
    salt.save(tmp_path / "salt.json", PASSPHRASE)
    text = (tmp_path / "salt.json").read_text()
    assert SALT.hex() not in text
    assert "gallery" not in text
    assert KeySalt.load(tmp_path / "salt.json", PASSPHRASE).fingerprint() == salt.fingerprint()
    with pytest.raises(EvidenceError, match="passphrase is wrong"):
        KeySalt.load(tmp_path / "salt.json", "another passphrase")


def test_a_salt_shows_nothing_and_stays_as_it_is():
    salt = KeySalt(["a"], 48, SALT)
    assert repr(salt) == "KeySalt(1 keys of 48 bits)"
    with pytest.raises(AttributeError):
        salt.bits = 3
    for careless in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            careless(salt)
    for wrong in ({"recipients": ["a", "a"]}, {"bits": 0}, {"salt": b"short"}):
        with pytest.raises(EvidenceError):
            KeySalt(**wrong)
