"""Completed pictures: a model that remembers brings back what was hidden, and others do not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.known_denoisers import SHAPE, Constant, batch_of
from support.tiny_models import draw_images, need_models, shared_model
from torch import Tensor

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled
from siren_ext.passive.completion import Completion, complete_pictures, invert
from siren_ext.passive.config import CompletionConfig, PassiveConfig
from siren_ext.progress import Progress

HALF = SHAPE[2] // 2


class Remembering(Constant):
    """Takes everything for one image with noise, so that this image alone has no loss."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image

    def noise_in(self, noisy: Tensor, time: int, condition: dict[str, Any]) -> Tensor:
        return (noisy - self.signal(time) * self.image) / self.rest(time)


def image(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def test_what_a_model_remembers_comes_back_and_the_given_half_stays() -> None:
    batch = batch_of(Remembering(image(1)))
    found = invert(batch, HALF, CompletionConfig())
    assert torch.equal(found[..., :HALF], batch.latents[..., :HALF])
    error = (found - image(1))[..., HALF:]
    assert error.abs().mean() < 0.1 * (batch.latents - image(1))[..., HALF:].abs().mean()
    alone = batch_of(Remembering(image(1)), count=1)
    assert torch.allclose(invert(alone, HALF, CompletionConfig())[0], found[0], atol=1e-5)


def test_the_difference_from_the_control_is_followed() -> None:
    """Whatever both models know cancels; what the suspect alone knows is exaggerated."""
    suspect, control = (batch_of(Remembering(image(seed))) for seed in (1, 2))
    plain = invert(suspect, HALF, CompletionConfig())
    same = invert(suspect, HALF, CompletionConfig(), against=suspect)
    assert torch.allclose(same, plain)
    none = invert(suspect, HALF, CompletionConfig(weight=0), against=control)
    assert torch.equal(none, plain)
    away = invert(suspect, HALF, CompletionConfig(weight=0.5), against=control)
    wanted = image(1) + 0.5 * (image(1) - image(2))
    error = (away - wanted)[..., HALF:]
    assert error.abs().mean() < 0.2 * (wanted - image(1))[..., HALF:].abs().mean() + 0.1


@pytest.mark.models
def test_pictures_of_both_sets_are_completed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    need_models()
    from siren_ext.suspects.local import LocalSuspect

    root = tmp_path_factory.getbasetemp()
    suspect, control = (
        LocalSuspect(shared_model(root, "kl", kind), device="cpu", dtype=torch.float32)
        for kind in ("epsilon", "v_prediction")
    )
    sets = [ImageSet.open(draw_images(tmp_path / name, 3)) for name in ("p", "u")]
    config = CompletionConfig(count=2, steps=3)

    def complete(first: ImageSet, second: ImageSet, **values: Any) -> tuple[Completion, ...]:
        return complete_pictures(
            suspect, control, first, second, config, PassiveConfig(batch_size=3), **values
        )

    found = complete(*sets)
    assert [one.published for one in found] == [True, True, False, False]
    middle = found[0].original.shape[1] // 2
    for one in found:
        assert np.array_equal(one.suspect[:, :middle], one.original[:, :middle])
        assert np.array_equal(one.masked[:, :middle], one.original[:, :middle])
        assert np.ptp(one.masked[:, middle:], axis=(0, 1)).max() == 0
        assert not np.array_equal(one.suspect, one.control)
        assert np.isfinite([one.suspect_psnr, one.control_psnr]).all()
    turned = [dataclasses.replace(one, items=one.items[::-1]) for one in sets]
    assert [one.name for one in complete(*turned)] == [one.name for one in found]
    with pytest.raises(Cancelled):
        complete(*sets, progress=Progress(cancelled=lambda: True))
