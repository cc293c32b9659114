"""The discriminator: split by model, threshold from innocent models, and its figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.toy_source import SIDE, toy_model, write_scenes

from siren_ext.attribution import shadow
from siren_ext.attribution.distances import l2
from siren_ext.attribution.key_queries import Asking, KeySample
from siren_ext.attribution.shadow import (
    find,
    first_embeddings,
    folds_of,
    query_vectors,
    rates,
    threshold_at,
)
from siren_ext.attribution.source_config import ShadowConfig, SourceConfig
from siren_ext.errors import ScoreError


def models(count: int, gap: float, seed: int) -> list[np.ndarray]:
    """Vectors of models; a gap moves two of six features, and each model differs by itself."""
    rng = np.random.default_rng(seed)
    shift = np.array([gap, -gap, 0, 0, 0, 0])
    return [rng.normal(size=(30, 6)) + shift + 0.2 * rng.normal(size=6) for _ in range(count)]


@pytest.mark.parametrize("discriminator", ["logistic", "mlp"])
def test_separable_models_are_told_apart(discriminator: str) -> None:
    config = ShadowConfig.from_dict({"discriminator": discriminator, "epochs": 8, "folds": 2})
    known, innocent = models(10, 1.0, 1), models(10, 0.0, 2)
    guilty = find(models(1, 1.0, 3)[0], known, innocent, config)
    assert guilty.auc >= 0.9
    assert guilty.above
    assert guilty.p_value == 1 / 11
    clear = find(models(1, 0.0, 4)[0], known, innocent, config)
    assert clear.score < guilty.score
    assert not clear.above
    assert clear.to_dict()["above"] is False
    again = find(models(1, 0.0, 4)[0], known, innocent, config)
    assert again == clear


def test_no_model_is_scored_by_a_discriminator_that_has_seen_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, innocent = models(4, 0.0, 1), models(5, 0.0, 2)
    names = {id(one): number for number, one in enumerate([*known, *innocent])}
    scored: list[tuple[set[int], int]] = []

    def fit(given, trained, config):
        seen = {names[id(one)] for one in given}
        assert [number < 4 for number in (names[id(one)] for one in given)] == list(trained)

        def score(vectors):
            if id(vectors) in names:
                scored.append((seen, names[id(vectors)]))
            return 0.0

        return score

    monkeypatch.setitem(shadow.FITS, "logistic", fit)
    find(models(1, 0, 9)[0], known, innocent, ShadowConfig(folds=3))
    assert sorted(number for _, number in scored) == list(range(9))
    assert all(number not in seen for seen, number in scored)


def test_folds_hold_every_model_once_and_both_kinds() -> None:
    trained = [True] * 7 + [False] * 4
    parts = folds_of(trained, 5, 0)
    assert len(parts) == 4
    assert sorted(number for part in parts for number in part) == list(range(11))
    assert all({trained[number] for number in part} == {True, False} for part in parts)


def test_the_threshold_comes_from_innocent_models_alone() -> None:
    innocent = np.arange(10.0)
    assert threshold_at(innocent, 0.1) == 8
    assert (innocent > threshold_at(innocent, 0.1)).mean() == 0.1
    assert threshold_at(np.arange(5.0), 0.1) == 4  # too few for one in ten
    with pytest.raises(ScoreError, match="no score of an innocent model"):
        threshold_at(np.empty(0), 0.1)


def test_figures_equal_their_definitions() -> None:
    known, innocent = np.array([0.9, 0.8, 0.35, 0.1]), np.array([0.4, 0.3, 0.2, 0.05])
    found = rates(known, innocent, 0.25)
    pairs = [(a > b) + 0.5 * (a == b) for a in known for b in innocent]
    assert found["auc"] == np.mean(pairs)
    assert found["tpr"] == 0.75  # above 0.3
    assert found["accuracy"] == (3 + 3) / 8


def test_too_few_models_and_unlike_vectors_are_refused() -> None:
    few, enough = models(2, 0, 1), models(3, 0, 2)
    with pytest.raises(ScoreError, match="There are 2 models that were trained"):
        find(enough[0], few, enough)
    with pytest.raises(ScoreError, match="different lengths"):
        find(enough[0][:, :5], enough, enough)


def test_vectors_of_answers(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "keys", range(3))
    keys = [KeySample(item.path, item.caption or "", item.name) for item in data.items]
    asking = Asking(SourceConfig(repeats=2), "img2img", l2, SIDE, tmp_path / "answers")
    source = asking.answers("source", toy_model("source", [0, 1, 2]), keys)
    own = asking.answers("m", toy_model("m", [0, 1]), keys)

    def embed(pictures):
        return pictures.mean((2, 3)).double().numpy()

    reference = first_embeddings(source, embed, SIDE)
    found = query_vectors(own, first_embeddings(own, embed, SIDE), reference)
    assert found.shape == (3, 6)
    np.testing.assert_allclose(found[:, 4], own.nearest)
    np.testing.assert_allclose(found[:, 5], own.distances.mean(1))
    assert (found[:, 3] > 0.9).all()
    # a key sample without an answer says nothing
    own.distances[2] = np.nan
    holed = type(own)(own.distances, (*own.files[:2], ()), own.requests)
    found = query_vectors(holed, first_embeddings(holed, embed, SIDE), reference)
    np.testing.assert_allclose(found[2], found[:2].mean(0))
    nothing = type(own)(np.full((3, 2), np.nan), ((), (), ()), 6)
    with pytest.raises(ScoreError, match="returned no picture for any key sample"):
        query_vectors(nothing, first_embeddings(nothing, embed, SIDE), reference)
