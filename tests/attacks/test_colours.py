"""Changes of colour have the values of their definitions; more is in ``test_transforms.py``."""

from __future__ import annotations

import pytest
import torch

from siren_ext.attacks.colours import brightness, contrast, hue, saturation, sharpness
from siren_ext.errors import ConfigError


def test_values() -> None:
    pytest.importorskip("kornia")
    red = torch.tensor([0.5, 0.1, 0.1]).view(1, 3, 1, 1).expand(1, 3, 8, 8).clone()
    third = hue(red, turn=1 / 3)[0, :, 0, 0]
    assert torch.allclose(third, torch.tensor([0.1, 0.5, 0.1]), atol=1e-5)
    assert torch.allclose(brightness(red), red * 2)
    grey = saturation(red, factor=0)[0, :, 0, 0]
    assert torch.allclose(grey, grey[0].expand(3))
    halves = torch.cat((torch.full((1, 3, 8, 4), 0.4), torch.full((1, 3, 8, 4), 0.6)), 3)
    spread = contrast(halves)
    assert torch.allclose(spread[0, 0, 0, [0, 7]], torch.tensor([0.3, 0.7]), atol=1e-4)
    assert torch.allclose(sharpness(red), red, atol=1e-6)


def test_factors_are_checked_by_all() -> None:
    images = torch.rand(1, 3, 8, 8)
    for function in (brightness, contrast, saturation, sharpness):
        with pytest.raises(ConfigError, match=r"factor is -1; expected a number from 0 to 10"):
            function(images, factor=-1)
