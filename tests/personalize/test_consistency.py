"""Few-step adapters: the points that are compared, what is trained, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.short_runs import SMALL, StopAt, load
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.sampling import scheduler_named
from siren_ext.errors import Cancelled, ConfigError
from siren_ext.personalize.consistency import ConsistencyConfig, ConsistencyTrainer, distil
from siren_ext.personalize.data import prepare
from siren_ext.progress import NULL

pytestmark = pytest.mark.models


def config(**changes: Any) -> ConsistencyConfig:
    plain = SMALL.to_dict() | {"caption_dropout": 0.0}
    return ConsistencyConfig.from_dict(plain | changes)


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_models()
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", request.param)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("consistency"), 4))


def trainer(model: Path, data: ImageSet, **changes: Any) -> ConsistencyTrainer:
    pipeline, chosen = load(model), config(**changes)
    return ConsistencyTrainer(pipeline, prepare(data, pipeline, chosen, NULL), chosen)


def drawn(made: ConsistencyTrainer, seed: int) -> torch.Tensor:
    shape = made.data.latents[0, :3].shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_teacher_goes_one_guided_step_of_ddim(model: Path, data: ImageSet) -> None:
    made = trainer(model, data)
    noisy, later = drawn(made, 1), torch.tensor([999] * 3)
    embeds = made._prompt_embeds(torch.tensor([1, 2, 1]))
    ours = made._step_back(noisy, embeds, later, later - 20, 3.0)
    scheduler = scheduler_named(made.pipeline, "ddim")
    scheduler.set_timesteps(50)
    empty = pipelines.encode_prompts(made.pipeline, [""]).expand(3, -1, -1)
    without, given = (made.pipeline.unet(noisy, later, e).sample for e in (empty, embeds))
    # diffusers' step from 999 with 50 steps goes to 979
    theirs = scheduler.step(without + 3.0 * (given - without), 999, noisy).prev_sample
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_ends_are_those_of_the_sampler(model: Path, data: ImageSet) -> None:
    made = trainer(model, data)
    noisy, embeds = drawn(made, 1), made._prompt_embeds(torch.tensor([1, 2, 1]))
    start = made._end(noisy, embeds, torch.tensor([0, 0, 0]))
    torch.testing.assert_close(start, noisy)
    scheduler = scheduler_named(made.pipeline, "lcm")
    scheduler.set_timesteps(1)
    time = scheduler.timesteps
    guess = made.pipeline.unet(noisy, time.expand(3), embeds).sample
    theirs = scheduler.step(guess, time[0], noisy).denoised
    ours = made._end(noisy, embeds, time.expand(3))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_training_brings_the_ends_together(model: Path, data: ImageSet) -> None:
    steps = 60
    changes = {"learning_rate": 1e-2, "rank": 8, "conv_rank": 8, "batch_size": 4, "warmup": 0}
    changes["stride"] = 20
    made = trainer(model, data, steps=steps, **changes)
    times = torch.linspace(19, 999, 24).long()
    rows = torch.arange(24) % 4
    noise = torch.randn(
        24, *made.data.latents.shape[2:], generator=torch.Generator().manual_seed(2)
    )

    def apart() -> float:
        with torch.no_grad():
            given = made.data.latents[0, rows], made.data.texts[rows], noise, times
            return float(made.errors(*given).mean())

    first = apart()
    while made.step < steps:
        made.advance()
    assert apart() < 0.9 * first


def test_a_stopped_run_is_resumed_to_the_same_adapter(
    model: Path, data: ImageSet, tmp_path: Path
) -> None:
    whole = distil(data, model, config(), tmp_path / "whole.safetensors")
    with pytest.raises(Cancelled):
        distil(data, model, config(), tmp_path / "parts.safetensors", progress=StopAt(3))
    parts = distil(data, model, config(), tmp_path / "parts.safetensors")
    assert parts.hash == whole.hash
    assert parts.kinds == {"lora": parts.modules}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "full"}, "method is 'full'; expected 'lora'"),
        ({"precision": "bfloat16"}, "precision is 'bfloat16'; expected 'float32'"),
    ],
)
def test_what_does_not_suit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes)
