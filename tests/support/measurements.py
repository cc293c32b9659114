"""Measurements of a model's file with a learnt field, made without a model."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
from support.keyed_coating import BITS, SHAPE, key

from siren_ext.coater.coater import Coater
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.preference.changes import MeanField, field_tests
from siren_ext.preference.small import IMAGES, changes_by
from siren_ext.scoring.score_set import BASE, FIELD, ScoreSet
from siren_ext.stats.tilted import TiltedResult


def coarse_coater() -> Coater:
    """A keyed coater of coarse colour, whose changes survive at a side of 32."""
    return Coater(replace(SHAPE, coarse=2.0, min_psnr=38.0), seed=1)


def measured_with_field(
    coater: Coater, *, learnt: int = 0, other: float = 0.0, bits: float = 0.3, count: int = 40
) -> ScoreSet:
    """What a model is measured to have learnt of a key.

    Parameters
    ----------
    coater : Coater
        The coater.
    learnt : int
        Number of the key, for :func:`support.keyed_coating.key`.
    other : float
        How much of another key's whole change the field has besides.
    bits : float
        Strength of the message in each bit.
    count : int
        Number of images.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8)
    messages = np.stack([key(learnt).signs(), key(learnt + 100).signs()])
    own, another = np.concatenate([c.numpy() for c in changes_by(images, coater, messages)]).mean(1)
    field = MeanField((own + other * another).astype(np.float32), images)
    return ScoreSet(
        rng.normal(size=count),
        tuple(f"{row}.png" for row in range(count)),
        tuple(f"{row:064x}" for row in range(count)),
        coater.fingerprint,
        {"kind": "preference", "settings": {"whole": True}, FIELD: field.to_plain()},
        features=bits * key(learnt).signs() + rng.normal(size=(count, BITS)),
    )


def beside(suspect: ScoreSet, base: ScoreSet) -> ScoreSet:
    """The suspect's measurement with another one as that of its base model."""
    assert base.features is not None
    plain = {"features": base.features.tolist(), FIELD: base.source[FIELD]}
    return dataclasses.replace(suspect, source=suspect.source | {BASE: plain})


def field_test(scores: ScoreSet, coater: Coater, key: CoatingKey, **options: float) -> TiltedResult:
    """The test of one key."""
    (found,) = field_tests(scores, coater, key.signs()[None].astype(np.float64), **options)
    return found
