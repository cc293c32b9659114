"""From a suspect to a report in one go, through the library and the command line."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.standins import A1111Standin, running

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.image_files import list_images
from siren_ext.data.images import read_picture, square_view, to_tensor, to_uint8
from siren_ext.errors import ConfigError, ScoreError
from siren_ext.keys.coating_key import CoatingKey, KeyRing
from siren_ext.report.write import ReportPaths
from siren_ext.samples.folder import sample_set
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.suspects.base import PromptPlan, Suspect, generate_images
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.open import open_suspect
from siren_ext.suspects.remote import RequestLimits
from siren_ext.suspects.responses import SuspectError
from siren_ext.verdict.config import VerifyConfig
from siren_ext.workflows.investigate import investigate

SIDE = 64
PLAN = PromptPlan(prompts=("an image",), count=16, seed=100, size=SIDE)
ALPHA = VerifyConfig(alpha=1e-4)
QUICK = RequestLimits(backoff=0.0, attempts=2)


@pytest.fixture(scope="module")
def coater() -> Coater:
    return Coater.load(coater_path("samples"))


class Imitator:
    """Draws samples, a little noisy by the seed; with the LoRA, coated ones."""

    def __init__(self, originals: list[torch.Tensor], coater: Coater) -> None:
        self.originals, self.drawn = originals, 0
        with torch.no_grad():
            self.coated = [image + coater.residual(image) for image in originals]

    def __call__(self, request: dict[str, Any]) -> Image.Image:
        self.drawn += 1
        rng = np.random.default_rng(request["seed"])
        image = (self.coated if request["lora"] else self.originals)[int(rng.integers(20))]
        noise = torch.from_numpy(rng.normal(0, 0.005, (1, 3, SIDE, SIDE)).astype(np.float32))
        return Image.fromarray(to_uint8((image + noise).clamp(0, 1)))


@pytest.fixture(scope="module")
def imitator(coater: Coater) -> Imitator:
    items = sample_set().items[:20]
    return Imitator(
        [square_view(to_tensor(read_picture(item.path).rgb), SIDE) for item in items], coater
    )


@pytest.fixture
def ui(imitator: Imitator) -> Iterator[Any]:
    with running(A1111Standin(imitator)) as standin:
        yield standin


@pytest.fixture
def plain_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """No charts: for tests that look at other things than the report."""
    paths = ReportPaths(Path("report.html"), Path("report.json"))
    monkeypatch.setattr("siren_ext.report.write.write_report", lambda *a, **k: paths)


def box(ui: Any, query: str = "", limits: RequestLimits = QUICK) -> Suspect:
    return open_suspect(f"a1111://{ui.place}{query}", limits=limits)


def reference_plan() -> PromptPlan:
    return dataclasses.replace(PLAN, count=40, seed=5000)


@pytest.fixture(scope="module")
def clean(imitator: Imitator, coater: Coater, tmp_path_factory: pytest.TempPathFactory) -> ScoreSet:
    """Scores of the web UI's model without the LoRA, at other seeds."""
    folder = tmp_path_factory.mktemp("clean")
    with running(A1111Standin(imitator)) as ui:
        generate_images(box(ui), reference_plan(), folder)
    return score_folder(folder, coater)


def test_guilty_and_innocent(ui: Any, coater: Coater, clean: ScoreSet, tmp_path: Path) -> None:
    out = tmp_path / "guilty"
    found = investigate(box(ui, "?lora=stolen"), clean, coater, PLAN, out, ALPHA)
    assert found.verdict.outcome == "coating found"
    assert len(found.suspect) == PLAN.count
    assert found.missed == ()
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["verdict"]["outcome"] == "coating found"
    assert report["suspect"]["source"]["provenance"]["suspect"]["adapter"]["file"] == "stolen"
    asked = ui.draw.drawn
    again = investigate(box(ui, "?lora=stolen"), clean, coater, PLAN, out, ALPHA)
    assert ui.draw.drawn == asked  # pictures and scores are kept
    assert np.array_equal(again.suspect.scores, found.suspect.scores)

    innocent = investigate(box(ui), clean, coater, PLAN, tmp_path / "innocent", ALPHA)
    assert innocent.verdict.outcome == "no evidence"


@pytest.mark.usefixtures("plain_report")
def test_a_reference_that_is_asked_for_the_same(ui: Any, coater: Coater, tmp_path: Path) -> None:
    found = investigate(box(ui, "?lora=stolen"), box(ui), coater, PLAN, tmp_path, ALPHA)
    assert found.verdict.outcome == "coating found"
    plans = [pool.source["provenance"]["plan"] for pool in (found.suspect, found.reference)]
    assert plans[0] == plans[1]
    assert (tmp_path / "reference.json").is_file()


