"""Patterns of bits, and how much of each is in a field."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.keyed_coating import SHAPE
from support.tiny_models import need_models, shared_model

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import load_pipeline
from siren_ext.preference.reading import latent_patterns, read_fields, spread


class Pixels:
    """A model whose latents are the pixels."""

    unet = vae = torch.nn.Conv2d(3, 3, 1)


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> Pixels:
    monkeypatch.setattr(pipelines, "encode_latents", lambda _, images: images)
    return Pixels()


def test_a_coating_is_read_as_its_message(pixels: Pixels) -> None:
    coater = Coater.load(coater_path("keyed"))
    bits = coater.config.message_bits
    blocks = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    views = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    patterns = latent_patterns(pixels, views, coater)
    assert patterns.shape == (bits, 3 * 32 * 32)
    rng = np.random.default_rng(3)
    for _ in range(5):
        message = rng.integers(0, 2, bits) * 2.0 - 1
        with torch.no_grad():
            change = coater.residual(views, torch.from_numpy(message).float())
        fields = change.flatten(1).double().numpy()
        fields += 0.3 * fields.std() * rng.standard_normal(fields.shape)
        found = read_fields(fields, patterns)
        assert found.shape == (6, bits)
        assert abs(found.std() - 1) < 1e-9
        assert (np.sign(found.sum(0)) == message).mean() >= 0.9


def test_shared_parts_of_patterns_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    common = rng.standard_normal(200)
    patterns = common + 0.9 * rng.standard_normal((4, 200))
    message = np.array([1.0, 1.0, 1.0, -1.0])
    fields = (message @ patterns)[None]
    plain = patterns @ fields[0]
    assert (np.sign(plain) != message).any()  # neighbours outweigh a bit's own pattern
    assert (np.sign(read_fields(fields, patterns)[0]) == message).all()


def test_patterns_do_not_change_from_run_to_run_and_zero_stays_zero(pixels: Pixels) -> None:
    coater = Coater(SHAPE, seed=1)
    views = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first, second = (latent_patterns(pixels, views, coater) for _ in range(2))
    assert np.array_equal(first, second)
    patterns = np.random.default_rng(0).standard_normal((4, 3 * 32 * 32))
    assert not read_fields(np.zeros((3, 3 * 32 * 32)), patterns).any()


class Linear:
    """Adds the sum of fixed patterns with the signs of a message, a different one to each image."""

    device, symmetric = torch.device("cpu"), False

    def __init__(self, patterns: torch.Tensor) -> None:
        self.patterns = patterns
        self.config = SimpleNamespace(message_bits=len(patterns))

    def residual(self, images: torch.Tensor, message: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bk,kchw->bchw", message, self.patterns)


@pytest.mark.parametrize("count", [1, 3, 70])
def test_the_linear_part_is_found_for_any_number_of_images(pixels: Pixels, count: int) -> None:
    generator = torch.Generator().manual_seed(1)
    views = 0.3 + 0.4 * torch.rand(count, 3, 8, 8, generator=generator)
    patterns = 1e-3 * torch.randn(5, 3, 8, 8, generator=generator)
    found = latent_patterns(pixels, views, Linear(patterns))
    expected = patterns.flatten(1).numpy()
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_patterns_of_symmetric_coatings_equal_their_mirror_images(pixels: Pixels) -> None:
    coater = Coater.load(coater_path("keyed"))
    assert coater.symmetric
    views = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    kept, plain = (
        latent_patterns(pixels, views, coater, mirrored=mirrored).reshape(-1, 3, 32, 32)
        for mirrored in (True, False)
    )
    assert np.array_equal(kept, kept[..., ::-1])
    assert not np.allclose(plain, plain[..., ::-1])
    np.testing.assert_allclose(kept, (plain + plain[..., ::-1]) / 2)


def test_coatings_with_a_fine_pattern_are_not_symmetric(pixels: Pixels) -> None:
    coater = Coater(SHAPE, seed=1)
    assert not coater.symmetric
    views = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first, second = (
        latent_patterns(pixels, views, coater, mirrored=mirrored) for mirrored in (True, False)
    )
    assert np.array_equal(first, second)


def test_what_other_adapters_learn_counts_little() -> None:
    rng = np.random.default_rng(5)
    patterns, message = rng.standard_normal((8, 300)), rng.choice([-1.0, 1.0], 8)
    usual = rng.standard_normal((2, 300))  # every training moves along these
    others = rng.standard_normal((12, 2)) @ usual + 0.05 * rng.standard_normal((12, 300))
    hits, plain_hits = 0, 0
    for _ in range(40):
        drift = 3 * rng.standard_normal(2) @ usual
        field = (0.05 * message @ patterns + drift + 0.5 * rng.standard_normal(300))[None]
        hits += int((np.sign(read_fields(field, patterns, others)[0]) == message).sum())
        plain_hits += int((np.sign(read_fields(field, patterns)[0]) == message).sum())
    assert hits > 1.2 * plain_hits
    nothing = np.zeros((3, 300))
    assert np.array_equal(read_fields(field, patterns, nothing), read_fields(field, patterns))


def test_weights_are_those_of_generalised_least_squares() -> None:
    rng = np.random.default_rng(6)
    others, patterns = rng.standard_normal((5, 30)), rng.standard_normal((3, 30))
    spreads = others.T @ others / 5
    spreads += 0.3 * np.trace(spreads) / 30 * np.eye(30)
    weighted = patterns @ np.linalg.inv(spreads)
    overlap = weighted @ patterns.T
    ridge = 0.1 * np.linalg.eigvalsh(overlap)[-1]
    fields = rng.standard_normal((4, 30))
    expected = np.linalg.solve(overlap + ridge * np.eye(3), weighted @ fields.T).T
    expected /= expected.std()
    np.testing.assert_allclose(read_fields(fields, patterns, others), expected, atol=1e-9)


@pytest.mark.models
def test_patterns_are_carried_into_latents(tmp_path_factory: pytest.TempPathFactory) -> None:
    need_models()
    folder = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    pipeline = load_pipeline(folder, device=torch.device("cpu"), dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    views = 0.3 + 0.4 * torch.rand(1, 3, 32, 32, generator=generator)
    patterns = 1e-3 * torch.randn(5, 3, 32, 32, generator=generator)
    found = latent_patterns(pipeline, views, Linear(patterns))
    with torch.no_grad():
        clean = pipelines.encode_latents(pipeline, views)
        for row, pattern in zip(found, patterns, strict=True):
            moved = pipelines.encode_latents(pipeline, views + pattern) - clean
            expected = moved.flatten().numpy()
            assert np.abs(row - expected).max() < 0.05 * np.abs(expected).max()


def test_places_are_spread_over_all_images() -> None:
    assert spread(3) == [0, 1, 2]
    assert spread(1) == [0]
    assert (spread(96)[0], spread(96)[-1], len(spread(96))) == (0, 95, 64)
