"""The rehearsed infringement: twins that differ by what they learn from, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tiny_models import SIZE, need_models, shared_model

from siren_ext.diffusion import pipelines
from siren_ext.training.rehearsal import Rehearsal, Twin
from siren_ext.training.surrogate import DiffusionSurrogate

need_models()
pytestmark = pytest.mark.models

CAPTIONS = ("a red cat", "a blue dog", "two birds")


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> DiffusionSurrogate:
    folder: Path = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    pipeline = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    return DiffusionSurrogate(pipeline, "a photo", CAPTIONS)


def weights(surrogate: DiffusionSurrogate) -> torch.Tensor:
    return torch.cat([p.flatten() for p in surrogate.pipeline.unet.parameters()])


def test_untrained_twins_are_the_surrogate(surrogate: DiffusionSurrogate) -> None:
    rehearsal = Rehearsal(surrogate, seed=1)
    picks = torch.tensor([2, 0])
    guilty, innocent = rehearsal.mimicries(picks, seed=5, guidance=2.0)
    own = surrogate.sample(
        2,
        generator=torch.Generator().manual_seed(5),
        guidance=2.0,
        texts=surrogate.texts(picks),
    )
    assert guilty.shape == (2, 3, SIZE, SIZE)
    assert torch.equal(guilty, innocent)
    torch.testing.assert_close(guilty, own)


def test_twins_differ_by_the_coating_alone(surrogate: DiffusionSurrogate) -> None:
    before = weights(surrogate).clone()
    clean, picks = pictures(2), torch.tensor([0, 1])
    same, apart = Rehearsal(surrogate, seed=1), Rehearsal(surrogate, seed=1)
    for step in range(2):
        same.learn(clean, clean, picks, seed=step)
        apart.learn(1 - clean, clean, picks, seed=step)
    assert torch.equal(same.guilty.weights.vector, same.innocent.weights.vector)
    assert torch.equal(apart.innocent.weights.vector, same.innocent.weights.vector)
    assert not torch.equal(apart.guilty.weights.vector, apart.innocent.weights.vector)
    guilty, innocent = apart.mimicries(picks, seed=3, guidance=2.0)
    assert (guilty - innocent).abs().max() > 1e-5
    assert torch.equal(weights(surrogate), before)
    assert all(p.grad is None for p in surrogate.pipeline.unet.parameters())


def test_learning_lowers_the_loss(surrogate: DiffusionSurrogate) -> None:
    twin = Twin(surrogate, rate=2e-3, seed=0)
    images, texts = pictures(4), surrogate.texts(torch.arange(4))
    # the same draw each time: only the weights change
    steps = [twin.learn(images, texts, torch.Generator().manual_seed(9)) for _ in range(8)]
    assert steps[-1] < 0.97 * steps[0]


def test_texts_are_those_of_the_images(surrogate: DiffusionSurrogate) -> None:
    found = surrogate.texts(torch.tensor([1, 1, 0]))
    expected = pipelines.encode_prompts(surrogate.pipeline, [CAPTIONS[i] for i in (1, 1, 0)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    plain = DiffusionSurrogate(surrogate.pipeline, "a photo")
    torch.testing.assert_close(plain.texts(torch.tensor([5, 0])), plain.embeddings(2))


def test_goes_on_from_its_state(surrogate: DiffusionSurrogate) -> None:
    clean, picks = pictures(2), torch.tensor([0, 2])
    first, second = Rehearsal(surrogate, seed=4), Rehearsal(surrogate, seed=4)
    first.learn(1 - clean, clean, picks, seed=0)
    second.restore(first.state())
    for rehearsal in (first, second):
        rehearsal.learn(1 - clean, clean, picks, seed=1)
    assert torch.equal(first.guilty.weights.vector, second.guilty.weights.vector)
    assert torch.equal(first.innocent.weights.vector, second.innocent.weights.vector)
    images = [r.mimicries(picks, seed=2, guidance=1.0)[0] for r in (first, second)]
    assert torch.equal(*images)


def test_the_oldest_mimicries_go(surrogate: DiffusionSurrogate) -> None:
    rehearsal = Rehearsal(surrogate)
    made = [(torch.full((2, 1), float(n)), torch.full((2, 1), -float(n))) for n in range(3)]
    for pair in made:
        rehearsal.keep(pair, at_most=5)
    assert rehearsal.recent is not None
    assert rehearsal.recent[0].flatten().tolist() == [2, 2, 1, 1, 0]
    assert rehearsal.recent[1].flatten().tolist() == [-2, -2, -1, -1, 0]
    other = Rehearsal(surrogate)
    other.restore(rehearsal.state())
    assert other.recent is not None
    assert torch.equal(other.recent[0], rehearsal.recent[0])
