"""The owner's training in one call, on a tiny random model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, CoaterError, ConfigError
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.progress import Progress
from siren_ext.training.config import TrainConfig
from siren_ext.training.prompts import surrogate_prompt
from siren_ext.training.recipes import fitted_to, surrogate_settings, train_for_base

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


class Notices(Progress):
    """Keeps the notices."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize(
    ("resolution", "own", "expected"),
    [(512, 64, 256), (512, 255, 256), (512, 256, 256), (512, 400, 400), (512, 512, 512),
     (512, 600, 256), (128, 64, 64), (128, 512, 64)],
)  # fmt: skip
def test_a_start_coater_changes_size_only_with_a_notice(
    resolution: int, own: int, expected: int
) -> None:
    notices = Notices()
    given = Coater(replace(SHAPE, working_size=own), seed=1)
    _, start = fitted_to(resolution, start=given, progress=notices)
    assert start is not None
    assert start.config.working_size == expected
    assert given.config.working_size == own
    if own == expected:
        assert start is given
        assert notices.texts == []
    else:
        (text,) = notices.texts
        assert f"from {own} to {expected} pixels" in text
        assert f"at {resolution} pixels" in text
        assert "'keep'" in text


def test_a_working_size_that_is_asked_for_is_taken_as_it_is() -> None:
    notices = Notices()
    given = Coater(SHAPE, seed=1)
    for asked, expected in (("keep", 32), (48, 48), (1024, 1024)):
        _, start = fitted_to(512, start=given, working_size=asked, progress=notices)
        assert start is not None
        assert start.config.working_size == expected
        shape, none = fitted_to(16, SHAPE, working_size=asked, progress=notices)
        assert (shape.working_size, none) == (expected, None)
    assert fitted_to(512, working_size="keep")[0].working_size == 256
    assert fitted_to(512, working_size=64)[0].working_size == 64
    assert notices.texts == []


def test_a_new_coater_above_the_models_resolution_is_reported() -> None:
    notices = Notices()
    shape, _ = fitted_to(128, CoaterConfig.preset("official"), progress=notices)
    assert shape == replace(CoaterConfig.preset("official"), working_size=64)
    assert "64 instead of 512 pixels" in notices.texts[0]
    for coater in (None, replace(SHAPE, working_size=128), replace(SHAPE, working_size=16)):
        fitted_to(128, coater, progress=notices)
    assert len(notices.texts) == 1


@pytest.mark.parametrize("size", [0, -5, 15, 4096, 64.0, True, "half", "64"])
def test_what_is_no_working_size_is_refused_before_anything_is_made(
    size: object, photos: ImageSet, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"working.size"):
        train_for_base(
            photos, "pocket", "fox", tmp_path / "c.safetensors", STEPS, start=Coater(SHAPE),
            working_size=size,
        )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_surrogate_of_the_presets(photos: ImageSet) -> None:
    for preset in ("default", "coarse", "keyed"):
        assert surrogate_settings(preset, photos, "fox") == PersonalizeConfig()
    official = surrogate_settings("official", photos, "fox")
    assert (official.rank, official.alpha, official.conv_rank) == (64, 1.0, 0)
    assert (official.learning_rate, official.schedule, official.warmup) == (1e-4, "constant", 0)
    assert official.train_text_encoder
    assert not official.flip
    assert (official.batch_size, official.steps) == (4, 60)  # 80 epochs of three images
    assert official.prompt is None
    paper = surrogate_settings("paper", photos, "fox", batch_size=1)
    assert (paper.steps, paper.prompt) == (90, "a photo of fox")
    changed = surrogate_settings("paper", photos, "fox", steps=7, prompt="a fox")
    assert (changed.steps, changed.prompt) == (7, "a fox")
    with pytest.raises(ConfigError, match="no setting images"):
        surrogate_settings("official", photos, "fox", images=7)
    with pytest.raises(ConfigError, match="best"):
        surrogate_settings("best", photos, "fox")


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


@pytest.mark.models
def test_a_stopped_training_survives_a_call_with_other_settings(
    photos: ImageSet, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its surrogate was once trained again first, which takes hours, and then nothing resumed."""
    from support.tiny_models import need_models, shared_model

    need_models()
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    out = tmp_path / "c.safetensors"
    surrogate = PersonalizeConfig(steps=2, batch_size=1, rank=2, conv_rank=0)
    common: dict[str, Any] = {"coater": SHAPE, "device": "cpu"}
    arguments = (photos, base, "fox", out, STEPS)
    with pytest.raises(Cancelled):
        train_for_base(*arguments, surrogate=surrogate, progress=StopInTraining(), **common)
    place = tmp_path / "c.surrogate.safetensors"
    before = place.read_bytes()
    for other in (replace(surrogate, steps=3), replace(surrogate, method="svdiff")):
        with pytest.raises(CoaterError, match=r"c\.safetensors\.state belongs to a run with other"):
            train_for_base(*arguments, surrogate=other, **common)
    assert place.read_bytes() == before
    train_for_base(*arguments, surrogate=surrogate, **common)
    assert out.is_file()


@pytest.mark.models
@pytest.mark.parametrize("captions", [0, 3])
def test_settings_of_the_surrogate_leave_its_prompt(
    captions: int, photos: ImageSet, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """``--set surrogate.steps=300`` once failed where an image has no caption."""
    from support.tiny_models import need_models, shared_model

    from siren_ext.adapters.read import read_summary

    need_models()
    for item in photos.items[:captions]:
        item.path.with_suffix(".txt").write_text("a red fox", encoding="utf-8")
    out = tmp_path / "c.safetensors"
    notices = Notices()
    start = Coater(replace(SHAPE, working_size=512), seed=1)
    made = train_for_base(
        ImageSet.open(tmp_path / "photos"),
        shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon"),
        "fox",
        out,
        replace(STEPS, steps=1, warmup=0),
        surrogate=PersonalizeConfig(steps=1, batch_size=1, rank=2, conv_rank=0),
        start=start,
        device="cpu",
        progress=notices,
    )
    summary = read_summary(tmp_path / "c.surrogate.safetensors")
    words = summary.metadata["ss_tag_frequency"]
    assert ("a red fox" in words) == (captions == 3)
    assert ("a photo of fox" in words) == (captions < 3)
    loaded = Coater.load(out)
    assert len(notices.texts) == 1
    assert f"from 512 to {loaded.config.working_size} pixels" in notices.texts[0]
    assert loaded.provenance["start"] == {"coater": start.fingerprint, "working_size": 512}
    assert made.fingerprint == loaded.fingerprint
