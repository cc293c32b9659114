"""Normalisation by the statistics of the single image."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from siren_ext.coater.nets.blocks import ConvBlock, ImageNorm, normalise
from siren_ext.errors import ConfigError


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_image_norm_is_batch_norm_in_training_mode_at_batch_one() -> None:
    """What the published code does, for any batch size and in either mode."""
    published = nn.BatchNorm2d(5, eps=1e-3).train()
    ours = ImageNorm(5, eps=1e-3)
    with torch.no_grad():
        published.weight.copy_(noise(5, seed=1))
        published.bias.copy_(noise(5, seed=2))
    ours.load_state_dict(published.state_dict())
    batch = noise(3, 5, 6, 7, seed=3) * 4 + 2
    expected = torch.cat([published(image[None]) for image in batch])
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(batch), expected, rtol=1e-5, atol=1e-5)
    assert int(ours.num_batches_tracked) == 0


def test_biased_variance_and_eps() -> None:
    image = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    out = ImageNorm(1, eps=1e-3)(image).flatten()
    expected = torch.tensor([-1.0, 1.0]) / (1 + 1e-3) ** 0.5
    torch.testing.assert_close(out, expected)


def test_block_is_convolution_norm_gelu() -> None:
    block = ConvBlock(3, 4)
    kinds = [type(layer).__name__ for layer in block.layers]
    assert kinds == ["Conv2d", "ImageNorm", "GELU"]
    assert block(noise(2, 3, 5, 9)).shape == (2, 4, 5, 9)
    assert block(noise(2, 3, 5, 9)).min() > -0.2  # GELU's lowest value is -0.17
    assert type(ConvBlock(3, 4, "running").layers[1]) is nn.BatchNorm2d
    with pytest.raises(ConfigError, match="norm is 'batch'; expected one of image, running"):
        ConvBlock(3, 4, "batch")


def test_imagenet_normalisation() -> None:
    image = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    torch.testing.assert_close(normalise(image).flatten(), torch.zeros(3))
    shifted = normalise(image + torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
    torch.testing.assert_close(shifted.flatten(), torch.ones(3))
