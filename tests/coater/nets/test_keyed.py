"""The keyed networks: every bit counts, and mirrors change nothing."""

from __future__ import annotations

import pytest
import torch

from siren_ext.coater.nets.keyed import KeyedExtractor, KeyedGenerator


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def messages(count: int, bits: int) -> torch.Tensor:
    return torch.randint(0, 2, (count, bits), generator=generator()).float() * 2 - 1


@pytest.fixture(scope="module")
def pair() -> tuple[KeyedGenerator, KeyedExtractor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made, read = KeyedGenerator(8, 2, 12), KeyedExtractor(8, 5, 12)
        torch.nn.init.normal_(made.maps.weight, std=0.2)  # both begin with coarse colour alone
        torch.nn.init.normal_(read.linear.weight, std=0.02)
    return made, read


@pytest.mark.parametrize("side", [16, 32, 50])
def test_shapes_and_range(pair: tuple[KeyedGenerator, KeyedExtractor], side: int) -> None:
    made, read = pair
    images = torch.randn(2, 3, side, side, generator=generator())
    pattern = made(images, messages(2, 12))
    assert pattern.shape == images.shape
    assert pattern.abs().max() <= 1
    assert read(images).shape == (2, 12)


def test_mirroring_an_image_mirrors_its_pattern_and_keeps_its_features(
    pair: tuple[KeyedGenerator, KeyedExtractor],
) -> None:
    made, read = pair
    images, message = torch.randn(2, 3, 32, 32, generator=generator()), messages(2, 12)
    mirrored = made(images.flip(3), message).flip(3)
    torch.testing.assert_close(mirrored, made(images, message), rtol=0, atol=1e-5)
    torch.testing.assert_close(read(images.flip(3)), read(images), rtol=0, atol=1e-5)


def test_every_bit_changes_the_pattern_and_the_opposite_message_opposes_it(
    pair: tuple[KeyedGenerator, KeyedExtractor],
) -> None:
    made, _ = pair
    images = torch.randn(1, 3, 32, 32, generator=generator())
    message = messages(1, 12)
    pattern = made(images, message)
    torch.testing.assert_close(made(images, -message), -pattern, rtol=0, atol=1e-6)
    for bit in range(12):
        other = message.clone()
        other[0, bit] *= -1
        assert (made(images, other) - pattern).abs().mean() > 0.01


def test_maps_that_were_never_trained_are_not_computed() -> None:
    made = KeyedGenerator(8, 2, 12)
    images = torch.randn(2, 3, 16, 16, generator=generator())
    computed = made(images, messages(2, 12))
    made.trunk = torch.nn.Identity()  # would fail if it were used
    with torch.no_grad():
        assert torch.equal(made(images, messages(2, 12)), computed)
    torch.nn.init.constant_(made.maps.bias, 0.1)
    with torch.no_grad(), pytest.raises(RuntimeError):
        made(images, messages(2, 12))
