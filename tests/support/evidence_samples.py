"""Score sets with simulated features, and keys whose encryption is quick, for several tests."""

from __future__ import annotations

import numpy as np

from siren_ext.keys.coating_key import CoatingKey
from siren_ext.scoring.score_set import ScoreSet

COATER = "ab" * 32
PLAN = {"prompts": ["a dog"], "seeds": [1, 2], "steps": 20}
PASSPHRASE = "five plain words of mine"
SIGNS = np.where(np.random.default_rng(77).random(48) < 0.5, -1, 1)
SALT = bytes(range(32))


def known_key() -> CoatingKey:
    """A key whose message the test knows."""
    return CoatingKey(SIGNS, SALT)


def pool(mean, n=40, *, seed=0, start=None, lean=None, style=0.0, **changes) -> ScoreSet:
    """Normal scores; features with a fixed style, leaning to the signs ``lean`` if given."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 48)) + style * np.random.default_rng(5).normal(size=48)
    if lean is not None:
        features = features + 0.8 * np.asarray(lean)
    start = seed * 1000 if start is None else start
    parts = {
        "scores": rng.normal(mean, 1, n),
        "names": tuple(f"{i:05d}.png" for i in range(n)),
        "hashes": tuple(f"{start + i:064x}" for i in range(n)),
        "coater": COATER,
        "source": PLAN,
        "features": features,
    }
    return ScoreSet(**(parts | changes))
