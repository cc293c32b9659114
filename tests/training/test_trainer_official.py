"""Preset ``official`` beside SIREN's public code: the same steps give the same coater.

The expected figures were computed with the code's own networks, mask, loss and optimisers (lib/ of
its repository) for the pictures and weights below, which are given by formulas. Its diffusion loss
was replaced by the mean square of the coated image, since the noise of the two can't be the same.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.toy_training import Toy
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.training.config import TrainConfig
from siren_ext.training.trainer import CoaterTrainer

pytestmark = pytest.mark.usefixtures("float32")  # compared to many digits

SIDE = 32
# of nine steps: three epochs of three pictures
LOSSES = (3.407183, 3.811522, 4.041349, 3.288616, 3.708644, 3.663334, 3.234998, 3.633487, 3.541957)
# grey levels: every ninth row from 7 and every eleventh column from 5 of the first two pictures
COATING = (
    -5.8844, 0.2578, 0.4465, 1.0186, 0.1821, -1.8859, 0.2233, -3.3049, -1.857, -5.4876, -2.4215,
    -0.7019, 0.1623, -1.7379, -2.1067, -3.3637, -2.7136, -1.876, -3.1826, -3.4264, -1.2597, -0.3204,
    -2.4501, -1.6877, -4.648, -0.7308, -1.043, 2.5702, -0.1915, -1.2569, -4.9265, 1.0079, 1.0316,
    1.1159, -2.8694, -1.6904, 0.238, -0.8863, -1.4435, -4.1096, -2.0663, -0.5127, -3.7716, -1.839,
    -1.7322, -1.6088, -1.0289, -1.1824, -1.2179, -3.4545, -1.4684, -5.6507, 0.3972, -1.4311,
)  # fmt: skip


def pictures() -> Tensor:
    """Three soft pictures, with patches of black and white."""
    y, x = torch.arange(SIDE).float().view(-1, 1), torch.arange(SIDE).float()
    rows = [
        torch.stack(
            [0.5 + 0.45 * torch.sin(0.21 * n * y + 0.13 * c * x + n - 1) for c in (1, 2, 3)]
        )
        for n in (1, 2, 3)
    ]
    images = torch.stack(rows)
    images[0, :, :6, :6] = 0
    images[1, :, 20:, 20:] = 1
    return (255 * images).round() / 255


class Given:
    """The pictures as a set."""

    hash = "given"

    def tensors(self, size: int) -> Iterator[Tensor]:
        return (image[None] for image in pictures())


class Square(Toy):
    """A surrogate whose loss is the same in any code."""

    def denoising_loss(
        self, images: Tensor, *, generator: torch.Generator, draws: int = 1
    ) -> Tensor:
        return images.square().mean((1, 2, 3))


def start() -> Coater:
    """A small coater of the official kind, with weights by formula."""
    shape = CoaterConfig.preset(
        "official", channels=8, generator_blocks=2, extractor_blocks=2, working_size=SIDE
    )
    coater = Coater(shape)
    weights, place = coater.tensors(), 0
    for name in sorted(weights):
        value = weights[name]
        places = torch.arange(place, place + value.numel(), dtype=torch.float64).view(value.shape)
        place += value.numel()
        if name == "generator.msg":
            weights[name] = (places % 3 == 0).to(value)
        elif value.is_floating_point() and value.ndim > 1:
            scale = (2 / value[0].numel()) ** 0.5
            weights[name] = (torch.sin(1.7 * places**1.1) * scale).to(value)
    coater.load_tensors(weights)
    return coater


def test_official_steps_are_those_of_the_published_code() -> None:
    config = TrainConfig.preset("official", steps=len(LOSSES))
    trainer = CoaterTrainer(Given(), Square(SIDE), config, coater=None, start=start(), device="cpu")
    trainer.begin()
    found = []
    for _ in LOSSES:
        trainer.advance()
        found.append(trainer.state.loss)
    assert found == pytest.approx(LOSSES, rel=1e-4)
    images = pictures()
    with torch.no_grad():
        coating = 255 * trainer.finish().residual(images)
    seen = coating[:2, :, 7::9, 5::11].flatten()
    torch.testing.assert_close(seen, torch.tensor(COATING), rtol=0, atol=0.02)
    outside = images + coating / 255
    assert outside.min() < 0  # neither clamped nor rounded while training
    assert outside.max() > 1
