"""What several processes compute of a step adds up to what one computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.fake_ranks import pretend
from support.short_runs import load, short, small
from support.tiny_models import need_models

from siren_ext.data.dataset import ImageSet
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.data import prepare
from siren_ext.personalize.prior import class_data
from siren_ext.personalize.run import Trainer
from siren_ext.progress import NULL

need_models()
pytestmark = pytest.mark.models


def gradient(model: Path, data: ImageSet, config: PersonalizeConfig) -> tuple[Any, float]:
    """Gradient and loss that this process finds in the first step."""
    pipeline = load(model)
    prior = class_data(config, pipeline, data, NULL) if config.method == "dreambooth" else None
    trainer = Trainer(pipeline, prepare(data, pipeline, config, NULL), config, prior)
    trainer.weights.clear()
    loss = trainer._backward(trainer.data.batch(0, config))
    if prior is not None:
        loss += trainer._backward(prior.batch(0, config), config.prior_weight)
    trainer.weights.collect()
    return trainer.weights.vector.grad, loss


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (small(snr_gamma=5.0), 2),
        (small(batch_size=1), 2),  # one process has no image
        (small(batch_size=5, accumulation=2, train_text_encoder=True), 3),
        (short("dreambooth", prior_weight=0.5), 2),
    ],
)
def test_gradients_add_up(
    model: Path,
    data: ImageSet,
    monkeypatch: pytest.MonkeyPatch,
    config: PersonalizeConfig,
    size: int,
) -> None:
    whole, loss = gradient(model, data, config)
    shares = []
    for rank in range(size):
        pretend(monkeypatch, rank, size)
        shares.append(gradient(model, data, config))
    total = torch.stack([found for found, _ in shares]).sum(0)
    assert float(whole.abs().max()) > 1e-4
    torch.testing.assert_close(total, whole, rtol=1e-3, atol=1e-5 * float(whole.abs().max()))
    assert sum(part for _, part in shares) == pytest.approx(loss, rel=1e-4)
    assert all(part < 0.9 * loss for _, part in shares) or config.batch_size == 1
