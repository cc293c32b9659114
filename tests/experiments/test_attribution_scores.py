"""The linear datamodelling score, and a whole small study."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.data.dataset import ImageSet
from siren_ext.experiments import attribution_models, attribution_scores
from siren_ext.experiments.attribution_scores import app, datamodelling, open_study, rows_of
from siren_ext.personalize.config import PersonalizeConfig


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribution_scores, "REPEATS", 60)
    monkeypatch.setattr(attribution_scores, "TIMES", 2)
    monkeypatch.setattr(attribution_models, "LEVELS", 2)


def halves(models: int, images: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    order = [rng.permutation(images)[: images // 2] for _ in range(models)]
    return np.array([np.isin(np.arange(images), one) for one in order])


def test_true_scores_get_one_and_opposite_ones_minus_one() -> None:
    members, scores = halves(30, 10), np.random.default_rng(1).standard_normal((4, 10))
    losses = 0.3 - 0.001 * members @ scores.T
    assert datamodelling(scores, members, losses) == pytest.approx((1, 1, 1))
    assert datamodelling(-scores, members, losses) == pytest.approx((-1, -1, -1))
    # a monotone function of the losses changes nothing
    assert datamodelling(scores, members, np.exp(9 * losses))[0] == pytest.approx(1)


def test_it_is_the_mean_of_scipys_correlations_inside_its_interval() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(2)
    members, scores = halves(25, 8), rng.standard_normal((3, 8))
    losses = -(members @ scores.T) + 2 * rng.standard_normal((25, 3))
    value, low, high = datamodelling(scores, members, losses)
    sums = [[float(own[row].sum()) for row in members] for own in scores]  # equal sets are ties
    each = [spearmanr(sums[k], -losses[:, k]).statistic for k in range(3)]
    assert value == pytest.approx(np.mean(each))
    assert low < value < high
    flat = datamodelling(np.zeros((3, 8)), members, losses)
    assert flat == (0, 0, 0)


def test_random_scores_are_around_zero() -> None:
    members, scores = halves(40, 10), np.random.default_rng(3).standard_normal((5, 10))
    true, random = rows_of({"true": {"own": scores}}, members, {"own": -(members @ scores.T)})
    assert (true["method"], true["score"]) == ("true", 1)
    assert random["method"] == "random"
    assert random["low"] < 0 < random["high"]
    assert abs(random["score"]) < 0.2
    assert (random["models"], random["count"]) == (40, 5)


@pytest.mark.models
def test_a_small_study_ends_in_a_table_and_is_not_repeated(
    call: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    need_models()
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    data = draw_images(tmp_path / "images", 5)
    line = ["--data", data, "--base", base, "--out", tmp_path / "out", "--images", "4"]
    line += ["--others", "1", "--models", "4", "--steps", "1", "--noises", "2", "--device", "cpu"]
    code, out, err = call(*line, of=app)
    assert code == 0, err
    assert "held-out, D-TRAK, ridge 1: " in out
    with (tmp_path / "out" / "attribution.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    kinds = {row["pictures"]: row for row in rows}
    assert set(kinds) == {"generated", "held-out", "own"}
    assert {row["method"] for row in rows} == {
        *(f"{name}, ridge {ridge}" for name in ("D-TRAK", "TRAK") for ridge in (0.01, 0.1, 1, 10)),
        *("patches", "pixels", "latents", "features", "random"),
    }
    assert all(-1 <= float(row["low"]) <= float(row["high"]) <= 1 for row in rows)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("siren_ext.experiments.attribution_models.Trainer", refuse)
    training = PersonalizeConfig(
        steps=1, batch_size=4, rank=8, alpha=8.0, conv_rank=0, learning_rate=2e-3, flip=False
    )
    folder = {"base": str(base), "out": tmp_path / "out", "training": training, "device": "cpu"}
    study = open_study(ImageSet.open(data), 4, 1, **folder)
    known = study.losses(3)
    assert {kind: len(values) for kind, values in known.items()} == {
        "generated": 4,
        "held-out": 1,
        "own": 4,
    }
    with pytest.raises(AssertionError, match="trained again"):
        study.losses(4)
