"""Attacks on single images: what they compute on models that are known exactly."""

from __future__ import annotations

import math

import pytest
import torch
from support.known_denoisers import Constant, Counting, batch_of

from siren_ext.passive import attacks, losses
from siren_ext.passive.batch import norm


def test_a_step_and_back_returns_for_constant_noise() -> None:
    batch = batch_of(Constant())
    there = batch.step(batch.latents, 100, 110)
    assert not torch.allclose(there, batch.latents)
    assert torch.allclose(batch.step(there, 110, 100), batch.latents, atol=1e-6)
    assert attacks.secmi(batch).abs().max() < 1e-5


def test_numbers_of_passes() -> None:
    for measure, passes in (
        (attacks.denoising_loss, 5),
        (attacks.secmi, 12),
        (attacks.pia, 2),
        (attacks.pian, 2),
        (attacks.sima, 1),
        (attacks.recover, 12),
        (losses.multiple_loss, 50),
    ):
        model = Counting()
        measure(batch_of(model))
        assert model.passes == 3 * passes, measure.__name__
    model = Counting()
    batch = batch_of(model)
    attacks.secmi(batch)
    attacks.pia(batch)
    attacks.pian(batch)
    losses.multiple_loss(batch)
    losses.mean_loss(batch)
    assert model.passes == 3 * (12 + 2 + 50)  # the first noise and the losses are shared


@pytest.mark.parametrize("variant", ["default", "paper", "official"])
def test_size_of_the_normalised_noise(variant: str) -> None:
    noise = 3 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    size = attacks.normalised(noise, variant == "default").abs().mean((1, 2, 3))
    wanted = math.sqrt(2 / math.pi) if variant == "default" else math.sqrt(math.pi / 2)
    assert torch.allclose(size, torch.full((2,), wanted))


def test_denoising_loss_of_a_model_that_sees_nothing() -> None:
    batch = batch_of(Constant(0.0))
    norms = torch.stack([norm(batch.noise("denoising_loss", draw)) for draw in range(5)])
    assert torch.allclose(attacks.denoising_loss(batch)[:, 0], norms.mean(0))
    squared = attacks.denoising_loss(batch_of(Constant(0.0), variant="paper"))[:, 0]
    assert torch.allclose(squared, norms.square().mean(0))


def test_pia_is_a_norm_of_the_fifth_power() -> None:
    model = Constant(0.0)
    model.slope = 1.0  # it sees the latents themselves
    batch = batch_of(model)
    seen = batch.latents
    again = model.signal(200) * batch.latents + model.rest(200) * seen
    wanted = (seen - again).abs().pow(5).sum((1, 2, 3)).pow(1 / 5)
    assert torch.allclose(attacks.pia(batch)[:, 0], wanted)


def test_an_exact_model_recovers_alike() -> None:
    table = attacks.recover(batch_of(Constant()))
    model = Constant()
    expected = 0.1 * model.signal(0) / model.signal(300) * math.sqrt(256)
    assert table[:, 0].mean() == pytest.approx(expected, rel=0.1)
    assert (table[:, 1] < 0.2 * table[:, 0]).all()


def test_versions_pass_together_if_they_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    for cells, calls in ((5 * 3 * 8 * 8, 1), (5 * 3 * 8 * 8 - 1, 5)):
        monkeypatch.setattr("siren_ext.passive.batch._TOGETHER", cells)
        model = Counting()
        model.slope = 0.5
        batch = batch_of(model)
        noisy = [batch.noise("losses", draw) for draw in range(5)]
        found = batch.noise_in_each(noisy, 100)
        assert model.calls == calls
        for one, version in zip(found, noisy, strict=True):
            assert torch.equal(one, batch.noise_in(version, 100))


def test_noise_belongs_to_the_image() -> None:
    batch = batch_of(Constant(), count=3)
    alone = batch_of(Constant(), count=1)
    assert torch.equal(batch.noise("losses")[:1], alone.noise("losses"))
    assert not torch.equal(batch.noise("losses")[0], batch.noise("losses")[1])
    assert not torch.equal(batch.noise("losses"), batch.noise("losses", 1))
    assert not torch.equal(batch.noise("losses"), batch.noise("recover"))
