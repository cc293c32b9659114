from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from siren_ext.baselines.diagnosis import (
    Classifier,
    ClassifierTraining,
    Diagnosis,
    train_diagnosis,
)
from siren_ext.baselines.warp import Warp
from siren_ext.errors import Cancelled, ConfigError
from siren_ext.progress import Progress

WARP = Warp(size=32, points=4)


def stripes(count: int, seed: int = 0) -> torch.Tensor:
    """Upright and level lines; a warp bends them."""
    rng = torch.Generator().manual_seed(seed)
    rows = torch.rand(count, 3, 1, 32, generator=rng)
    columns = torch.rand(count, 3, 32, 1, generator=rng)
    return (rows + columns) / 2


def test_the_classifier_separates_warped_from_clean() -> None:
    settings = ClassifierTraining(size=32, crop=32, steps=60, batch=8, rate=3e-3)
    method = train_diagnosis(stripes(32), WARP, settings)
    fresh = stripes(32, 1)
    warped = method.evidence(WARP.apply(fresh))
    assert warped.mean() > 0.9
    assert method.evidence(fresh).mean() < 0.1
    assert method.p_value(warped) < 1e-4


def test_rules() -> None:
    method = Diagnosis(WARP, Classifier().eval(), 32, clean_share=0.8, clean_count=50)
    rows = np.array([[1.0]] * 24 + [[0.0]] * 6)
    assert method.p_value(rows, "published") < 0.01
    assert method.p_value(rows, "exact") < 0.01
    assert method.p_value(rows, "calibrated") > 0.4
    assert 0.4 < method.p_value(rows, "welch") < 0.6
    sure = dataclasses.replace(method, clean_share=1.0)
    assert sure.p_value(np.ones((30, 1)), "calibrated") > 0.99
    assert method.name == "DIAGNOSIS, unconditional"
    alone = dataclasses.replace(method, clean_count=0)
    assert alone.rules == ("published", "exact")
    with pytest.raises(ConfigError, match="no rule"):
        alone.p_value(rows, "welch")


def test_a_clean_model_counts_by_its_pictures() -> None:
    method = Diagnosis(WARP, Classifier().eval(), 32)
    clean = stripes(5)
    found = method.compared_with(clean)
    assert found.clean_count == 5
    assert found.clean_share == pytest.approx(float(method.evidence(clean).mean()))


def test_evidence_is_0_or_1_for_each_picture() -> None:
    found = Diagnosis(WARP, Classifier().eval(), 32).evidence(stripes(3))
    assert found.shape == (3, 1)
    assert set(found.ravel()) <= {0.0, 1.0}


def test_protect_is_that_of_the_warp() -> None:
    images = stripes(4)
    method = Diagnosis(WARP, Classifier(), 32)
    assert torch.equal(method.protect(images).images, WARP.protect(images).images)


def test_training_can_be_stopped() -> None:
    settings = ClassifierTraining(size=32, crop=32, steps=2, batch=2)
    with pytest.raises(Cancelled):
        train_diagnosis(stripes(4), WARP, settings, Progress(lambda: True))
