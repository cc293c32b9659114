"""Hashes of single bits: each can be checked alone, and hides its bit."""

from __future__ import annotations

import numpy as np
from support.evidence_samples import SALT, SIGNS, known_key

from siren_ext.keys.coating_key import CoatingKey
from siren_ext.keys.derived import KeySalt
from siren_ext.keys.single_bits import (
    bit_secrets,
    derived_sign,
    joint_hash,
    key_hashes,
    salted_hash,
)


def test_a_bit_is_checked_with_its_secret_alone():
    hashes, secrets = key_hashes(known_key()), bit_secrets(SALT, 48)
    assert len(set(hashes)) == 48
    for index, (secret, sign) in enumerate(zip(secrets, SIGNS, strict=True)):
        assert salted_hash(index, secret, int(sign)) == hashes[index]
        assert salted_hash(index, secret, -int(sign)) != hashes[index]
        assert salted_hash(index + 1, secret, int(sign)) != hashes[index]


def test_the_joint_hash_binds_every_bit_and_their_order():
    hashes = key_hashes(known_key())
    turned = CoatingKey(SIGNS * np.where(np.arange(48) == 7, -1, 1), SALT)
    others = {joint_hash(key_hashes(turned)), joint_hash(hashes[::-1]), joint_hash(hashes[:47])}
    assert joint_hash(hashes) not in others
    assert len(others) == 3


def test_secrets_of_other_purposes_are_unrelated():
    assert not set(bit_secrets(SALT, 48)) & set(bit_secrets(SALT, 48, b"sums"))


def test_bits_of_a_derived_key_follow_from_their_secrets():
    salt = KeySalt(["a", "b"], 48, SALT)
    ring = salt.derive("ab" * 32, "cd" * 32)
    for (_, key), joint in zip(ring, salt.bit_hashes(), strict=True):
        assert joint_hash(key_hashes(key, derived=True)) == joint
        secrets = bit_secrets(key._salt, 48)
        assert [derived_sign(one, "ab" * 32, "cd" * 32) for one in secrets] == [*key.signs()]
    other = salt.derive("ac" * 32, "cd" * 32)
    assert joint_hash(key_hashes(other.key("a"), derived=True)) == salt.bit_hashes()[0]
