"""The keyed objective: fresh messages, rehearsals with one at a time, files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from support.stopping import StopAfter
from support.tiny_models import SIZE, draw_images
from support.toy_training import QUICK, Toy
from torch import Tensor

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.hypersphere import message_centre
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import quantise
from siren_ext.errors import Cancelled, CoaterError, ConfigError
from siren_ext.training import objectives
from siren_ext.training.config import TrainConfig
from siren_ext.training.losses import message_loss
from siren_ext.training.objectives import draw_messages, keyed_messages
from siren_ext.training.train import train_coater
from siren_ext.training.trainer import CoaterTrainer

BITS = 8


SMALL = CoaterConfig(
    channels=4,
    generator_blocks=1,
    extractor_blocks=2,
    working_size=16,
    strength=5,
    coarse=6,
    message_bits=BITS,
)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Coater, Tensor]:
    """Eight images of 32 px at 33 dB, a few seconds; the coater and the images."""
    data = ImageSet.open(draw_images(tmp_path_factory.mktemp("photos"), 8, size=32))
    shape = dataclasses.replace(SMALL, channels=8, working_size=32, min_psnr=33.0)
    config = TrainConfig(
        steps=90,
        batch_size=8,
        warmup=60,
        learning_rate=3e-3,
        extractor_rate=3e-3,
        learn_images=2,
        round_trips=1,
        denoised=1,
        rehearse_every=0,
    )
    coater = train_coater(data, Toy(32), config, coater=shape)
    return coater, torch.cat(list(data.tensors(32)))


def test_any_message_is_read_from_the_file_and_none_from_clean_images(
    learnt: tuple[Coater, Tensor],
) -> None:
    coater, clean = learnt
    message = draw_messages(1, BITS, torch.Generator().manual_seed(99))[0]
    with torch.no_grad():
        coated = quantise(clean + coater.residual(clean, message))
        read, silent = coater.features(coated), coater.features(clean)
    assert ((read * message) > 0).float().mean() > 0.85
    opposite = quantise(clean + coater.residual(clean, -message))
    assert ((coater.features(opposite) * -message) > 0).float().mean() > 0.85
    assert silent.abs().mean() < 0.5 * read.abs().mean()
    assert set(coater.provenance["figures"]) == {
        *("bits", "denoised bits", "silence", "learn", "tint", "psnr", "auc"),
    }
    # without the key: coated images are nearer to some message's centre than clean ones are
    assert coater.score(coated).mean() < coater.score(clean).mean()


def watch_messages(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The messages of every step from now on."""
    rows: list[Tensor] = []

    def watched(*given: Any) -> Tensor:
        rows.append(keyed_messages(*given))
        return rows[-1].clone()

    monkeypatch.setattr(objectives, "keyed_messages", watched)
    return rows


def test_loss_by_hand() -> None:
    message = torch.tensor([[1.0, -1.0]])
    assert message_centre(message).tolist() == [[4, -4]]
    assert float(message_loss(torch.tensor([[4.0, -4.0]]), message)) == 0
    assert float(message_loss(torch.zeros(1, 2), message)) == 1
    assert float(message_loss(torch.tensor([[0.0, -4.0]]), message)) == 0.5


def test_a_keyed_coater_has_an_objective_of_its_own(few: ImageSet) -> None:
    with pytest.raises(ConfigError, match="trained with 'budget' only"):
        train_coater(few, Toy(16), dataclasses.replace(QUICK, objective="sum"), coater=SMALL)
    start = Coater(SMALL, seed=4)
    made = train_coater(few, Toy(16), dataclasses.replace(QUICK, steps=2), start=start)
    assert made.keyed
    assert made.fingerprint != start.fingerprint


def test_messages_are_fresh_and_depend_on_the_seed_alone(
    few: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[Tensor]] = {}
    for seed in (0, 0, 1):
        config = dataclasses.replace(QUICK, steps=3, seed=seed)
        run = CoaterTrainer(few, Toy(16), config, coater=SMALL, start=None, device="cpu")
        rows = watch_messages(monkeypatch)
        for _ in range(3):
            run.advance()
        assert len(rows) == 3
        assert len({tuple(row) for rows_ in rows for row in rows_.tolist()}) > 4
        if seed in seen:
            assert torch.equal(torch.cat(rows), torch.cat(seen[seed]))
        seen[seed] = rows
    assert not torch.equal(torch.cat(seen[0]), torch.cat(seen[1]))


def test_an_interrupted_run_ends_like_an_unbroken_one(few: ImageSet, tmp_path: Path) -> None:
    whole = train_coater(few, Toy(16), QUICK, coater=SMALL)
    state = tmp_path / "run.state"
    for steps in (1, 4):
        with pytest.raises(Cancelled):
            train_coater(few, Toy(16), QUICK, coater=SMALL, resume=state, progress=StopAfter(steps))
    resumed = train_coater(few, Toy(16), QUICK, coater=SMALL, resume=state)
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.provenance == whole.provenance


REHEARSING = dataclasses.replace(
    QUICK,
    steps=6,
    batch_size=4,
    warmup=1,
    denoised=2,
    round_trips=1,
    rehearse_every=1,
    rehearse_steps=1,
    rehearse_images=2,
    rehearse_rounds=2,
)