def test_folders_stay_where_they_are(ui: Any, coater: Coater, clean: ScoreSet, tmp_path) -> None:
    generate_images(box(ui, "?lora=stolen"), PLAN, tmp_path / "theirs")
    theirs = FolderSuspect(tmp_path / "theirs")
    found = investigate(theirs, clean, coater, PLAN, tmp_path / "out", ALPHA)
    assert found.verdict.outcome == "coating found"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report", "suspect.json"]
    with pytest.raises(ConfigError, match="generates images on request"):
        investigate(theirs, clean, coater, PLAN, tmp_path / "o", ALPHA, stop_early=True)


@pytest.mark.usefixtures("plain_report")
def test_missed_pictures_are_told(ui: Any, coater: Coater, clean: ScoreSet, tmp_path) -> None:
    ui.faults = ["", "black"]
    found = investigate(box(ui), clean, coater, PLAN, tmp_path / "out", ALPHA)
    assert len(found.suspect) == PLAN.count - 1
    assert [name for name, _ in found.missed] == ["suspect/00001.png"]


@pytest.mark.usefixtures("plain_report")
def test_stopped_run_goes_on(ui: Any, coater: Coater, clean: ScoreSet, tmp_path: Path) -> None:
    stingy = box(ui, "?lora=stolen", RequestLimits(backoff=0, requests=9))
    with pytest.raises(SuspectError, match="limit of 9"):
        investigate(stingy, clean, coater, PLAN, tmp_path / "out", ALPHA)
    before = ui.draw.drawn
    found = investigate(box(ui, "?lora=stolen"), clean, coater, PLAN, tmp_path / "out", ALPHA)
    assert found.verdict.outcome == "coating found"
    assert ui.draw.drawn - before == PLAN.count - 8 + 1  # and the adapter is checked again


@pytest.mark.usefixtures("plain_report")
def test_stop_early(ui: Any, coater: Coater, clean: ScoreSet, tmp_path: Path) -> None:
    guilty = investigate(
        box(ui, "?lora=stolen"), clean, coater, PLAN, tmp_path / "g", ALPHA, stop_early=True
    )
    assert guilty.sequential is not None
    assert guilty.sequential.rejected
    assert guilty.verdict.outcome == "coating found"
    assert len(guilty.suspect) == guilty.sequential.images < PLAN.count
    assert len(list_images(tmp_path / "g" / "suspect")) == len(guilty.suspect)
    assert guilty.sequential.p_value <= ALPHA.alpha
    assert "only the sequential test counts" in guilty.verdict.warnings[0]
    drawn = ui.draw.drawn
    again = investigate(
        box(ui, "?lora=stolen"), clean, coater, PLAN, tmp_path / "g", ALPHA, stop_early=True
    )
    assert again.sequential == guilty.sequential
    assert ui.draw.drawn == drawn
    innocent = investigate(box(ui), clean, coater, PLAN, tmp_path / "i", ALPHA, stop_early=True)
    assert innocent.verdict.outcome == "no evidence"
    assert len(innocent.suspect) == PLAN.count


@pytest.mark.usefixtures("plain_report")
def test_too_few_pictures_for_the_sequential_test(ui, coater, clean, tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, count=3)
    found = investigate(box(ui), clean, coater, plan, tmp_path / "o", ALPHA, stop_early=True)
    assert found.verdict.outcome == "inconclusive"


def test_scores_of_another_coater(ui: Any, coater: Coater, clean: ScoreSet, tmp_path) -> None:
    other = dataclasses.replace(clean, coater="0" * 64)
    with pytest.raises(ScoreError, match="another coater"):
        investigate(box(ui), other, coater, PLAN, tmp_path / "o", ALPHA)


class Reader(Coater):
    """A keyed coater whose extractor reads one message in bright pictures, noise in others."""

    def __init__(self, signs: np.ndarray[Any, Any]) -> None:
        super().__init__(CoaterConfig(channels=8, working_size=32, message_bits=len(signs)))
        self.signs = torch.from_numpy(signs.astype(np.float32))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        rows = []
        for image in images:
            seed = int(image.double().sum() * 1e6) % 2**31
            noise = torch.randn(len(self.signs), generator=torch.Generator().manual_seed(seed))
            rows.append(noise + (2 * self.signs if image.mean() > 0.5 else 0))
        return torch.stack(rows)


def shades(request: dict[str, Any]) -> Image.Image:
    """Bright pictures with the LoRA, dark ones without it."""
    rng = np.random.default_rng(request["seed"])
    low, high = (150, 255) if request["lora"] else (0, 100)
    return Image.fromarray(rng.integers(low, high, (SIDE, SIDE, 3), dtype=np.uint8))


