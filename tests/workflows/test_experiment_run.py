"""A model of an experiment: every step is made once, and made again when its files are wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from support.stopping import StopAfter
from support.tiny_models import draw_images, need_models, shared_model

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError, ScoreError
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.workflows.cached_scores import cached_scores
from siren_ext.workflows.experiment_run import ExperimentModel, experiment_run, spread_captions
from siren_ext.workflows.run_log import RunLog

SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=32
)


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@dataclasses.dataclass
class Bench:
    """A tiny model, its training images and the places of its files."""

    model: ExperimentModel
    data: ImageSet
    coater: Coater
    out: Path

    @property
    def file(self) -> Path:
        return self.out / "scores" / "a.json"

    def run(self, units: int = 10_000) -> ScoreSet:
        log = RunLog(self.out / "study.json", "study", {})
        progress = StopAfter(units)
        return experiment_run(
            self.model, lambda: self.data, {self.file: self.coater}, log, "a", progress
        )[0]


@pytest.fixture
def bench(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    need_models()
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.suspects.base import PromptPlan

    out = tmp_path / "out"
    model = ExperimentModel(
        base=shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon"),
        plan=PromptPlan(prompts=("a cat",), count=3, steps=1),
        images=out / "images",
        training=PersonalizeConfig(steps=2, batch_size=2, rank=2, alpha=2, conv_rank=0),
        adapter=out / "a.safetensors",
        device="cpu",
    )
    data = ImageSet.open(draw_images(tmp_path / "data", 4))
    return Bench(model, data, Coater(SHAPE, seed=1), out)


@pytest.mark.models
def test_finished_steps_are_only_read_and_stopped_ones_resume(bench: Bench) -> None:
    for units in (3, 7):
        with pytest.raises(Cancelled):
            bench.run(units)
        assert not bench.file.exists()
    scores = bench.run()
    assert len(scores) == 3
    log = json.loads((bench.out / "study.json").read_text())
    assert set(log["seconds"]) == {"train a", "generate a", "score a"}
    before = times(bench.out)
    again = bench.run()
    assert (again.names, again.scores.tolist()) == (scores.names, scores.scores.tolist())
    changed = {path.name for path, when in times(bench.out).items() if before.get(path) != when}
    assert changed <= {"study.json", "provenance.json"}
    assert not list(bench.out.rglob("*.partial.json"))


@pytest.mark.models
def test_a_bare_base_model_is_not_trained(bench: Bench) -> None:
    bench.model = dataclasses.replace(bench.model, training=None, adapter=None)

    def no_data() -> ImageSet:
        raise AssertionError("no training images are needed")

    log = RunLog(bench.out / "study.json", "study", {})
    files = {bench.file: bench.coater, bench.file.with_name("b.json"): Coater(SHAPE, seed=2)}
    first, second = experiment_run(bench.model, no_data, files, log, "base")
    assert (first.hashes, len(first)) == (second.hashes, 3)
    assert first.coater != second.coater


@pytest.mark.models
def test_images_of_other_settings_are_refused(bench: Bench) -> None:
    bench.run()
    plan = dataclasses.replace(bench.model.plan, seed=7)
    bench.model = dataclasses.replace(bench.model, plan=plan)
    with pytest.raises(ConfigError, match="another model, adapter or plan"):
        bench.run()


# -- scores ---------------------------------------------------------------------------------


def test_scores_are_kept_for_the_same_images_and_coater(tmp_path: Path) -> None:
    folder, file, coater = draw_images(tmp_path / "i", 3), tmp_path / "s.json", Coater(SHAPE)
    first = cached_scores(folder, coater, file)
    when = file.stat().st_mtime_ns
    assert cached_scores(folder, coater, file).scores.tolist() == first.scores.tolist()
    assert file.stat().st_mtime_ns == when
    other = Coater(SHAPE, seed=5)
    assert cached_scores(folder, other, file).coater == other.fingerprint
    draw_images(tmp_path / "more", 4)
    (tmp_path / "more" / "3.png").rename(folder / "new.png")
    assert len(cached_scores(folder, other, file)) == 4
    file.write_text("{")
    assert len(cached_scores(folder, other, file)) == 4
    assert ScoreSet.load(file).coater == other.fingerprint


def test_scores_without_the_features_of_later_versions_are_kept(tmp_path: Path) -> None:
    folder, file, coater = draw_images(tmp_path / "i", 3), tmp_path / "s.json", Coater(SHAPE)
    old = dataclasses.replace(score_folder(folder, coater), looks=None)
    old.save(file)
    assert cached_scores(folder, coater, file).looks is None


def test_an_image_that_can_not_be_scored_is_an_error(tmp_path: Path) -> None:
    from siren_ext.suspects.base import PromptPlan

    model = ExperimentModel("none", PromptPlan(), draw_images(tmp_path / "i", 4))
    broken = model.images / "3.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(ScoreError, match=r"1 images in .* 3\.png: .*Delete the folder"):
        model.score(Coater(SHAPE), tmp_path / "s.json")


def test_prompts_are_captions_spread_over_the_set(tmp_path: Path) -> None:
    data = ImageSet.open(draw_images(tmp_path / "a", 6))
    captions = list(dict.fromkeys(data.captions()))
    assert spread_captions(data) == tuple(captions)
    assert spread_captions(data, 2) == (captions[0], captions[len(captions) // 2])
    bare = ImageSet.open(draw_images(tmp_path / "b", 3, captions=False))
    assert spread_captions(bare) == ("an image",)
