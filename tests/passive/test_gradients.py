"""Gradient masking and noise optimisation on a model that is known exactly."""

from __future__ import annotations

import pytest
import torch
from support.known_denoisers import Constant, Counting, batch_of

from siren_ext.passive import gradients, losses
from siren_ext.passive.batch import Batch, norm

ELEMENTS = 4 * 8 * 8


class Bent(Constant):
    """Depends on its input and not linearly, so that gradients differ."""

    def noise_in(self, noisy, time, condition):  # type: ignore[no-untyped-def]
        return torch.tanh(noisy * self.seen) + 0.1 * noisy


def test_a_fifth_of_all_elements_is_masked() -> None:
    sizes = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = gradients.largest(sizes)
    assert mask.flatten(1).sum(1).tolist() == [int(0.2 * ELEMENTS)] * 3
    assert sizes[mask].min() > 0.7
    for image, chosen in zip(sizes, mask, strict=True):
        assert image[chosen].min() >= image[~chosen].max()
    assert gradients.largest(torch.zeros(1, 4, 8, 8)).sum() == int(0.2 * ELEMENTS)


def test_variants_of_masking_differ_and_do_not_depend_on_the_batch() -> None:
    found = {}
    for variant in ("default", "paper", "official"):
        whole = gradients.gradient_masking(batch_of(Bent(), variant=variant))
        alone = gradients.gradient_masking(batch_of(Bent(), count=1, variant=variant))
        assert whole.shape == (3, 10)
        assert torch.allclose(whole[:1], alone, rtol=1e-5)
        found[variant] = whole
    assert torch.equal(found["default"], found["paper"])
    assert not torch.allclose(found["default"], found["official"], rtol=0.01)


def test_masked_loss_of_a_model_that_sees_nothing() -> None:
    class Blind(Constant):
        def noise_in(self, noisy, time, condition):  # type: ignore[no-untyped-def]
            return 0 * noisy

    batch = batch_of(Blind())
    table = gradients.gradient_masking(batch)
    noise = batch.noise("losses")
    assert (table < norm(noise)[:, None]).all()
    assert (table > 0).all()


def test_masking_and_losses_share_passes() -> None:
    class Both(Counting, Bent):
        pass

    alone = losses.multiple_loss(batch_of(Bent()))
    model = Both()
    batch = batch_of(model, features="white")
    gradients.gradient_masking(batch)
    assert torch.allclose(losses.multiple_loss(batch), alone, rtol=1e-5)
    assert model.passes == 3 * (50 + 10)


def before(batch: Batch) -> torch.Tensor:
    noise = batch.noise("noise_optimisation")
    noisy = batch.model.noisy(batch.latents, noise, 100)
    return norm(batch.noise_in(noisy, 100) - noise)


def test_optimisation_lowers_the_loss_of_each_image_by_itself() -> None:
    batch = batch_of(Bent())
    table = gradients.noise_optimisation(batch)
    assert (table[:, 0] < before(batch)).all()
    assert (table[:, 1] > 0).all()
    alone = gradients.noise_optimisation(batch_of(Bent(), count=1))
    assert torch.allclose(table[:1], alone, rtol=1e-4)


def test_the_published_optimisation_depends_on_the_batch() -> None:
    whole = gradients.noise_optimisation(batch_of(Bent(), variant="official"))
    alone = gradients.noise_optimisation(batch_of(Bent(), count=1, variant="official"))
    assert torch.isfinite(whole).all()
    assert not torch.allclose(whole[:1], alone, rtol=1e-3)


@pytest.mark.parametrize("variant", ["default", "official"])
def test_optimisation_of_a_model_without_slope_changes_nothing(variant: str) -> None:
    class Flat(Constant):
        def noise_in(self, noisy, time, condition):  # type: ignore[no-untyped-def]
            return self.seen + 0 * noisy

    table = gradients.noise_optimisation(batch_of(Flat(), variant=variant))
    assert torch.isfinite(table).all()
    assert not table[:, 1].any()
