"""Coarse colour: symmetric patterns, a reader that starts matched, mirrors that change nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.nets.blocks import normalise
from siren_ext.coater.nets.coarse import (
    CELLS,
    CoarsePattern,
    CoarseReader,
    coarse,
    lay_tint,
    tint_room,
)
from siren_ext.coater.nets.extractor import Extractor
from siren_ext.coater.nets.generator import Generator
from siren_ext.data.images import square_view
from siren_ext.metrics.colour import ciede2000, srgb_to_lab


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, seed: int = 0) -> Tensor:
    """Smooth pictures that differ in brightness far more than in colour."""
    draws = generator(seed)
    grey = torch.randn(count, 1, 4, 4, generator=draws).expand(-1, 3, -1, -1)
    colour = 0.2 * torch.randn(count, 3, 4, 4, generator=draws)
    return F.interpolate(grey + colour, size=(32, 32), mode="bilinear", align_corners=False)


@pytest.fixture
def patterns() -> CoarsePattern:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CoarsePattern(12)


def test_patterns_are_colours_and_their_own_mirror_images(patterns: CoarsePattern) -> None:
    cells = patterns.cells()
    assert cells.shape == (12, 3, CELLS, CELLS)
    assert torch.equal(cells, cells.flip(3))
    assert cells.mean(1).abs().max() < 1e-5
    weights = torch.randn(2, 12, generator=generator())
    drawn = patterns(weights, torch.Size((48, 48)))
    assert drawn.shape == (2, 3, 48, 48)
    assert 0.5 < drawn.abs().max() <= 1
    torch.testing.assert_close(drawn.flip(3), drawn, rtol=0, atol=1e-5)
    torch.testing.assert_close(patterns(-weights, torch.Size((48, 48))), -drawn)


@pytest.mark.parametrize("size", [(48, 80), (90, 31), (16, 400)])
def test_the_pattern_lies_on_what_trainers_cut_out(
    patterns: CoarsePattern, size: tuple[int, int]
) -> None:
    weights, side = torch.ones(1, 12), min(size)
    drawn = patterns(weights, torch.Size(size))
    assert drawn.shape == (1, 3, *size)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    centre = drawn[..., top : top + side, left : left + side]
    assert torch.equal(centre, patterns(weights, torch.Size((side, side))))


def test_the_untrained_reader_finds_faint_patterns(patterns: CoarsePattern) -> None:
    reader = CoarseReader(12)
    reader.fit(pictures(100), pictures(100, seed=5))
    message = torch.randint(0, 2, (64, 12), generator=generator()).float() * 2 - 1
    clean = pictures(64, seed=1)
    with torch.no_grad():
        shifts = 0.03 * coarse(patterns.cells()) / 12**0.5
        reader.match(shifts, together=1, generator=generator())
        coated = clean + 0.03 * patterns(message / 12**0.5, clean.shape[2:])
        right = (reader(coated) * message > 0).float().mean()
        chance = (reader(clean) * message > 0).float().mean()
    # the pictures differ by fifty times the pattern's strength
    assert right > 0.95
    assert 0.4 < chance < 0.6


def test_a_reader_of_many_pictures_keeps_bits_apart_that_share_a_direction() -> None:
    reader = CoarseReader(2)
    shifts = torch.zeros(2, 96)
    shifts[0, 0], shifts[1, :2] = 0.5, torch.tensor([0.5, 0.2])
    crosstalk = []
    for together in (1, 1000):
        reader.match(shifts, together=together, generator=generator())
        told = shifts @ reader.linear.weight.T
        crosstalk.append(float(told[1, 0].detach().abs() / told[0, 0].detach()))
    assert crosstalk[0] > 0.5
    assert crosstalk[1] < 0.1
    # among clean pictures, of unit variance in every direction, no output varies by more than 4
    assert reader.linear.weight.square().sum(1).mean().sqrt() <= 4.001


def test_one_pattern_is_read_by_all_outputs_together(patterns: CoarsePattern) -> None:
    reader = CoarseReader(5)
    reader.fit(pictures(100))
    shift = coarse(patterns.cells()[:1].detach())
    reader.match(shift, together=1, generator=generator())
    # the rows are multiples of one another
    assert torch.linalg.matrix_rank(reader.linear.weight, rtol=1e-4) == 1
    images = pictures(4, seed=2)
    with torch.no_grad():
        moved = reader(
            images + patterns.cells()[:1].repeat_interleave(4, 2).repeat_interleave(4, 3)
        )
        shift = (moved - reader(images)).norm(dim=1)
    assert 1 < shift.min() <= shift.max() < 8


def test_patterns_take_the_directions_they_are_given(patterns: CoarsePattern) -> None:
    directions = torch.randn(12, 96, generator=generator())
    patterns.lay(directions)
    cells = patterns.cells()
    assert torch.equal(cells, cells.flip(3))
    taken = coarse(cells)
    torch.testing.assert_close(taken / taken.norm(), directions / directions.norm())


def test_whitened_pictures_vary_alike_in_every_direction() -> None:
    reader = CoarseReader(1)
    images = pictures(300) + 0.1 * torch.randn(300, 3, 32, 32, generator=generator(2))
    reader.fit(images)
    white = (coarse(images) - reader.mean) @ reader.whiten
    spread = torch.linalg.eigvalsh(torch.cov(white.T))
    assert white.mean(0).abs().max() < 1e-3
    assert 0.5 < spread[len(spread) // 2 :].min() <= spread.max() < 1.01


def test_half_precision_around_it_changes_nothing() -> None:
    reader = CoarseReader(3)
    reader.fit(pictures(50))
    images = pictures(4, seed=3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = reader(images)
    with torch.no_grad():
        torch.testing.assert_close(half, reader(images))


def test_sirens_networks_with_and_without() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain, coloured = Generator(4, 1, 3), Generator(4, 1, 3, coarse=True)
        deaf, hearing = Extractor(4, 2, 5, 5), Extractor(4, 2, 5, 5, coarse=True)
    assert plain.coarse is None
    assert set(coloured.state_dict()) - set(plain.state_dict()) == {"coarse.maps"}
    images = pictures(2)
    # coarse colour begins alone
    assert coloured(images).abs().max() == 0 < plain(images).abs().max()
    assert hearing.reader is not None
    assert torch.equal(hearing(images), hearing.reader(images))
    assert deaf(images).abs().max() > 0
    hearing.load_state_dict(deaf.state_dict(), strict=False)
    torch.testing.assert_close(hearing(images), deaf(images) + hearing.reader(images))
    central = pictures(2, seed=7)
    torch.testing.assert_close(hearing(images, central), deaf(images) + hearing.reader(central))


def test_a_coater_colours_within_its_limit_and_reads_the_central_square() -> None:
    shape = CoaterConfig(channels=4, working_size=32, coarse=1.5)
    plain = dataclasses.replace(shape, coarse=0.0)
    assert "coarse" not in plain.to_dict()
    assert CoaterConfig.from_dict(shape.to_dict()) == shape
    coater = Coater(shape)
    images = (pictures(2) / 8 + 0.5).clamp(0, 1)
    weights = coater.tensors()
    weights["generator.final_layer.weight"] = torch.zeros(3, 4, 1, 1)  # nothing is drawn
    coater.load_tensors(weights)
    with torch.no_grad():
        change = coater.residual(images)
        seen = ciede2000(srgb_to_lab(images), srgb_to_lab((images + change).clamp(0, 1)))
        assert seen.max() < 1.5 * 1.1
        assert seen.mean() > 1.5 * 0.5
        wide = F.pad(images, (9, 9, 0, 0), mode="replicate")
        beside = coater.residual(wide)[..., 9:-9]
        assert float((beside - change).square().mean() / change.square().mean()) < 0.05
        reader = coater.extractor.reader
        assert reader is not None
        reader.fit(normalise(images))
        squashed = normalise(square_view(wide, 32))
        expected = coater.extractor(squashed) - reader(squashed) + reader(normalise(images))
        torch.testing.assert_close(coater.features(wide), expected, rtol=0, atol=1e-3)


def test_grey_takes_less_tint_than_bright_red() -> None:
    images = torch.stack([torch.full((3, 32, 32), 0.5), torch.zeros(3, 32, 32)])
    images[1, 0] = 1.0
    tint = torch.tensor([-0.03, 0.03, -0.03]).view(1, 3, 1, 1).expand(2, 3, 32, 32)
    room = tint_room(images, tint, 1.0)
    assert room.shape == (2, 1, 32, 32)
    assert room[0].max() < room[1].min() <= 1
    changed = ciede2000(srgb_to_lab(images[:1]), srgb_to_lab(images[:1] + room[:1] * tint[:1]))
    assert 0.9 < float(changed.mean()) < 1.1
    assert (tint_room(images, 0 * tint, 1.0) == 1).all()


def test_a_message_tints_each_image_by_its_own_signs(patterns: CoarsePattern) -> None:
    images = (pictures(3) / 8 + 0.5).clamp(0, 1)
    signs = torch.randint(0, 2, (3, 12), generator=generator()).float() * 2 - 1
    with torch.no_grad():
        together = lay_tint(patterns, images, signs, 2.0)
        alone = lay_tint(patterns, images[1:2], signs[1:2], 2.0)
        torch.testing.assert_close(together[1:2], alone)
        torch.testing.assert_close(
            lay_tint(patterns, images, signs[:1], 2.0)[:1], together[:1], rtol=1e-4, atol=1e-6
        )
        seen = ciede2000(srgb_to_lab(images), srgb_to_lab((images + together).clamp(0, 1)))
    assert 1 < seen.amax((1, 2)).min() <= seen.max() < 2.2
