"""The mean learnt field, and what messages really change."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.keyed_coating import BITS, SHAPE, key
from support.measurements import field_test

from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError, ScoreError
from siren_ext.preference.changes import (
    MeanField,
    agreement,
    field_in_pixels,
    field_tests,
)
from siren_ext.preference.patterns import Codings
from siren_ext.preference.small import IMAGES, signs_for
from siren_ext.scoring.score_set import FIELD, ScoreSet


@pytest.fixture(scope="module")
def coater() -> Coater:
    return Coater(replace(SHAPE, coarse=2.0, min_psnr=38.0), seed=1)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    soft = torch.rand(IMAGES, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    large = torch.nn.functional.interpolate(soft, size=(32, 32), mode="bilinear")
    return (large * 255).round().to(torch.uint8).numpy()


def changed(coater: Coater, images: np.ndarray, seed: int) -> np.ndarray:
    """What a key really changes, on the average over the images."""
    message = torch.from_numpy(key(seed).signs().astype(np.float32))
    with torch.no_grad():
        return coater.residual(torch.from_numpy(images).float() / 255, message).mean(0).numpy()


def measured(coater: Coater, field: MeanField) -> ScoreSet:
    return ScoreSet(
        np.zeros(1),
        ("a.png",),
        ("",),
        coater.fingerprint,
        {"kind": "preference", FIELD: field.to_plain()},
        features=np.ones((1, BITS)),
    )


def test_agreement_is_the_product_of_field_and_change(coater: Coater, images: np.ndarray) -> None:
    direction = np.random.default_rng(0).normal(size=(3, 32, 32)).astype(np.float32)
    messages = np.stack([key(seed).signs() for seed in range(40)]).astype(float)
    found = agreement(MeanField(direction, images), coater, messages)
    for row in (0, 17, 39):
        expected = (changed(coater, images, row) * direction).sum()
        assert found[row] == pytest.approx(expected, rel=1e-3, abs=1e-5)


@pytest.mark.usefixtures("few_messages")
def test_the_key_whose_change_was_learnt_is_found_and_no_other(
    coater: Coater, images: np.ndarray
) -> None:
    learnt = changed(coater, images, 3) - changed(coater, images, 8) / 4
    scores = measured(coater, MeanField(learnt, images))
    right = field_test(scores, coater, key(3))
    assert right.p_value < 20 * 2.0**-BITS
    assert (right.bits, right.drawn) == (BITS, 400)
    wrong = field_test(scores, coater, key(4))
    assert wrong.p_value > 0.01
    assert field_tests(scores, coater, key(4).signs()[None] * 1.0)[0] == wrong


@pytest.mark.usefixtures("few_messages")
def test_bits_and_whole_changes_count_together(coater: Coater, images: np.ndarray) -> None:
    strange = changed(coater, images, 3) + 1.5 * changed(coater, images, 8)
    weak = MeanField(strange, images)
    bits = replace(measured(coater, weak), features=0.1 * key(3).signs()[None] * 1.0)
    p = [field_test(bits, coater, key(3), sum_weight=weight).p_value for weight in (0, 0.5, 5)]
    assert p[0] > 5 * p[1]
    assert p[0] > 5 * p[2]
    # a measurement whose bits say nothing is tested by whole changes alone
    silent = replace(bits, features=np.zeros((1, BITS)))
    alone = [field_test(one, coater, key(3), sum_weight=0).p_value for one in (bits, silent)]
    assert alone[0] == alone[1] == field_test(silent, coater, key(3)).p_value


def test_fields_are_kept_in_files_of_scores(
    coater: Coater, images: np.ndarray, tmp_path: Path
) -> None:
    scores = measured(coater, MeanField(changed(coater, images, 0), images))
    scores.save(tmp_path / "scores.json")
    loaded = MeanField.of(ScoreSet.load(tmp_path / "scores.json"))
    assert loaded is not None
    assert np.array_equal(loaded.images, images)
    assert np.array_equal(loaded.direction, changed(coater, images, 0))


def test_measurements_of_earlier_versions_have_no_field(coater: Coater) -> None:
    scores = ScoreSet(np.zeros(1), ("a.png",), ("",), coater.fingerprint, {"kind": "preference"})
    assert MeanField.of(scores) is None
    with pytest.raises(ScoreError, match="has no learnt field"):
        field_tests(scores, coater, np.ones((1, BITS)))


@pytest.mark.parametrize(
    "plain",
    [
        [],
        "text",
        {},
        {"direction": "?", "images": "?"},
        {"direction": 3, "images": None},
        {"direction": "AAAA", "images": "AAAA"},
        {
            "direction": base64.b64encode(np.full(3072, np.nan, "<f4").tobytes()).decode(),
            "images": base64.b64encode(bytes(IMAGES * 3072)).decode(),
        },
        {
            "direction": base64.b64encode(bytes(4 * 3072)).decode(),
            "images": base64.b64encode(bytes(2 * 3072)).decode(),
        },
    ],
)
def test_malformed_fields_are_refused(coater: Coater, plain: object) -> None:
    source = {"kind": "preference", FIELD: plain}
    scores = ScoreSet(np.zeros(1), ("a.png",), ("",), coater.fingerprint, source)
    with pytest.raises(ScoreError, match="learnt field of this measurement is malformed"):
        MeanField.of(scores)


def test_another_coater_and_a_key_of_another_length_are_refused(
    coater: Coater, images: np.ndarray
) -> None:
    scores = measured(coater, MeanField(changed(coater, images, 0), images))
    with pytest.raises(CoaterError, match="the measurement was made with"):
        signs_for(scores, Coater(SHAPE, seed=2), key())
    short = type(key())(key().signs()[:8], bytes(32))
    with pytest.raises(ScoreError, match="The key has 8 bits; this coater expects 16"):
        signs_for(scores, coater, short)


def test_a_field_is_carried_to_the_pixels_that_change_it() -> None:
    rng = np.random.default_rng(1)
    # what is removed depends on forty numbers of the pixels, and the field on two of those
    basis = np.linalg.qr(rng.normal(size=(3 * 32 * 32, 40)))[0]
    pixels = (rng.normal(size=(300, 40)) @ basis.T).astype(np.float32)
    map_ = rng.normal(size=(40, 25))
    codings = Codings(pixels, (pixels @ basis @ map_).astype(np.float32))
    field = rng.normal(size=25)
    views = torch.rand(5, 3, 64, 64)
    found = field_in_pixels(field, codings, views)
    assert found.images.shape == (IMAGES, 3, 32, 32)
    assert found.direction.shape == (3, 32, 32)
    assert np.abs(found.direction).max() == 1
    expected = basis @ map_ @ field
    along = np.corrcoef(found.direction.ravel(), expected)[0, 1]
    assert along > 0.99
    assert np.isfinite(field_in_pixels(0 * field, codings, views).direction).all()


def test_copies_without_a_change_give_no_direction() -> None:
    nothing = Codings(np.zeros((6, 3072), np.float32), np.zeros((6, 25), np.float32))
    found = field_in_pixels(np.ones(25), nothing, torch.rand(2, 3, 32, 32))
    assert not found.direction.any()
