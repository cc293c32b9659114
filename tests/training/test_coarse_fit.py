"""Where coarse colour begins: where the autoencoder lets it pass and clean pictures hardly vary."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.toy_training import Toy
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.nets.coarse import coarse
from siren_ext.data.images import quantise
from siren_ext.errors import ConfigError
from siren_ext.training.coarse_fit import fit_coarse

BITS = 8


class Blurring(Toy):
    """A surrogate whose autoencoder passes broad colour only."""

    def __init__(self, side: int = 32) -> None:
        super().__init__(side)

    def round_trip(self, images: Tensor) -> Tensor:
        cells = F.adaptive_avg_pool2d(images, 4)
        return F.interpolate(cells, size=images.shape[2:], mode="bilinear", align_corners=False)


def photos(count: int, seed: int) -> Tensor:
    """Bytes of smooth pictures."""
    draws = torch.Generator().manual_seed(seed)
    cells = torch.rand(count, 3, 5, 5, generator=draws)
    large = F.interpolate(cells, size=(32, 32), mode="bilinear", align_corners=False)
    return (255 * large).round().to(torch.uint8)


def messages(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, (count, BITS), generator=generator).float() * 2 - 1


def fitted(bits: int) -> Coater:
    coater = Coater(
        CoaterConfig(channels=4, working_size=32, coarse=3.0, message_bits=bits), seed=2
    )
    draw = messages if bits else lambda count, generator: None
    fit_coarse(coater, photos(60, 0), Blurring(), draw, torch.Generator().manual_seed(3))
    return coater


def test_patterns_go_where_the_autoencoder_lets_them_pass() -> None:
    pattern = fitted(BITS).generator.coarse
    assert pattern is not None
    cells = pattern.cells()
    broad = F.interpolate(F.adaptive_avg_pool2d(cells, 4), scale_factor=2.0)
    assert broad.square().sum() > 0.7 * cells.square().sum()
    # a random pattern keeps no more than a quarter
    other = torch.randn(BITS, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    kept = F.interpolate(F.adaptive_avg_pool2d(other, 4), scale_factor=2.0)
    assert kept.square().sum() < 0.35 * other.square().sum()


def test_few_large_pictures_pass_the_autoencoder_at_once() -> None:
    sizes: set[int] = set()

    class Large(Blurring):
        def round_trip(self, images: Tensor) -> Tensor:
            sizes.add(len(images))
            return super().round_trip(images)

    coater = Coater(CoaterConfig(channels=4, working_size=32, coarse=3.0, message_bits=BITS))
    fit_coarse(coater, photos(6, 0), Large(512), messages, torch.Generator().manual_seed(3))
    assert max(sizes) == 4


def test_messages_are_read_behind_the_autoencoder_before_any_training() -> None:
    coater, surrogate = fitted(BITS), Blurring()
    images = photos(400, 5).float() / 255
    message = messages(1, torch.Generator().manual_seed(7))[0]
    with torch.no_grad():
        coated = quantise(images + coater.residual(images, message))
        reader = coater.extractor.reader
        assert reader is not None
        read = [coater.features(surrogate.round_trip(x)).mean(0) for x in (coated, images)]
    shift = (read[0] - read[1]) * message
    assert (shift > 0).all()
    # the mean over four hundred other pictures tells the whole message
    assert ((read[0] * message) > 0).float().mean() >= 7 / 8


def test_a_coating_without_message_has_one_pattern_that_stands_out() -> None:
    coater, surrogate = fitted(0), Blurring()
    images = photos(40, 5).float() / 255
    reader = coater.extractor.reader
    assert reader is not None
    with torch.no_grad():
        coated = quantise(images + coater.residual(images))
        read = [reader(surrogate.round_trip(x)) for x in (coated, images)]
    change = read[0] - read[1]
    shift = change.mean(0)
    assert (change @ shift > 0).all()  # every picture moves the same way
    assert shift.norm() > 0.25 * read[1].std(0).norm()


def test_the_fit_is_a_function_of_its_seed_and_refuses_too_long_messages() -> None:
    first, second = fitted(BITS).tensors(), fitted(BITS).tensors()
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(ConfigError, match="97 bits, but there are only 96"):
        fitted(97)


def test_a_coater_without_coarse_colour_is_left_alone() -> None:
    coater = Coater(CoaterConfig(channels=4, working_size=32))
    before = coater.fingerprint
    fit_coarse(
        coater, photos(4, 0), Blurring(), lambda n, g: None, torch.Generator().manual_seed(0)
    )
    assert coater.fingerprint == before
    assert coarse(torch.zeros(2, 3, 32, 32)).shape == (2, 96)
