"""The rehearsed infringement: twins that differ by what they learn from, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tiny_models import SIZE, need_models, shared_model

from siren_ext.diffusion import pipelines
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
    rehearsal = surrogate.rehearsal(seed=1)
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
    same, apart = surrogate.rehearsal(seed=1), surrogate.rehearsal(seed=1)
    for step in range(2):
        same.learn((clean, clean), picks, seed=step, together=16)
        apart.learn((1 - clean, clean), picks, seed=step, together=16)
    assert torch.equal(same.twins.first.weights.vector, same.twins.second.weights.vector)
    assert torch.equal(apart.twins.second.weights.vector, same.twins.second.weights.vector)
    assert not torch.equal(apart.twins.first.weights.vector, apart.twins.second.weights.vector)
    guilty, innocent = apart.mimicries(picks, seed=3, guidance=2.0)
    assert (guilty - innocent).abs().max() > 1e-5
    for rehearsal in (same, apart):
        rehearsal.close()
    assert torch.equal(weights(surrogate), before)
    assert all(p.grad is None for p in surrogate.pipeline.unet.parameters())


def test_texts_are_those_of_the_images(surrogate: DiffusionSurrogate) -> None:
    found = surrogate.texts(torch.tensor([1, 1, 0]))
    expected = pipelines.encode_prompts(surrogate.pipeline, [CAPTIONS[i] for i in (1, 1, 0)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    plain = DiffusionSurrogate(surrogate.pipeline, "a photo")
    torch.testing.assert_close(plain.texts(torch.tensor([5, 0])), plain.embeddings(2))


def test_goes_on_from_its_state(surrogate: DiffusionSurrogate) -> None:
    clean, picks = pictures(2), torch.tensor([0, 2])
    first, second = surrogate.rehearsal(seed=4), surrogate.rehearsal(seed=4)
    first.learn((1 - clean, clean), picks, seed=0, together=16)
    second.restore(first.state())
    for rehearsal in (first, second):
        rehearsal.learn((1 - clean, clean), picks, seed=1, together=16)
    assert torch.equal(first.twins.first.weights.vector, second.twins.first.weights.vector)
    assert torch.equal(first.twins.second.weights.vector, second.twins.second.weights.vector)
    images = [r.mimicries(picks, seed=2, guidance=1.0)[0] for r in (first, second)]
    assert torch.equal(*images)


def test_the_oldest_mimicries_go(surrogate: DiffusionSurrogate) -> None:
    rehearsal = surrogate.rehearsal(seed=0)
    made = [(torch.full((2, 1), float(n)), torch.full((2, 1), -float(n))) for n in range(3)]
    for number, pair in enumerate(made):
        rehearsal.message = torch.tensor([float(number)])
        rehearsal.keep(pair, at_most=5)
    assert rehearsal.pool is not None
    assert [part.flatten().tolist() for part in rehearsal.pool] == [
        [2, 2, 1, 1, 0],
        [-2, -2, -1, -1, 0],
        [2, 2, 1, 1, 0],
    ]
    other = surrogate.rehearsal(seed=0)
    other.restore(rehearsal.state())
    assert other.pool is not None
    assert all(torch.equal(*pair) for pair in zip(other.pool, rehearsal.pool, strict=True))
