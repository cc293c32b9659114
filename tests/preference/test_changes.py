"""The mean learnt field, and what messages really change."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.keyed_coating import BITS, SHAPE, key
from support.tiny_models import need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.errors import CoaterError, ScoreError
from siren_ext.preference import changes
from siren_ext.preference.changes import (
    MeanField,
    agreement,
    field_test,
    pull_back,
)
from siren_ext.preference.small import IMAGES
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


def test_the_key_whose_change_was_learnt_is_found_and_no_other(
    coater: Coater, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "DRAWN", 400)
    learnt = changed(coater, images, 3) - changed(coater, images, 8) / 4
    scores = measured(coater, MeanField(learnt, images))
    right = field_test(scores, coater, key(3))
    assert right is not None
    assert right.p_value < 20 * 2.0**-BITS
    assert (right.bits, right.drawn) == (BITS, 400)
    wrong = field_test(scores, coater, key(4))
    assert wrong is not None
    assert wrong.p_value > 0.01


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
    assert field_test(scores, coater, key()) is None


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
        field_test(scores, Coater(SHAPE, seed=2), key())
    short = type(key())(key().signs()[:8], bytes(32))
    with pytest.raises(ScoreError, match="The key has 8 bits; this coater expects 16"):
        field_test(scores, coater, short)


@pytest.mark.models
def test_fields_are_pulled_back_to_pixels(tmp_path_factory: pytest.TempPathFactory) -> None:
    need_models()
    from siren_ext.diffusion import pipelines
    from siren_ext.diffusion.load import load_pipeline

    folder = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    pipeline = load_pipeline(str(folder), device=torch.device("cpu"), dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    views = torch.rand(5, 3, 32, 32, generator=generator)
    with torch.no_grad():
        latents = pipelines.encode_latents(pipeline, views).flatten(1)
    rng = np.random.default_rng(1)
    fields = rng.normal(size=(7, latents.shape[1]))
    patterns = rng.normal(size=(6, latents.shape[1]))
    field = pull_back(pipeline, views, fields, patterns)
    assert field.images.shape == (IMAGES, 3, 32, 32)
    assert np.array_equal(field.images[0], (views[0] * 255).round().to(torch.uint8).numpy())
    # the change of the latents along the whitened field, by finite differences
    power = (np.linalg.svd(patterns)[1] / np.linalg.svd(patterns)[1][0]) ** 2
    axes = np.linalg.svd(patterns, full_matrices=False)[2]
    whitened = fields.mean(0) - axes.T @ ((1 - 0.3 / (power + 0.3)) * (axes @ fields.mean(0)))
    products = []
    for _ in range(3):
        step = 1e-4 * torch.randn(1, 3, 32, 32, generator=generator)
        with torch.no_grad():
            moved = pipelines.encode_latents(pipeline, views + step).flatten(1) - latents
        products.append(
            (
                float((step[0].numpy() * field.direction).sum()),
                float(moved.sum(0).numpy() @ whitened),
            )
        )
    ratios = [along / found for found, along in products]
    assert ratios == pytest.approx([ratios[0]] * 3, rel=0.1)
    assert ratios[0] > 0
