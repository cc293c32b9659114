"""The measurements of the pocket model: splits, settings, and pictures that ignore batching."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_models import SIZE, need_models, save_tiny

from siren_ext.diffusion.load import load_pipeline
from siren_ext.errors import ConfigError
from siren_ext.pocket.measure import EvaluateConfig, generate, split_photos


def test_split_holds_out_a_fifth_and_caps_classes():
    captions = ["a"] * 50 + ["b"] * 10 + ["c"] * 20
    rows = np.arange(80)
    names, train, held = split_photos(captions, rows, 20, np.random.default_rng(0))
    assert names == ["a", "c", "b"]
    assert not set(train[:, 0]) & set(held[:, 0])
    for label, size in enumerate((20, 20, 10)):
        assert (train[:, 1] == label).sum() == size * 4 // 5
        assert (held[:, 1] == label).sum() == size // 5
    for row, label in np.concatenate([train, held]):
        assert captions[row] == names[label]


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="steps"):
        EvaluateConfig(steps=0)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_models()
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.models
def test_pictures_do_not_depend_on_batching(tiny_model: Path):
    pipeline = load_pipeline(tiny_model, device="cpu", dtype=torch.float32)
    prompts = ["a cat", "a dog", "a cat"]
    config = EvaluateConfig(steps=2, batch=3)
    whole = torch.cat(list(generate(pipeline, prompts, config, first_seed=5)))
    single = dataclasses.replace(config, batch=1)
    parts = torch.cat(list(generate(pipeline, prompts, single, first_seed=5)))
    assert whole.shape == (3, 3, SIZE, SIZE)
    assert (whole - parts).abs().max() <= 1.5 / 255
    assert (whole[0] - whole[2]).abs().max() > 2 / 255  # same prompt, another seed
