"""A tiny keyed coater and keys for it, whose message the test knows."""

from __future__ import annotations

import numpy as np

from siren_ext.coater.config import CoaterConfig
from siren_ext.keys.coating_key import CoatingKey

BITS = 16


SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, working_size=16, message_bits=BITS
)


def key(seed: int = 0) -> CoatingKey:
    signs = np.random.default_rng(seed).integers(0, 2, BITS) * 2 - 1
    return CoatingKey(signs, bytes([seed]) * 32)
