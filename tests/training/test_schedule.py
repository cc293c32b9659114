"""Switches of the published schedule and the radius of the paper's hypersphere."""

from __future__ import annotations

import pytest
import torch

from siren_ext.training.losses import svdd_positive
from siren_ext.training.schedule import Radius, Schedule


def epoch(schedule: Schedule, q: float, seen: int) -> None:
    """An epoch of two steps whose mean is ``q``."""
    schedule.note(q - 0.05)
    schedule.note(q + 0.05)
    schedule.end_epoch(seen)


def test_each_switch_is_thrown_once_and_in_order() -> None:
    schedule = Schedule()
    epoch(schedule, 0.31, 10)
    assert (schedule.eot_start, schedule.ramp_start) == (None, None)
    epoch(schedule, 0.11, 20)  # good enough for both, but the ramp waits for distortions
    assert (schedule.eot_start, schedule.ramp_start) == (20, None)
    epoch(schedule, 0.13, 30)
    assert schedule.ramp_start is None
    epoch(schedule, 0.11, 40)
    assert (schedule.eot_start, schedule.ramp_start) == (20, 40)
    for seen, q in ((50, 5.0), (60, 0.01)):
        epoch(schedule, q, seen)
        assert (schedule.eot_start, schedule.ramp_start) == (20, 40)


def test_ramps_count_images() -> None:
    schedule = Schedule()
    assert schedule.distortion(10**6) is None
    assert schedule.image_weight(10**6) == 1
    epoch(schedule, 0.1, 1000)
    assert schedule.distortion(1000) == 0
    assert schedule.distortion(6000) == pytest.approx(0.5)
    assert schedule.distortion(10**6) == 1
    epoch(schedule, 0.1, 2000)
    assert schedule.image_weight(7000) == pytest.approx(50.5)
    assert schedule.image_weight(12_000) == pytest.approx(100)


def test_means_are_those_of_one_epoch_and_nothing_is_judged_by_nothing() -> None:
    schedule = Schedule()
    schedule.end_epoch(5)
    assert schedule.eot_start is None
    epoch(schedule, 10.0, 10)
    epoch(schedule, 0.2, 20)
    assert schedule.eot_start == 20


def test_radius_is_learnt_from_coated_images() -> None:
    radius = Radius(0.1)
    near, far = torch.arange(1.0, 12.0), torch.full((4,), 8.0)
    loss = svdd_positive(near, radius.value, radius.nu).mean()
    assert loss.item() == pytest.approx(float((near**2).mean()) / 0.1)
    assert radius.note(near, far) == 1  # all coated images lie outside of a radius of zero
    radius.end_epoch()
    assert radius.value == pytest.approx(10)
    assert radius.note(near, far) == pytest.approx(1 / 11 + 1)
    for _ in range(10):
        radius.note(torch.ones(11), far)
    radius.end_epoch()
    assert radius.value == pytest.approx(1)
    assert len(radius.recent) == 64


def test_both_go_on_from_their_states() -> None:
    schedule, radius = Schedule(), Radius(0.2)
    epoch(schedule, 0.1, 10)
    schedule.note(0.7)
    radius.note(torch.ones(3), torch.ones(3))
    radius.end_epoch()
    later, same = Schedule(), Radius(0.2)
    later.restore(schedule.state())
    same.restore(radius.state())
    assert vars(later) == vars(schedule)
    assert vars(same) == vars(radius)
