"""Patterns of bits, as images and a denoiser show them."""

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
from siren_ext.preference import patterns
from siren_ext.preference.patterns import latent_patterns, removed_patterns, spread
from siren_ext.preference.reading import read_fields


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


def test_patterns_do_not_change_from_run_to_run(pixels: Pixels) -> None:
    coater = Coater(SHAPE, seed=1)
    views = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first, second = (latent_patterns(pixels, views, coater) for _ in range(2))
    assert np.array_equal(first, second)


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


def test_large_copies_pass_the_autoencoder_in_smaller_parts(
    pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def encode(_: object, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return images

    monkeypatch.setattr(pipelines, "encode_latents", encode)
    monkeypatch.setattr(patterns, "CODINGS", 15)
    coater = Linear(1e-3 * torch.ones(1, 3, 8, 8))
    whole = latent_patterns(pixels, torch.full((1, 3, 8, 8), 0.5), coater)
    assert sizes == [8, 8]
    sizes.clear()
    monkeypatch.setattr(patterns, "_PIXELS", 2 * 8 * 8)
    parts = latent_patterns(pixels, torch.full((1, 3, 8, 8), 0.5), coater)
    assert sizes == [2] * 8
    np.testing.assert_allclose(parts, whole, atol=1e-9)


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


class Halving(Pixels):
    """Keeps half of each channel but the last, and none of the last, whatever the noise."""

    def __init__(self) -> None:
        self.pipeline = self
        self.asked: list[tuple[list[str], int, int]] = []

    def noisy(self, latents: torch.Tensor, noise: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return latents + 0 * noise

    def condition(self, texts: list[str], size: int) -> int:
        self.asked.append((texts, size, 0))
        return len(texts)

    def noise_in(self, noisy: torch.Tensor, time: torch.Tensor, condition: int) -> torch.Tensor:
        assert condition == len(noisy)
        self.times = time
        return noisy

    def clean(self, noisy: torch.Tensor, seen: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 * noisy[:, :-1], 0 * noisy[:, -1:]], 1)


def test_what_a_denoiser_removes_of_patterns_is_found(pixels: Pixels) -> None:
    generator = torch.Generator().manual_seed(1)
    views = 0.3 + 0.4 * torch.rand(3, 3, 8, 8, generator=generator)
    patterns = 1e-3 * torch.randn(5, 3, 8, 8, generator=generator)
    model = Halving()
    found = removed_patterns(model, views, ["a", "b", "c"], Linear(patterns), 50, keep=True)
    assert np.array_equal(found.added, latent_patterns(pixels, views, Linear(patterns)))
    removed, copies = found.removed, found.codings
    assert removed is not None
    assert copies is not None
    kept = np.array([0.5, 0.5, 1.0])[:, None, None]
    expected = (patterns.numpy() * kept).reshape(5, -1)
    assert np.abs(removed - expected).max() < 1e-3 * np.abs(expected).max()
    assert copies.pixels.shape == (len(copies.removed), 3 * 32 * 32)
    pixel = copies.pixels.reshape(-1, 3, 8, 4, 8, 4).mean((3, 5)).reshape(len(copies.pixels), -1)
    assert np.abs(copies.removed - pixel * np.repeat(kept.ravel(), 64)).max() < 1e-6
    assert {(tuple(set(texts)), size) for texts, size, _ in model.asked} == {
        (("a",), 8),
        (("b",), 8),
        (("c",), 8),
    }
    assert (model.times == 50).all()


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
