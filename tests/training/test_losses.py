"""The terms of the objective, at the values that the specification names."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from siren_ext.coater.hypersphere import hsc_distance
from siren_ext.training.losses import (
    binary_negative,
    binary_positive,
    colour_loss,
    hsc_negative,
    hsc_positive,
    image_weight,
    published_weights,
    separation,
    svdd_negative,
    svdd_positive,
    svdd_radius,
    tint_loss,
)


def flat(value: float, side: int = 32) -> torch.Tensor:
    return torch.full((1, 3, side, side), value)


def test_distance_is_pseudo_huber() -> None:
    center = torch.tensor([[1.0, 2.0]])
    features = torch.tensor([[1.0, 2.0], [4.0, 6.0]])
    found = hsc_distance(features, center)
    torch.testing.assert_close(found, torch.tensor([0.0, math.sqrt(26) - 1]))


def test_published_values_of_both_branches() -> None:
    zero, ten = torch.zeros(()), torch.tensor(10.0)
    assert hsc_positive(zero) == 0
    assert hsc_negative(ten).item() == pytest.approx(0.0511, abs=1e-4)
    assert hsc_negative(zero).item() == pytest.approx(20.72, abs=0.01)


def test_negative_branch_has_a_finite_slope_at_the_centre() -> None:
    features = torch.zeros(2, 3, requires_grad=True)
    loss = hsc_negative(hsc_distance(features, torch.zeros(1, 3))).sum()
    (slope,) = torch.autograd.grad(loss, features)
    assert torch.isfinite(slope).all()


@given(st.floats(0, 100), st.floats(0.01, 10))
def test_branches_pull_apart(distance: float, more: float) -> None:
    near, far = torch.tensor(distance).double(), torch.tensor(distance + more).double()
    assert hsc_positive(far) > hsc_positive(near)
    assert hsc_negative(far) <= hsc_negative(near)


def test_radius_form_by_hand() -> None:
    positive, negative = torch.tensor([1.0, 3.0]), torch.tensor([1.0, 4.0])
    # R = 2: one positive sticks out by 9 - 4, one negative lies inside by 4 - 1
    expected = 4 + (5 / 2) / 0.1 + (3 / 2) / 0.1
    found = svdd_positive(positive, 2.0, 0.1).mean() + svdd_negative(negative, 2.0, 0.1).mean()
    assert found.item() == pytest.approx(expected)


def test_radius_is_a_quantile_of_distances() -> None:
    distances = torch.arange(1.0, 102.0, requires_grad=True)
    assert svdd_radius(distances, 0.1) == pytest.approx(91)
    assert svdd_radius(distances, 0.01) == pytest.approx(100)
    outside = (distances > svdd_radius(distances, 0.1)).float().mean()
    assert outside == pytest.approx(0.1, abs=0.01)


def test_binary_losses_are_cross_entropies_of_the_negated_distance() -> None:
    logits = torch.tensor([20.0, 0.0, -20.0])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    for loss, target in ((binary_positive, torch.ones(3)), (binary_negative, torch.zeros(3))):
        expected = entropy(logits, target, reduction="none")
        torch.testing.assert_close(loss(-logits), expected)
    assert binary_positive(torch.zeros(1)).item() == pytest.approx(math.log(2))
    assert binary_positive(-logits[:1]).item() == pytest.approx(0, abs=1e-6)
    assert binary_negative(-logits[:1]).item() == pytest.approx(20, abs=1e-4)


def test_colour_loss_has_a_floor_and_takes_the_mean_of_images() -> None:
    clean = flat(0.5)
    assert colour_loss(clean, clean).item() == pytest.approx(1e-4)
    one, two = flat(0.55), flat(0.6)
    both = colour_loss(clean.repeat(2, 1, 1, 1), torch.cat([one, two]))
    mean = (colour_loss(clean, one) + colour_loss(clean, two)) / 2
    torch.testing.assert_close(both, mean)
    assert colour_loss(clean, one, official_scale=True) < colour_loss(clean, one) / 10


def test_colour_loss_bears_pixels_out_of_range() -> None:
    clean = torch.cat([flat(0.0), flat(1.0)])
    coated = torch.cat([flat(-0.2), flat(1.4)]).requires_grad_(True)
    (slope,) = torch.autograd.grad(colour_loss(clean, coated), coated)
    assert torch.isfinite(slope).all()


def test_tint_loss_sees_patches_but_not_fine_grain() -> None:
    clean = flat(0.5)
    grain = 0.03 * (2 * (torch.arange(32)[:, None] + torch.arange(32)).remainder(2) - 1)
    tint = 0.03 * torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1)
    assert tint_loss(clean, clean, limit=0.0).item() == pytest.approx(0, abs=1e-6)
    fine, patch = (
        tint_loss(clean, clean + change, limit=1.0).item() for change in (grain.float(), tint)
    )
    assert fine == pytest.approx(0, abs=1e-6)
    assert patch > 1
    assert tint_loss(clean, clean + tint, limit=100.0).item() == 0


def test_image_weight_ramp() -> None:
    assert image_weight(0, None) == 1
    assert image_weight(10**6, None) == 1
    assert image_weight(500, 700) == 1
    assert image_weight(700, 700) == 1
    assert image_weight(5_700, 700) == pytest.approx(50.5)
    assert image_weight(10_700, 700) == pytest.approx(100)
    assert image_weight(10**6, 700) == pytest.approx(100)


def test_combination_is_a_weighted_mean() -> None:
    assert published_weights(1.0) == pytest.approx((1 / 11, 10 / 11))
    assert published_weights(100.0) == pytest.approx((100 / 110, 10 / 110))


def test_separation_counts_pairs_in_the_right_order() -> None:
    coated, clean = torch.tensor([1.0, 4.0]), torch.tensor([2.0, 3.0, 5.0])
    assert separation(coated, clean) == pytest.approx(4 / 6)
    assert separation(clean, clean - 10) == 0
    assert separation(clean - 10, clean) == 1
