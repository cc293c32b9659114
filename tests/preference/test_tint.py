"""The learnt tint, and how alike it is to what the key's message adds."""

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
from siren_ext.preference import tint
from siren_ext.preference.small import IMAGES
from siren_ext.preference.tint import Tint, correlation, likeness, tint_of
from siren_ext.scoring.score_set import TINT, ScoreSet


@pytest.fixture(scope="module")
def coater() -> Coater:
    return Coater(replace(SHAPE, coarse=2.0, min_psnr=38.0), seed=1)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    soft = torch.rand(IMAGES, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    large = torch.nn.functional.interpolate(soft, size=(32, 32), mode="bilinear")
    return (large * 255).round().to(torch.uint8).numpy()


def added(coater: Coater, images: np.ndarray, seed: int) -> np.ndarray:
    """What a key's message adds, on the average over the images."""
    message = torch.from_numpy(key(seed).signs().astype(np.float32))
    with torch.no_grad():
        return coater.residual(torch.from_numpy(images).float() / 255, message).mean(0).numpy()


def measured(coater: Coater, learnt: np.ndarray, images: np.ndarray) -> ScoreSet:
    plain = Tint(learnt.astype(np.float32), images).to_plain()
    source = {"kind": "preference", TINT: plain}
    return ScoreSet(np.zeros(1), ("a.png",), ("",), coater.fingerprint, source)


def test_correlation_is_pearsons() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
    expected = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert correlation(first, second) == pytest.approx(expected, abs=1e-6)
    assert correlation(first, -2 * first + 1) == pytest.approx(-1)
    assert correlation(first, np.ones_like(first)) == 0


def test_the_message_that_was_learnt_is_found_and_no_other(
    coater: Coater, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tint, "DRAWN", 200)
    noise = np.random.default_rng(1).normal(0, 0.01, (3, 32, 32))
    scores = measured(coater, added(coater, images, 3) / 2 + noise, images)
    right = likeness(scores, coater, key(3))
    assert right is not None
    assert np.allclose(right.expected, added(coater, images, 3), atol=1e-5)
    assert (right.at_least, right.others, right.p_value) == (0, 200, 1 / 201)
    wrong = likeness(scores, coater, key(4))
    assert wrong is not None
    assert wrong.p_value > 0.01
    assert wrong.correlation < right.correlation
    again = likeness(scores, coater, key(4))
    assert again is not None
    assert again.at_least == wrong.at_least


def test_it_is_kept_in_files_of_scores(coater: Coater, images: np.ndarray, tmp_path: Path) -> None:
    learnt = added(coater, images, 0)
    measured(coater, learnt, images).save(tmp_path / "scores.json")
    loaded = Tint.of(ScoreSet.load(tmp_path / "scores.json"))
    assert loaded is not None
    assert np.array_equal(loaded.learnt, learnt)
    assert np.array_equal(loaded.images, images)


def test_earlier_measurements_have_none(coater: Coater) -> None:
    scores = ScoreSet(np.zeros(1), ("a.png",), ("",), coater.fingerprint, {"kind": "preference"})
    assert Tint.of(scores) is None
    assert likeness(scores, coater, key()) is None


@pytest.mark.parametrize(
    "plain",
    [
        [],
        "text",
        {},
        {"learnt": "?", "images": "?"},
        {"learnt": 3, "images": None},
        {
            "learnt": base64.b64encode(np.full(3072, np.nan, "<f4").tobytes()).decode(),
            "images": base64.b64encode(bytes(IMAGES * 3072)).decode(),
        },
        {
            "learnt": base64.b64encode(bytes(4 * 3072)).decode(),
            "images": base64.b64encode(bytes(2 * 3072)).decode(),
        },
    ],
)
def test_malformed_ones_are_refused(coater: Coater, plain: object) -> None:
    source = {"kind": "preference", TINT: plain}
    scores = ScoreSet(np.zeros(1), ("a.png",), ("",), coater.fingerprint, source)
    with pytest.raises(ScoreError, match="learnt tint of this measurement is malformed"):
        Tint.of(scores)


def test_another_coater_and_a_key_of_another_length_are_refused(
    coater: Coater, images: np.ndarray
) -> None:
    scores = measured(coater, added(coater, images, 0), images)
    with pytest.raises(CoaterError, match="the measurement was made with"):
        likeness(scores, Coater(SHAPE, seed=2), key())
    short = type(key())(key().signs()[:8], bytes(32))
    with pytest.raises(ScoreError, match=f"The key has 8 bits; this coater expects {BITS}"):
        likeness(scores, coater, short)


@pytest.mark.models
def test_fields_are_decoded(tmp_path_factory: pytest.TempPathFactory) -> None:
    need_models()
    from siren_ext.diffusion import pipelines
    from siren_ext.diffusion.load import load_pipeline

    folder = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    pipeline = load_pipeline(str(folder), device=torch.device("cpu"), dtype=torch.float32)
    views = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = pipelines.encode_latents(pipeline, views)
        fields = np.random.default_rng(1).normal(size=(7, latents[0].numel()))
        moved = latents + torch.from_numpy(fields.mean(0)).float().view(latents.shape[1:])
        change = pipelines.decode_latents(pipeline, moved) - pipelines.decode_latents(
            pipeline, latents
        )
    found = tint_of(pipeline, views, fields)
    assert np.allclose(found.learnt, change.mean(0).numpy(), atol=1e-5)
    assert np.abs(found.learnt).max() > 1e-4
    assert np.array_equal(found.images[2], (views[3] * 255).round().to(torch.uint8).numpy())
