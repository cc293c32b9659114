"""The detection study, its whole chain on tiny models."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.stopping import Watched
from support.tiny_models import draw_images, need_models, shared_model
from typer.testing import CliRunner

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError
from siren_ext.experiments import stages, tables
from siren_ext.experiments.measures import LEVELS, area
from siren_ext.experiments.study import (
    DetectionConfig,
)
from siren_ext.experiments.tradeoff import plot_tradeoff, read_point

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
            bench.run("out", progress=Watched(after + 1))
        assert not (bench.folder / "out" / "detection.json").exists()
    result = bench.run("out")
    whole = bench.run("unbroken")
    for part in ("identity", "files", "models", "guilty", "innocent", "survival", "learnt"):
        assert result[part] == whole[part], part
    out = bench.folder / "out"
    assert json.loads((out / "detection.json").read_text()) == json.loads(json.dumps(result))
    _check(result, out)
    again = Watched()
    before = {p: p.stat().st_mtime_ns for p in (out / "mimicries").rglob("*.png")}
    assert bench.run("out", progress=again)["models"] == result["models"]
    assert {p: p.stat().st_mtime_ns for p in (out / "mimicries").rglob("*.png")} == before
    redone = {"Personalising", "Scoring", "Measuring", "Denoising"}
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
    watch = Watched()
    other = bench.run("two", stronger, clean=bench.folder / "one", progress=watch)
    trained = [label for label in watch.stages if label.startswith("Personalising")]
    assert trained == ["Personalising (guilty_0)"], "the clean models are there already"
    assert other["models"][0]["scores"] == first["models"][0]["scores"]
    assert other["files"]["psnr_db"]["mean"] < first["files"]["psnr_db"]["mean"]
    with pytest.raises(ConfigError, match="differs in settings"):
        bench.run("three", dataclasses.replace(TINY, mimicries=3), clean=bench.folder / "one")
    with pytest.raises(ConfigError, match="differs in strength"):
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
