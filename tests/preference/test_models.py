"""Models that are measured: frozen, with noise that does not depend on the batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tiny_models import need_models, shared_model

from siren_ext.errors import ConfigError, ModelError
from siren_ext.preference.config import PreferenceConfig
from siren_ext.preference.models import frozen, loss_of, noise_of
from siren_ext.suspects.local import LocalSuspect

need_models()
pytestmark = pytest.mark.models


def test_models_are_frozen_and_must_be_exact(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    model = frozen(LocalSuspect(folder, dtype=torch.float32))
    for part in (model.network, model.pipeline.vae, model.pipeline.text_encoder):
        assert not part.training
        assert not any(one.requires_grad for one in part.parameters())
    with pytest.raises(ConfigError, match="expected float32"):
        frozen(LocalSuspect(folder, dtype=torch.bfloat16))
    other: Any = SimpleNamespace(pipeline=SimpleNamespace())
    with pytest.raises(ModelError, match="This model is a SimpleNamespace"):
        frozen(other)


def test_noise_depends_on_the_image_and_the_draw() -> None:
    config = PreferenceConfig(draws=4, low=0.2, high=0.6, seed=3)
    latents = torch.zeros(3, 4, 5, 5)
    times, noise = noise_of(latents, [7, 8, 9], 2, config)
    alone, same = noise_of(latents[:1], [8], 2, config)
    assert alone[0] == times[1]
    assert torch.equal(same[0], noise[1])
    assert ((times >= 400) & (times < 500)).all()  # the third quarter of the range
    assert not torch.equal(noise_of(latents, [7, 8, 9], 1, config)[1], noise)
    assert noise_of(latents, [1], 0, PreferenceConfig(draws=1, low=0.999, high=1.0))[0][0] == 999


def test_losses_are_weighted_as_in_training() -> None:
    model: Any = SimpleNamespace(weight=lambda time: time / 100)
    errors = torch.ones(2, 1, 2, 2) * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    assert loss_of(model, errors, torch.tensor([100, 300])).tolist() == [1.0, 12.0]