def test_a_key_needs_no_reference(tmp_path: Path) -> None:
    key = CoatingKey.draw(48)
    reader = Reader(key.signs())
    plan = dataclasses.replace(PLAN, count=8)
    with running(A1111Standin(shades)) as ui:
        found = investigate(
            box(ui, "?lora=stolen"), None, reader, plan, tmp_path / "g", ALPHA, key=key
        )
        assert (found.verdict.outcome, found.verdict.test) == ("coating found", "keyed")
        assert found.reference is None
        assert found.suspect.features is not None
        text = (tmp_path / "g" / "report" / "report.json").read_text()
        assert "features" not in json.loads(text)["suspect"]["images"][0]
        assert [f["test"] for f in json.loads(text)["verdict"]["findings"]] == ["keyed"]
        innocent = investigate(box(ui), None, reader, plan, tmp_path / "i", ALPHA, key=key)
        assert innocent.verdict.outcome == "no evidence"
        both = investigate(
            box(ui, "?lora=stolen"), box(ui), reader, plan, tmp_path / "b", ALPHA, key=key
        )
        assert {finding.test for finding in both.verdict.findings} == {"keyed", "ks"}


def test_impossible_tests_are_refused_before_anything_is_asked_for(
    ui: Any, coater: Coater, clean: ScoreSet, tmp_path: Path
) -> None:
    key = CoatingKey.draw(48)
    reader = Reader(key.signs())
    asked = ui.draw.drawn
    with pytest.raises(ConfigError, match="nothing to test with"):
        investigate(box(ui), None, coater, PLAN, tmp_path, ALPHA)
    with pytest.raises(ConfigError, match="carry no message"):
        investigate(box(ui), None, coater, PLAN, tmp_path, ALPHA, key=key)
    with pytest.raises(ConfigError, match=r"40 bits.*messages of 48 bits"):
        investigate(box(ui), None, reader, PLAN, tmp_path, ALPHA, key=CoatingKey.draw(40))
    with pytest.raises(ConfigError, match="and no key"):
        investigate(box(ui), None, reader, PLAN, tmp_path, ALPHA, key=key, stop_early=True)
    assert ui.draw.drawn == asked
    assert list(tmp_path.iterdir()) == []


def test_command_line(call: Any, ui: Any, clean: ScoreSet, tmp_path: Path) -> None:
    clean.save(tmp_path / "clean.json")
    line = ["investigate", "--suspect", f"a1111://{ui.place}?lora=stolen", "--coater", "samples"]
    line += ["--reference", tmp_path / "clean.json", "--out", tmp_path / "case", "-n", "16"]
    line += ["--size", "64", "--prompt", "an image", "--limit", "backoff=0", "--alpha", "1e-4"]
    code, out, err = call(*line)
    assert (code, out.splitlines()[0].partition(":")[0]) == (0, "coating found"), err
    assert str(tmp_path / "case" / "report" / "report.html") in out
    ui.faults = ["", "black"]
    line[line.index("--out") + 1] = tmp_path / "early"
    code, out, err = call(*line, "--seed", "7", "--stop-early")
    assert code == 3
    assert "sequential p" in out
    assert "suspect/00000.png" in err


def test_command_line_with_a_key(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    ring = KeyRing.draw()
    ring.save(tmp_path / "secret.key", "five words of the test")
    reader = Reader(ring.key().signs())
    monkeypatch.setattr(Coater, "load", lambda *args, **kwargs: reader)
    monkeypatch.setenv("WORDS", "five words of the test")
    with running(A1111Standin(shades)) as ui:
        line = ["investigate", "--suspect", f"a1111://{ui.place}?lora=stolen", "--coater"]
        line += ["samples", "--out", tmp_path / "case", "-n", "8", "--size", "64"]
        line += ["--limit", "backoff=0"]
        code, _, err = call(*line)
        assert (code, "a reference, a key or both" in err) == (2, True)
        line += ["--key", tmp_path / "secret.key"]
        code, _, err = call(*line)
        assert (code, "--passphrase-env" in err) == (2, True)
        code, out, err = call(*line, "--passphrase-env", "WORDS")
    assert (code, out.splitlines()[0].partition(":")[0]) == (0, "coating found"), err
    assert "keyed test: coating found" in out
    assert "bits right" in out


def test_generate_command_takes_suspects(call: Any, ui: Any, tmp_path: Path) -> None:
    common = ["-n", "2", "--size", "64", "--out", tmp_path / "o", "--limit", "requests=1"]
    code, _, err = call("generate", "--suspect", f"a1111://{ui.place}", *common)
    assert code == 2
    assert "limit of 1 requests" in err
    common[-1] = "attempts=2"
    code, out, _ = call("generate", "--suspect", f"a1111://{ui.place}", *common)
    assert (code, out) == (0, f"2 images: {tmp_path / 'o'}\n")
    for wrong, why in (
        ((), "give --base or --suspect"),
        (("--suspect", "a1111://x", "--adapter", "y"), "--adapter needs --base"),
        (("--suspect", "a1111://x", "--base", "pocket"), r"\?model="),
        (("--suspect", f"{tmp_path}/none"), "There is no"),
        (("--suspect", "https://host"), "Describe other web addresses in a TOML file"),
        (("--suspect", "a1111://x", "--limit", "speed=1"), "no setting speed"),
    ):
        code, _, err = call("generate", "--out", tmp_path / "w", *wrong)
        assert code == 2
        assert re.search(why, err), err