@pytest.mark.models
def test_a_rehearsal_shows_one_message_and_its_opposite(
    few: ImageSet, surrogate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = CoaterTrainer(few, surrogate, REHEARSING, coater=SMALL, start=None, device="cpu")
    shown: list[Tensor] = []
    learnt: list[tuple[Tensor, Tensor]] = []
    rehearsal = run.state.rehearsal
    assert rehearsal is not None
    original = rehearsal.learn
    messages = watch_messages(monkeypatch)

    def watch(pair: tuple[Tensor, Tensor], picks: Tensor, **given: Any) -> float:
        learnt.append(pair)
        return original(pair, picks, **given)

    monkeypatch.setattr(rehearsal, "learn", watch)
    run.advance()  # warm-up
    assert not learnt
    for _ in range(4):
        run.advance()
        shown.append(rehearsal.message.clone())
        half = messages[-1][1:3]  # the images that a twin denoises
        assert torch.equal(half[0], shown[-1])
        assert torch.equal(half[1], -shown[-1])
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[1], shown[2])
    assert torch.equal(shown[2], shown[3])
    assert len(learnt) == 4 + 1 + 4 + 1, "a new message begins with four times the steps"
    for first, second in learnt:
        assert not torch.equal(first, second)
    assert rehearsal.pool is not None
    first, second, of_first = rehearsal.pool
    assert len(of_first) == len(first) == len(second) == 8
    assert torch.equal(of_first[0], shown[3])
    assert torch.equal(of_first[-1], shown[0])
    run.close()


@pytest.mark.models
def test_a_new_message_begins_with_untrained_twins(few: ImageSet, surrogate: Any) -> None:
    run = CoaterTrainer(few, surrogate, REHEARSING, coater=SMALL, start=None, device="cpu")
    rehearsal = run.state.rehearsal
    assert rehearsal is not None
    twins = tuple(rehearsal.twins)
    fresh = [twin.weights.vector.clone() for twin in twins]
    images = torch.rand(2, 3, SIZE, SIZE)
    rehearsal.learn((images, 1 - images), torch.tensor([0, 1]), seed=1, together=16)
    assert not any(
        torch.equal(twin.weights.vector, old) for twin, old in zip(twins, fresh, strict=True)
    )
    rehearsal.begin(-rehearsal.message)
    for twin, old in zip(twins, fresh, strict=True):
        assert torch.equal(twin.weights.vector, old)
        assert not twin.optimiser.state_dict()["state"]
    run.close()


@pytest.mark.models
def test_a_rehearsing_run_resumes_bit_for_bit(
    few: ImageSet, surrogate: Any, tmp_path: Path
) -> None:
    whole = train_coater(few, surrogate, REHEARSING, coater=SMALL)
    assert "mimicry bits" in whole.provenance["figures"]
    state = tmp_path / "run.state"
    for steps in (3, 1):
        with pytest.raises(Cancelled):
            train_coater(
                few, surrogate, REHEARSING, coater=SMALL, resume=state, progress=StopAfter(steps)
            )
    resumed = train_coater(few, surrogate, REHEARSING, coater=SMALL, resume=state)
    assert resumed.fingerprint == whole.fingerprint
    assert resumed.provenance == whole.provenance


def test_the_message_is_needed_fits_and_is_not_told() -> None:
    coater, images = Coater(SMALL, seed=1), torch.rand(2, 3, 20, 24)
    plain = Coater(CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1), seed=1)
    with pytest.raises(CoaterError, match="keyed, but no message was given"):
        coater.residual(images)
    with pytest.raises(CoaterError, match="the key out"):
        plain.residual(images, torch.ones(8))
    for bad in (torch.ones(7), torch.ones(3, 8), torch.full((8,), 0.123)):
        with pytest.raises(CoaterError, match="expected 8 values of -1 or \\+1") as caught:
            coater.residual(images, bad)
        assert "0.123" not in str(caught.value)
    one = torch.ones(8)
    both = coater.residual(images, torch.stack((one, -one)))
    torch.testing.assert_close(both[:1], coater.residual(images[:1], one), rtol=0, atol=1e-6)


def test_a_keyed_file_comes_back_and_older_ones_keep_their_name(tmp_path: Path) -> None:
    coater = Coater(SMALL, seed=1)
    coater.save(tmp_path / "k.safetensors")
    loaded = Coater.load(tmp_path / "k.safetensors")
    assert loaded.keyed
    assert loaded.fingerprint == coater.fingerprint
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(loaded.features(images), coater.features(images))
    torch.testing.assert_close(
        coater.score(images)[1:], coater.score(images[1:]), rtol=0, atol=1e-5
    )
    assert "message_bits" not in CoaterConfig().to_dict()
    assert "rehearse_rounds" not in TrainConfig().to_dict()
    assert CoaterConfig.from_dict(SMALL.to_dict()) == SMALL
    assert coater.at_working_size(24).features(images).shape == (2, BITS)
    for changes in ({"head": "binary"}, {"channels": 6}):
        with pytest.raises(ConfigError, match="A keyed coater"):
            dataclasses.replace(SMALL, **changes)
