"""Keyed against unkeyed coating: shares of known pools, and two tiny studies end to end."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.score_sets import pool
from typer.testing import CliRunner

from siren_ext.errors import ScoreError
from siren_ext.experiments.keyed_comparison import KEYED, KS, LEVELS, keyed_rejections, read_study
from siren_ext.experiments.study import experiment_key
from siren_ext.scoring.score_set import ScoreSet

BITS = 24


def features(signal: float, seed: int, count: int = 60) -> np.ndarray:
    message = experiment_key(1, BITS).signs()
    noise = np.random.default_rng(seed).normal(0, 3, (count, BITS))
    return noise + signal * message


def write_study(folder: Path, *, keyed: bool) -> Path:
    """A study of one seed: the guilty model is caught, the innocent one is not."""
    (folder / "scores").mkdir(parents=True)
    roles = {"reference": "reference", "guilty_0": "guilty", "innocent_0": "innocent"}
    for number, (name, role) in enumerate(roles.items()):
        low = -3.0 * (role == "guilty")
        scores = np.random.default_rng(number).normal(low, 1, 60)
        table = features(1.5 * (role == "guilty"), number) if keyed else None
        made = pool(scores, hashed=False, features=table)
        made.save(folder / "scores" / f"{name}.json")
    result = {
        "format": "siren_ext.detection",
        "version": 1,
        "name": "toys",
        "coater_settings": {"message_bits": BITS} if keyed else {},
        "protocol": {"size": 20, "against": 40, "repeats": 200, "seed": 1, "low_end": 1},
        "files": {"psnr_db": {"mean": 38.5}, "local_de00_p99": {"mean": 2.0}},
        "models": [{"model": name, "role": role} for name, role in roles.items()],
    }
    (folder / "detection.json").write_text(json.dumps(result), encoding="utf-8")
    return folder


def test_keyed_shares_follow_the_signal_and_the_stated_risk() -> None:
    message = experiment_key(1, BITS).signs()
    options: dict[str, Any] = {"size": 20, "repeats": 150, "rng": np.random.default_rng(0)}
    guilty = keyed_rejections(features(1.5, 1), message, **options)
    assert (guilty <= 1e-4).mean() > 0.9
    assert guilty.min() > 0.5**BITS / 2
    rates = []
    for seed in range(30):
        innocent = keyed_rejections(
            features(0, 100 + seed), message, size=20, repeats=5, rng=options["rng"]
        )
        rates.append((innocent <= 0.05).mean())
    assert np.mean(rates) < 0.2
    assert experiment_key(1, BITS) == experiment_key(1, BITS) != experiment_key(2, BITS)


def test_studies_give_a_row_per_test(tmp_path: Path) -> None:
    unkeyed = read_study(write_study(tmp_path / "u", keyed=False))
    assert [(row["coater"], row["test"]) for row in unkeyed] == [("unkeyed", KS)]
    keyed = read_study(write_study(tmp_path / "k", keyed=True), keyed_repeats=100)
    assert [(row["coater"], row["test"]) for row in keyed] == [("keyed", KS), ("keyed", KEYED)]
    assert keyed[1]["guilty_largest_p_all"] < 1e-5 < 0.01 < keyed[1]["innocent_smallest_p_all"]
    for row in (*unkeyed, *keyed):
        assert row["guilty_at_0.01"] == row["lowest_at_0.01"] > 0.95
        assert row["innocent_at_0.001"] < 0.05
        shares = [row[f"guilty_at_{level:g}"] for level in LEVELS]
        assert shares == sorted(shares, reverse=True)
        assert (row["set"], row["psnr_db"], row["images"]) == ("toys", 38.5, 20)


def test_the_command_writes_table_and_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from siren_ext.experiments import keyed_comparison as module

    monkeypatch.setattr(module.read_study, "__kwdefaults__", {"keyed_repeats": 50})
    folders = [str(write_study(tmp_path / name, keyed=name == "k")) for name in "uk"]
    out = tmp_path / "results" / "keyed.csv"
    done = CliRunner().invoke(module.app, [*folders, "--out", str(out)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "toys, keyed at 38.5 dB, keyed, no reference: caught" in done.output
    assert "on all images: guilty p <= " in done.output
    with out.open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 3
    with Image.open(out.with_suffix(".png")) as picture:
        assert min(picture.size) > 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "has the format 'other'; expected 'siren_ext.detection'"),
        ({"version": 0}, "has the version 0; expected 1"),
        ({"files": {}}, "files has no psnr_db; expected named values"),
        ({"files": {"psnr_db": {"mean": "x"}}}, "files.psnr_db.mean is 'x'; expected a number"),
        ({"protocol": {}}, "protocol has no size; expected a whole number of at least 1"),
        ({"models": [{"model": "a", "role": "b"}]}, r"models\[0\].role is 'b'; expected one of"),
        ({"models": []}, "models of the kinds none; expected guilty, innocent and reference"),
        ({"coater_settings": {"message_bits": "x"}}, "coater_settings: .*message_bits is 'x'"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    folder = write_study(tmp_path / "k", keyed=True)
    path = folder / "detection.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    with pytest.raises(ScoreError, match=rf"detection\.json.*{words}"):
        read_study(folder)


def test_scores_without_features_are_refused(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "k", keyed=True)
    path = folder / "scores" / "guilty_0.json"
    dataclasses.replace(ScoreSet.load(path), features=None).save(path)
    with pytest.raises(ScoreError, match="hold no features"):
        read_study(folder, keyed_repeats=5)


@pytest.mark.slow
@pytest.mark.models
def test_a_study_of_a_keyed_coater(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from support.tiny_models import draw_images, need_models, shared_model

    need_models()
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest
    from siren_ext.data.dataset import ImageSet
    from siren_ext.experiments.detection import run_detection
    from siren_ext.experiments.study import DetectionConfig
    from siren_ext.personalize.config import PersonalizeConfig

    data = ImageSet.open(draw_images(tmp_path / "images", 4))
    shape = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, working_size=32, message_bits=8
    )
    config = DetectionConfig(
        seeds=1,
        mimicries=3,
        reference=3,
        size=2,
        against=3,
        repeats=20,
        prompt_count=1,
        sampling_steps=1,
        stage_images=2,
        levels=(50,),
    )
    run_detection(
        data,
        Coater(shape, seed=1),
        "cat",
        tmp_path / "out",
        config,
        base=shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon"),
        training=PersonalizeConfig(steps=1, batch_size=2, rank=2, alpha=2, conv_rank=0),
        device="cpu",
    )
    manifest = CoatManifest.load(tmp_path / "out" / "coated" / MANIFEST_NAME)
    assert manifest.key == experiment_key(config.seed, 8).fingerprint()
    rows = read_study(tmp_path / "out", keyed_repeats=10)
    assert [row["test"] for row in rows] == [KS, KEYED]
