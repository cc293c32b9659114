"""Coater training on a toy: it learns, resumes bit for bit, and keeps its gradients apart."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from support.stopping import StopAfter
from support.toy_training import QUICK, SIDE, SMALL, Broken, Toy, quick, trainer
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import (
    Picture,
    quantise,
    read_picture,
    to_tensor,
    to_uint8,
    write_picture,
)
from siren_ext.errors import Cancelled, ConfigError, ModelError
from siren_ext.metrics.quality import psnr
from siren_ext.progress import Progress
from siren_ext.training import views
from siren_ext.training.config import TrainConfig
from siren_ext.training.train import train_coater
from siren_ext.training.trainer import CoaterTrainer


@pytest.fixture(scope="module")
def learnt(photos: ImageSet) -> Coater:
    """Eight images, a strength of 30.5 dB, all terms on: about eight seconds."""
    shape = CoaterConfig(
        channels=16,
        generator_blocks=1,
        extractor_blocks=3,
        bits=4,
        features=8,
        working_size=SIDE,
        strength=4,
        min_psnr=30.5,
    )
    config = TrainConfig(
        steps=160,
        batch_size=8,
        warmup=110,
        learning_rate=5e-3,
        extractor_rate=5e-3,
        learn_images=2,
        round_trips=1,
        denoised=1,
        rehearse_every=0,
    )
    return train_coater(photos, Toy(), config, coater=shape)


def test_every_coated_image_scores_below_every_clean_one(
    learnt: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    """Also after the way that matters: written as 8-bit PNG and read again."""
    clean = torch.cat(list(photos.tensors(SIDE)))
    coated = quantise(clean + learnt.residual(clean))
    assert (psnr(clean, coated) > 30).all()
    limit = learnt.score(clean).min()
    assert learnt.score(coated).max() < limit
    back = []
    for number, image in enumerate(coated):
        write_picture(Picture(to_uint8(image)), tmp_path / f"{number}.png")
        back.append(to_tensor(read_picture(tmp_path / f"{number}.png").rgb))
    assert torch.equal(torch.cat(back), coated)
    scores = learnt.score(torch.cat(back))
    assert scores.max() < limit
    alone = torch.cat([learnt.score(image) for image in back])
    torch.testing.assert_close(alone, scores, rtol=0, atol=1e-5)


def test_provenance_tells_how_it_was_made(learnt: Coater, photos: ImageSet) -> None:
    told = learnt.provenance
    assert told["training"]["steps"] == told["steps"] == 160
    assert (told["images"], told["images_sha256"]) == (8, photos.hash)
    assert told["prompt"] == "a toy"
    assert set(told["figures"]) == {"q", "learn", "tint", "psnr", "auc"}
    assert not any(p.requires_grad for p in learnt.generator.parameters())


@pytest.mark.parametrize(
    ("shape", "config"),
    [
        ({"bits": 0}, {}),
        ({"head": "binary"}, {}),
        ({"head": "binary"}, {"objective": "published"}),
        ({"feature_layer": "pool"}, {"sphere": "radius"}),
        ({"norm": "running"}, {}),
        ({"bits": 0, "feature_layer": "pool"}, {"objective": "sum", "sphere": "radius"}),
        ({}, {"objective": "published", "mse_weight": 1, "colour_weight": 1e-3, "batch_size": 1}),
        ({}, {"geometric": True, "denoised": 1, "learn_draws": 2, "tint_weight": 0.0}),
        ({}, {"learn_images": 0, "round_trips": 9, "distort": False}),
    ],
)
def test_every_switch_runs_end_to_end(
    few: ImageSet, shape: dict[str, Any], config: dict[str, Any]
) -> None:
    start = trainer(few, coater=dataclasses.replace(SMALL, **shape)).state.coater.tensors()
    start = {name: value.clone() for name, value in start.items()}
    made = train_coater(
        few, Toy(16), quick(steps=5, **config), coater=dataclasses.replace(SMALL, **shape)
    )
    now = made.tensors()
    for name in ("generator.final_layer.weight", "extractor.layers.0.layers.0.weight"):
        assert not torch.equal(now[name], start[name])
    images = torch.cat(list(few.tensors(16)))
    scores = made.score(images)
    assert torch.isfinite(scores).all()
    torch.testing.assert_close(made.score(images[:1]), scores[:1], rtol=0, atol=1e-5)


def test_radius_grows_from_the_distances(few: ImageSet) -> None:
    run = trainer(few, quick(sphere="radius", objective="sum", warmup=0, learn_images=0))
    assert run.state.radius.value == 0
    for _ in range(2):  # an epoch of three images in batches of two
        run.advance()
    expected = torch.quantile(torch.tensor(run.state.radius.recent), 0.9).item()
    assert run.state.radius.value == pytest.approx(expected)
    assert len(run.state.radius.recent) == 4


def centre_by_hand(run: CoaterTrainer) -> Tensor:
    images = run.state.images.float() / 255
    coated = quantise(images + run.state.coater.residual(images))
    return run.state.coater.features(coated).mean(0, keepdim=True).detach()


def test_centre_is_the_mean_of_all_coated_images_after_each_epoch(few: ImageSet) -> None:
    run = trainer(few, quick(objective="published"))
    run.begin()
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(run.state.coater.center, centre_by_hand(run), **close)
    first = run.state.coater.center
    run.advance()
    assert torch.equal(run.state.coater.center, first)
    run.advance()  # two batches of two: an epoch of three images
    torch.testing.assert_close(run.state.coater.center, centre_by_hand(run), **close)
    assert not torch.equal(run.state.coater.center, first)


def test_distortions_wait_for_detection_and_are_drawn_apart(
    few: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[float, int]] = []

    def record(images: Tensor, ramp: float, generator: torch.Generator, **_: Any) -> Tensor:
        calls.append((ramp, generator.initial_seed()))
        return images

    monkeypatch.setattr(views, "distort", record)
    run = trainer(few, quick(objective="published", warmup=0))
    run.advance()
    assert not calls
    run.state.schedule.eot_start = -4999  # begun long ago: half the ramp at the next step but one
    run.advance()
    ramps, seeds = zip(*calls, strict=True)
    assert ramps == (pytest.approx(0.5001), pytest.approx(0.5001))
    assert len(set(seeds)) == 2
    calls.clear()
    off = trainer(few, quick(objective="published", distort=False))
    off.state.schedule.eot_start = 0
    off.advance()
    assert not calls


def test_epoch_mean_starts_the_distortions(few: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(few, quick(objective="published"))
    monkeypatch.setattr("siren_ext.training.schedule.EOT_THRESHOLD", 1e9)
    run.advance()
    assert run.state.schedule.eot_start is None
    run.advance()
    assert run.state.schedule.eot_start == 4  # images seen
    assert run.state.schedule.ramp_start is None


def test_adapting_a_coater_leaves_it_alone(few: ImageSet) -> None:
    start = train_coater(few, Toy(16), quick(steps=3), coater=SMALL)
    before = start.fingerprint
    run = trainer(few, quick(seed=3), start=start, coater=CoaterConfig())
    assert run.state.coater.fingerprint == before  # its shape, weights and centre
    made = train_coater(few, Toy(16), quick(steps=2), start=start)
    assert start.fingerprint == before != made.fingerprint
    assert torch.equal(made.center, start.center)
    fresh = trainer(few, quick(objective="published"), start=start)
    fresh.begin()
    torch.testing.assert_close(fresh.state.coater.center, centre_by_hand(fresh), rtol=0, atol=1e-5)


def test_the_largest_seed_is_a_seed(few: ImageSet) -> None:
    trainer(few, quick(seed=2**63 - 1)).advance()


def test_equal_seeds_give_equal_coaters(few: ImageSet) -> None:
    prints = [
        train_coater(few, Toy(16), quick(seed=s), coater=SMALL).fingerprint for s in (1, 1, 2)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_global_randomness_is_neither_used_nor_changed(few: ImageSet) -> None:
    prints = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.random.get_rng_state()
        prints.append(train_coater(few, Toy(16), quick(steps=4), coater=SMALL).fingerprint)
        assert torch.equal(torch.random.get_rng_state(), state)
    assert prints[0] == prints[1]


def test_a_loss_that_is_no_number_stops_the_run(few: ImageSet, tmp_path: Path) -> None:
    state = tmp_path / "run.state"
    with pytest.raises(ModelError, match="The loss became nan at step 4; lower learning_rate"):
        train_coater(few, Broken(3), QUICK, coater=SMALL, resume=state)
    assert not state.exists()


def test_rehearsal_needs_a_model(few: ImageSet) -> None:
    with pytest.raises(ModelError, match="but a Toy can't be trained; set rehearse_every = 0"):
        trainer(few, quick(rehearse_every=2))


COARSE = dataclasses.replace(SMALL, working_size=32, coarse=3.0)


def test_a_coarse_coater_tells_coated_from_clean_before_its_first_step(photos: ImageSet) -> None:
    run = trainer(photos, QUICK, coater=COARSE, surrogate=Toy(32))
    run.begin()
    clean = run.state.images.float() / 255
    with torch.no_grad():
        coated = quantise(clean + run.state.coater.residual(clean))
    assert (run.state.coater.score(coated) < run.state.coater.score(clean)).float().mean() == 1
    reader = run.state.coater.extractor.reader
    assert reader is not None
    assert not torch.equal(reader.whiten, torch.eye(len(reader.whiten)))


def test_a_fitted_coater_needs_no_training(photos: ImageSet) -> None:
    stages = []

    class Told(Progress):
        def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
            stages.append(label)

    made = train_coater(photos, Toy(32), quick(steps=0), coater=COARSE, progress=Told())
    assert "Fitting coarse colour" in stages
    assert made.provenance["steps"] == 0
    run = trainer(photos, quick(steps=0), coater=COARSE, surrogate=Toy(32))
    run.begin()
    assert run.state.coater.fingerprint == made.fingerprint
    with pytest.raises(Cancelled):
        train_coater(photos, Toy(32), quick(steps=0), coater=COARSE, progress=StopAfter(1))


def test_nothing_is_fitted_of_a_coater_without_coarse_colour(photos: ImageSet) -> None:
    with pytest.raises(ConfigError, match="expected at least 1"):
        train_coater(photos, Toy(32), quick(steps=0), coater=SMALL)
    with pytest.raises(ConfigError, match="only a new coater with coarse colour"):
        train_coater(photos, Toy(32), quick(steps=0), start=Coater(COARSE))


def test_an_adapted_coater_keeps_what_its_reader_knows(photos: ImageSet, few: ImageSet) -> None:
    start = train_coater(photos, Toy(32), quick(steps=1), coater=COARSE)
    made = train_coater(few, Toy(16), quick(steps=2), start=start)
    assert start.extractor.reader is not None
    assert made.extractor.reader is not None
    assert torch.equal(made.extractor.reader.whiten, start.extractor.reader.whiten)
    assert made.fingerprint != start.fingerprint


def test_the_first_rehearsal_is_the_longest(few: ImageSet) -> None:
    run = trainer(few, quick(rehearse_steps=3))
    assert run.rehearsal_steps(first=True) == 12
    assert run.rehearsal_steps(first=False) == 3
    assert trainer(few, quick(rehearse_first=50)).rehearsal_steps(first=True) == 50
    assert "rehearse_first" not in quick().to_dict()
