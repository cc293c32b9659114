"""The owner's training in one call, on a tiny random model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, CoaterError, ConfigError
from siren_ext.progress import Progress
from siren_ext.training.config import TrainConfig
from siren_ext.training.prompts import surrogate_prompt
from siren_ext.training.recipes import fitted_to, train_for_base

SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=32
)
STEPS = TrainConfig(
    steps=3, batch_size=2, warmup=1, learn_images=1, round_trips=1, denoised=0, distort=False
)


@pytest.fixture
def photos(tmp_path: Path) -> ImageSet:
    """Three small pictures without captions."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return ImageSet.open(folder)


def test_prompt() -> None:
    assert surrogate_prompt("  red\n fox ") == "a photo of red fox"
    with pytest.raises(ConfigError, match="class word is empty"):
        surrogate_prompt(" ")


def test_a_coater_is_never_overwritten(photos: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "c.safetensors"
    out.write_bytes(b"precious")
    with pytest.raises(CoaterError, match="not overwritten"):
        train_for_base(photos, "pocket", "fox", out)
    assert out.read_bytes() == b"precious"


def test_no_steps_are_refused_before_anything_is_made(photos: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="steps is 0"):
        train_for_base(photos, "pocket", "fox", tmp_path / "c.safetensors", replace(STEPS, steps=0))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_working_size_fits_the_model() -> None:
    shape, start = fitted_to(128, start=Coater(SHAPE, seed=1))
    assert shape.working_size == 64
    assert start is not None
    assert start.config.working_size == 64
    kept = Coater(SHAPE, seed=1)
    assert fitted_to(64, SHAPE, kept) == (SHAPE, kept)
    coarser, none = fitted_to(32, replace(SHAPE, working_size=64))
    assert (coarser, none) == (replace(SHAPE, working_size=16), None)


class StopInTraining(Progress):
    """Cancels at the second step of the coater's training."""

    def __init__(self) -> None:
        self.left = -1
        super().__init__(self._asked)

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.left = 2 if "coater" in label else -1

    def _asked(self) -> bool:
        self.left -= 1
        return self.left == 0


@pytest.mark.models
def test_training_resumes_to_the_same_coater(
    photos: ImageSet, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from support.tiny_models import need_models, shared_model

    need_models()
    from siren_ext.personalize.config import PersonalizeConfig

    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    surrogate = PersonalizeConfig(
        steps=2, batch_size=1, rank=2, conv_rank=0, prompt="a photo of a fox"
    )
    made = {}
    for name, stops in (("whole", 0), ("stopped", 1)):
        out = tmp_path / name / "c.safetensors"
        arguments = (photos, base, "fox", out, STEPS)
        for _ in range(stops):
            with pytest.raises(Cancelled):
                train_for_base(
                    *arguments,
                    surrogate=surrogate,
                    coater=SHAPE,
                    device="cpu",
                    progress=StopInTraining(),
                )
            assert not out.exists()
        train_for_base(*arguments, surrogate=surrogate, coater=SHAPE, device="cpu")
        made[name] = Coater.load(out)
        assert sorted(path.name for path in out.parent.iterdir()) == [
            "c.safetensors",
            "c.surrogate.safetensors",
        ]
    assert made["whole"].fingerprint == made["stopped"].fingerprint
    assert made["whole"].config == SHAPE
