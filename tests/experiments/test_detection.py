"""The detection study: its statistics on known cases, and the whole chain on tiny models."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.tiny_models import draw_images, need_models, shared_model
from torch import Tensor
from typer.testing import CliRunner

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError, ScoreError
from siren_ext.experiments import stages, tables
from siren_ext.experiments.measures import LEVELS, across_seeds, area, null_spread, rejections
from siren_ext.experiments.study import (
    DetectionConfig,
    StudyLog,
    kept,
    roster,
    spread_evenly,
    study_prompts,
)
from siren_ext.experiments.tradeoff import plot_tradeoff, read_point
from siren_ext.progress import NULL, Progress

POOLS = DetectionConfig(seeds=3, mimicries=60, reference=120, size=10, against=40, repeats=2000)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# -- statistics -----------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
)
@settings(max_examples=60)
def test_area_is_the_chance_of_a_lower_score(low: list[int], high: list[int]) -> None:
    pairs = [1.0 if a < b else 0.5 if a == b else 0.0 for a in low for b in high]
    assert area(low, high).value == pytest.approx(np.mean(pairs))
    assert area(high, low).value == pytest.approx(1 - np.mean(pairs))


def test_area_error_is_its_spread_over_new_images() -> None:
    source = rng(1)
    found = [area(source.normal(-1, 1, 40), source.normal(0, 1, 60)) for _ in range(300)]
    spread = np.std([one.value for one in found])
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.15)
    assert area([1.0], [2.0]).error == 0


def test_separated_pools_are_always_told_apart() -> None:
    found = rejections(rng().random(60) - 2, rng(1).random(120), POOLS, rng())
    assert found.shares == (1.0,) * len(LEVELS)
    assert found.pool_errors == (0.0,) * len(LEVELS)
    assert list(np.diff(found.curve) <= 0) == [True] * (len(found.curve) - 1)
    turned = rejections(rng().random(60) + 2, rng(1).random(120), POOLS, rng())
    assert turned.shares == (0.0,) * len(LEVELS), "higher scores are no evidence"


def test_pool_error_is_the_spread_over_new_pools() -> None:
    source = rng(2)
    few = dataclasses.replace(POOLS, repeats=300)
    found = [
        rejections(source.normal(-0.8, 1, 60), source.normal(0, 1, 120), few, source)
        for _ in range(40)
    ]
    shares = np.array([one.shares[0] for one in found])
    wide = np.array([one.pool_errors[0] if one.pool_errors else np.nan for one in found])
    assert np.sqrt(np.mean(wide**2)) == pytest.approx(shares.std(ddof=1), rel=0.5)
    assert np.mean([one.draw_errors[0] for one in found]) < 0.5 * shares.std()


def test_without_images_to_spare_there_is_no_pool_error() -> None:
    all_used = dataclasses.replace(POOLS, against=120)
    found = rejections(rng().random(60), rng(1).random(120), all_used, rng())
    assert found.pool_errors is None
    assert found.to_rows()[0]["se_pools"] is None


def test_innocent_studies_stay_near_the_stated_risk() -> None:
    null = null_spread(POOLS, rng(3), studies=120)
    for level, share, error in zip(
        LEVELS[:2], null.shares.mean(axis=0), null.errors(), strict=False
    ):
        assert share <= level + 3 * error / np.sqrt(len(null.shares))
        alone = np.sqrt(level * (1 - level) / (POOLS.seeds * POOLS.repeats))
        assert error > 3 * alone, "draws from one pool are not independent"
    assert np.all(null.chance(np.zeros(len(LEVELS))) == 1)
    assert np.all(null.chance(np.ones(len(LEVELS))) < 0.01)


def test_mean_over_seeds() -> None:
    row = across_seeds([[0.2] * 5, [0.4] * 5])[0]
    assert row["mean"] == pytest.approx(0.3)
    assert row["se_seeds"] == pytest.approx(0.1)
    assert (row["lowest"], row["highest"], row["alpha"]) == (0.2, 0.4, LEVELS[0])
    assert across_seeds([[0.2] * 5])[0]["se_seeds"] is None


# -- the plan -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"size": 151}, "mimicries"),
        ({"against": 301}, "reference"),
        ({"seeds": 0}, "seeds"),
        ({"seed": 0}, "seed"),
        ({"prompt_source": "dreams"}, "prompt_source"),
        ({"levels": (0.5,)}, "levels"),
    ],
)
def test_impossible_plans_fail_before_any_work(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        DetectionConfig(**change)


def test_no_two_models_share_a_seed() -> None:
    models = [m for seed in (1, 2) for m in roster(DetectionConfig(seeds=400, seed=seed))]
    assert len({model.training_seed for model in models}) == len(models)
    ends = sorted((m.noise_seed, m.noise_seed + m.images) for m in models)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
    assert [m.name for m in models[:3]] == ["reference", "guilty_0", "innocent_0"]
    assert roster(DetectionConfig(seeds=5))[:3] == roster(DetectionConfig(seeds=1))


def test_prompts(tmp_path: Path) -> None:
    captioned = ImageSet.open(draw_images(tmp_path / "a", 6))
    bare = ImageSet.open(draw_images(tmp_path / "b", 3, captions=False))
    some = study_prompts(captioned, "cat", DetectionConfig(prompt_count=2))
    assert len(set(some)) == 2
    assert set(some) <= set(captioned.captions())
    assert study_prompts(bare, " cat ", DetectionConfig()) == ("an image of cat",)
    by_class = DetectionConfig(prompt_source="class")
    assert study_prompts(captioned, "cat", by_class) == ("an image of cat",)
    assert study_prompts(bare, "cat", DetectionConfig(prompts=("x", "y"))) == ("x", "y")
    with pytest.raises(ConfigError, match="class word"):
        study_prompts(bare, "  ", DetectionConfig())


def test_spread_evenly() -> None:
    assert spread_evenly(range(10), 4) == [0, 3, 6, 9]
    assert spread_evenly(range(3), 0) == spread_evenly(range(3), 9) == [0, 1, 2]
    assert spread_evenly(range(3), 1) == [0]
    assert spread_evenly([], 3) == []


def test_folder_is_bound_to_one_study(tmp_path: Path) -> None:
    with StudyLog(tmp_path / "a", {"coater": "x", "prompts": ("p",)}).step("coat"):
        pass
    again = StudyLog(tmp_path / "a", {"coater": "x", "prompts": ("p",)})
    assert "coat" in again.costs()["seconds"]
    StudyLog(tmp_path / "a", {"prompts": ("p",)})  # what is shared need not know the coater
    with pytest.raises(ConfigError, match="another coater"):
        StudyLog(tmp_path / "a", {"coater": "y", "prompts": ("p",)})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not of a study"):
        StudyLog(tmp_path / "b", {})
    (tmp_path / "a" / "study.json").write_text("[]")
    with pytest.raises(ConfigError, match="can't be read"):
        StudyLog(tmp_path / "a", {})


def test_kept_values_are_made_once_per_key(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    path = tmp_path / "kept.json"
    assert [kept(path, key, make) for key in ("a", "a", "b", "b")] == [1, 1, 2, 2]
    path.write_text("{")
    assert kept(path, "b", make) == 3


# -- where the signal is lost ---------------------------------------------------------------


class Eye:
    """A coater that sees brightness: dark is coated."""

    device = torch.device("cpu")

    def score(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))


class Mirror:
    """A surrogate that keeps half of everything in its autoencoder and nothing in noise."""

    resolution = 16
    kept = torch.linspace(1, 0, 500)

    def round_trip(self, images: Tensor) -> Tensor:
        return 0.5 * images

    def renoise(self, images: Tensor, low: int, high: int, *, generator: torch.Generator) -> Tensor:
        assert high == low + 1
        return torch.rand(images.shape, generator=generator)


def test_survival_of_a_known_surrogate(tmp_path: Path) -> None:
    pairs = []
    for number in range(10):
        level = 100 + number
        for name, value in (("clean", level), ("coated", level - 20)):
            Image.new("RGB", (24, 20), (value,) * 3).save(tmp_path / f"{name}{number}.png")
        pairs.append((tmp_path / f"clean{number}.png", tmp_path / f"coated{number}.png"))
    mirror: Any = Mirror()
    eye: Any = Eye()
    assert stages.usable_levels(mirror, (50, 499, 500, 900)) == (50, 499)
    rows = stages.survival(pairs, mirror, eye, (50,), seed=1, progress=NULL)
    assert [row["stage"] for row in rows] == [
        stages.AS_WRITTEN,
        stages.RESIZED,
        stages.ROUND_TRIP,
        stages.denoised(50),
    ]
    assert [row["auc"] for row in rows] == [1, 1, 1, 0.5], "equal noise for coated and clean"
    assert rows[0]["kept"] is None
    assert [row["kept"] for row in rows[1:]] == pytest.approx([1, 0.5, 0], abs=1e-5)
    clean = [pair[0] for pair in pairs]
    options = {"seed": 1, "progress": NULL}
    first = stages.denoised_scores(clean, mirror, eye, (50,), **options)
    second = stages.denoised_scores(clean, mirror, eye, (50,), **options)
    assert first == second, "both models get equal noise"
    assert stages.learnt(first, second)[0]["auc"] == 0.5
    assert len(first[stages.denoised(50)]) == 10


# -- the whole chain ------------------------------------------------------------------------


class Stop(Progress):
    """Cancels after so many units of work; remembers the stages."""

    def __init__(self, after: int | None = None) -> None:
        self.left = after
        self.stages: list[str] = []
        super().__init__(self._asked)

    def _asked(self) -> bool:
        if self.left is None:
            return False
        self.left -= 1
        return self.left < 0

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.stages.append(label if done != total else f"{label}: all done")


TINY = DetectionConfig(
    seeds=1,
    mimicries=4,
    reference=5,
    size=2,
    against=3,
    repeats=50,
    prompt_count=2,
    sampling_steps=2,
    images=6,
    stage_images=4,
    levels=(50, 400),
)


@dataclasses.dataclass
class Bench:
    """What the tests of the chain run on."""

    folder: Path
    base: Path
    coater: Any
    training: Any

    def run(self, out: str, config: DetectionConfig = TINY, **options: Any) -> dict[str, Any]:
        from siren_ext.experiments.detection import run_detection

        data = ImageSet.open(self.folder / "images")
        return run_detection(
            data,
            self.coater,
            "cat",
            self.folder / out,
            config,
            base=self.base,
            training=self.training,
            device="cpu",
            **options,
        )


@pytest.fixture
def bench(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    need_models()
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.personalize.config import PersonalizeConfig

    draw_images(tmp_path / "images", 6)
    shape = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=32
    )
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    training = PersonalizeConfig(steps=2, batch_size=2, rank=2, alpha=2, conv_rank=0)
    return Bench(tmp_path, base, Coater(shape, seed=1), training)


@pytest.mark.slow
@pytest.mark.models
def test_stopped_study_goes_on_and_ends_the_same(bench: Bench) -> None:
    for after in (3, 22, 45):
        with pytest.raises(Cancelled):
            bench.run("out", progress=Stop(after))
        assert not (bench.folder / "out" / "detection.json").exists()
    result = bench.run("out")
    whole = bench.run("unbroken")
    for part in ("identity", "files", "models", "guilty", "innocent", "survival", "learnt"):
        assert result[part] == whole[part], part
    out = bench.folder / "out"
    assert json.loads((out / "detection.json").read_text()) == json.loads(json.dumps(result))
    _check(result, out)
    again = Stop()
    before = {p: p.stat().st_mtime_ns for p in (out / "mimicries").rglob("*.png")}
    assert bench.run("out", progress=again)["models"] == result["models"]
    assert {p: p.stat().st_mtime_ns for p in (out / "mimicries").rglob("*.png")} == before
    redone = {"Personalising", "Scoring", "Measuring", "Looking", "Denoising"}
    assert not [label for label in again.stages if label.split()[0] in redone]


def _check(result: dict[str, Any], out: Path) -> None:
    roles = [model["role"] for model in result["models"]]
    assert roles == ["reference", "guilty", "innocent"]
    assert [len(model["scores"]) for model in result["models"]] == [5, 4, 4]
    assert len({model["adapter"] for model in result["models"]}) == 3
    guilty = result["models"][1]
    assert guilty["auc"] == area(guilty["scores"], result["models"][0]["scores"]).value
    assert guilty["verdict"]["outcome"] == "inconclusive", "so few images can't reach 1e-6"
    assert [row["alpha"] for row in result["guilty"]] == list(LEVELS)
    assert 20 < result["files"]["psnr_db"]["worst"] <= result["files"]["psnr_db"]["mean"]
    assert [row["stage"] for row in result["learnt"]] == [
        stages.denoised(50),
        stages.denoised(400),
    ]
    assert "torch" in result["environment"]
    with (out / "detection.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["model"] for row in rows] == ["reference", "guilty_0", "innocent_0"]
    assert float(rows[1]["auc"]) == guilty["auc"]
    for figure in json.loads((out / "figures.json").read_text()):
        assert set(figure) == {"figure", "target", "measured"}
        assert all(isinstance(text, str) and text for text in figure.values())
    for name in ("detection.png", "samples.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 300
    assert "guilty_0" in tables.summary_text(result)
    assert not list(out.rglob(".part-*"))
    assert str(out.resolve().parent) not in (out / "detection.json").read_text()


@pytest.mark.slow
@pytest.mark.models
def test_more_seeds_and_a_shared_folder_of_clean_models(bench: Bench) -> None:
    first = bench.run("one")
    two = dataclasses.replace(TINY, seeds=2, against=4)
    more = bench.run("one", two)
    assert [model["model"] for model in more["models"]] == [
        *("reference", "guilty_0", "innocent_0", "guilty_1", "innocent_1")
    ]
    assert more["models"][1]["scores"] == first["models"][1]["scores"]
    stronger = dataclasses.replace(TINY, strength=2.0)
    watch = Stop()
    other = bench.run("two", stronger, clean=bench.folder / "one", progress=watch)
    trained = [label for label in watch.stages if label.startswith("Personalising")]
    assert trained == ["Personalising (guilty_0)"], "the clean models are there already"
    assert other["models"][0]["scores"] == first["models"][0]["scores"]
    assert other["files"]["psnr_db"]["mean"] < first["files"]["psnr_db"]["mean"]
    with pytest.raises(ConfigError, match="another settings"):
        bench.run("three", dataclasses.replace(TINY, mimicries=3), clean=bench.folder / "one")
    with pytest.raises(ConfigError, match="another strength"):
        bench.run("one", stronger)
    points = [read_point(bench.folder / name / "detection.json") for name in ("one", "two")]
    assert points[0]["psnr_db"] > points[1]["psnr_db"]
    plot_tradeoff(points, bench.folder / "tradeoff.png")
    with Image.open(bench.folder / "tradeoff.png") as picture:
        assert min(picture.size) > 300


@pytest.mark.models
def test_commands(bench: Bench) -> None:
    from siren_ext.experiments import detection, tradeoff

    bench.coater.save(bench.folder / "c.safetensors")
    words = f"--data {bench.folder}/images --coater {bench.folder}/c.safetensors --class-word cat "
    words += f"--out {bench.folder}/cli --base {bench.base} --seeds 1 --steps 2 --mimicries 3 "
    words += "--reference 4 --set size=2 --set against=3 --set repeats=20 --set sampling_steps=1 "
    words += "--set stage_images=2 --set training.rank=2 --set training.batch_size=2 --device cpu "
    words += "--prompt cat --name toys --no-targets --quiet"
    done = CliRunner().invoke(detection.app, words.split())
    assert done.exit_code == 0, (done.output, done.exception)
    assert "guilty models rejected" in done.output
    found = bench.folder / "cli" / "detection.json"
    assert json.loads(found.read_text())["identity"]["training"]["rank"] == 2
    rows = json.loads((found.parent / "figures.json").read_text())
    assert {row["target"] for row in rows} == {"reported"}
    assert all(row["figure"].startswith("toys: ") for row in rows)
    picture = bench.folder / "t.png"
    done = CliRunner().invoke(tradeoff.app, [str(found), "--out", str(picture)])
    assert done.exit_code == 0, (done.output, done.exception)
    assert picture.is_file()
    assert picture.with_suffix(".csv").read_text().startswith("study,set,psnr_db")
    refused = CliRunner().invoke(detection.app, [*words.split(), "--strength", "2"])
    assert refused.exit_code == 2


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": "siren_ext.detection", "version": 1}'])
def test_tradeoff_refuses_other_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "detection.json"
    path.write_text(text)
    with pytest.raises(ScoreError, match=r"detection\.json"):
        read_point(path)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.975, "97.5 %"), (0.9999, "99.99 %"), (0.0003, "0.03 %")],
)
def test_percent(share: float, text: str) -> None:
    assert tables.percent(share) == text
