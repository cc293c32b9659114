"""A key whose message and passphrase the tests know."""

from __future__ import annotations

import numpy as np

from siren_ext.keys.coating_key import CoatingKey

PASSPHRASE = "five plain words of mine"
SIGNS = np.where(np.random.default_rng(77).random(48) < 0.5, -1, 1)
SALT = bytes(range(32))


def known_key() -> CoatingKey:
    """A key whose message the test knows."""
    return CoatingKey(SIGNS, SALT)
