"""The steps behind the panels: coat, judge, check a report, and what the cards say."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.stopping import StopAfter

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError, ImageError, ScoreError
from siren_ext.panels import html as cards
from siren_ext.panels.actions import before_after, coat_step, verify_step
from siren_ext.panels.host import PanelHost
from siren_ext.panels.lora import NO_LORA, ImageRequest, lora_step, prompt_lines, reference_remark
from siren_ext.panels.recheck import recheck_step
from siren_ext.panels.train import coater_file as coater_path
from siren_ext.panels.verify import reference_path, verdict_values
from siren_ext.progress import NULL, Progress


def test_coated_files_are_those_of_the_archive(host: PanelHost, pictures: Path) -> None:
    job = host.jobs.new("t")
    coater = host.coaters.load("mine.safetensors")
    data = ImageSet.open(pictures)
    done = coat_step(data, coater, job)
    with zipfile.ZipFile(done.archive) as archive:
        names = set(archive.namelist())
        assert names == {f"p{i}.{kind}" for i in range(5) for kind in ("png", "txt")}
        assert archive.read("p0.png") == done.files[0].read_bytes()
    assert done.record.is_file()
    assert done.record.name not in names  # it tells which images are coated
    tiles = before_after(done, data, job)
    assert len(tiles) == 3
    assert all(Path(path).suffix == ".png" for path, _ in tiles)
    card = cards.coat_card(done)
    assert "5 images coated" in card
    assert "dB" in card


def test_stop_keeps_what_is_finished(host: PanelHost, pictures: Path) -> None:
    coater = host.coaters.load("mine.safetensors")
    data = ImageSet.open(pictures)
    with pytest.raises(Cancelled):
        coat_step(data, coater, host.jobs.new("t"), progress=StopAfter(3))
    done = coat_step(data, coater, host.jobs.new("t"), progress=StopAfter(7))
    assert done.stopped
    assert done.files
    assert all(path.is_file() for path in done.files)
    assert "then stopped" in cards.coat_card(done)


def test_bad_files_are_named_not_fatal(host: PanelHost, pictures: Path) -> None:
    (pictures / "<b>.png").write_bytes(b"no image")
    done = coat_step(
        ImageSet.open(pictures), host.coaters.load("mine.safetensors"), host.jobs.new("t")
    )
    assert len(done.files) == 5
    card = cards.coat_card(done)
    assert "&lt;b&gt;.png" in card
    assert "<b>.png" not in card


def test_only_bad_files(host: PanelHost, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"None of the images.*a\.png"):
        coat_step(ImageSet.open(folder), host.coaters.load("mine.safetensors"), host.jobs.new("t"))


def pool(folder: Path, count: int, seed: int, level: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(count):
        pixels = rng.integers(0, level, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_a_verdict_with_report_and_tiles(host: PanelHost, tmp_path: Path) -> None:
    first, second = pool(tmp_path / "s", 9, 1, 255), pool(tmp_path / "r", 10, 2, 60)
    coater = host.coaters.load("mine.safetensors")
    job = host.jobs.new("t")
    verification = verify_step(first, second, coater, job, alpha=1e-3)
    swapped = verify_step(second, first, coater, host.jobs.new("t"), alpha=1e-3)
    assert {verification.verdict.outcome, swapped.verdict.outcome} == {
        "coating found",
        "no evidence",
    }
    assert verification.report.html.is_file()
    order = sorted(verification.suspect.scores)
    assert len(verification.lowest) == len(verification.highest) == 4
    assert f"lowest: {order[0]:.3g}" in verification.lowest[0][1]
    assert f"highest: {order[-1]:.3g}" in verification.highest[-1][1]
    card = cards.verdict_card(verification.verdict, "a <remark>")
    assert verification.verdict.outcome in card
    assert "a &lt;remark&gt;" in card
    charts = cards.chart_card(verification.verdict, verification.suspect, verification.reference)
    assert charts.count("<svg") == 2


def test_scores_stand_in_for_reference_images(host: PanelHost, tmp_path: Path) -> None:
    first, second = pool(tmp_path / "s", 5, 1, 255), pool(tmp_path / "r", 6, 2, 255)
    coater = host.coaters.load("mine.safetensors")
    direct = verify_step(first, second, coater, host.jobs.new("t"))
    scores = tmp_path / "clean.json"
    direct.reference.save(scores)
    assert reference_path([str(scores)], "", host, tmp_path / "job") == scores
    again = verify_step(first, scores, coater, host.jobs.new("t"))
    assert again.verdict.finding == direct.verdict.finding
    other = host.coaters.load("samples")
    with pytest.raises(ScoreError, match="another coater"):
        verify_step(first, scores, other, host.jobs.new("t"))


def test_a_report_is_computed_again(host: PanelHost, tmp_path: Path) -> None:
    first, second = pool(tmp_path / "s", 6, 1, 255), pool(tmp_path / "r", 6, 2, 255)
    verification = verify_step(
        first, second, host.coaters.load("mine.safetensors"), host.jobs.new("t"), alpha=1e-2
    )
    assert recheck_step(verification.report.json).agrees
    data = json.loads(verification.report.json.read_text(encoding="utf-8"))
    data["verdict"]["finding"]["p_value"] = 1e-9
    data["verdict"]["outcome"] = "coating found"
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(data), encoding="utf-8")
    found = recheck_step(forged)
    assert not found.agrees
    assert found.verdict.outcome == verification.verdict.outcome


@pytest.mark.parametrize(
    "content", ["[]", '{"format": "x"}', '{"format": "siren_ext.report"}', "{", '{"a": NaN}']
)
def test_what_is_no_report(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ScoreError):
        recheck_step(path)


class FakeGenerator:
    """Draws noise: darker with a LoRA than without."""

    def __init__(self) -> None:
        self.requests: list[ImageRequest] = []

    def checkpoints(self) -> list[str]:
        return ["tiny"]

    def loras(self) -> list[str]:
        return ["accused", "clean"]

    def generate(self, request: ImageRequest, out: Path, progress: Progress) -> dict[str, object]:
        self.requests.append(request)
        pool(out, request.count, request.seed + len(request.loras), 60 if request.loras else 255)
        return {"prompts": list(request.prompts), "steps": request.steps}


def request(**changes: object) -> ImageRequest:
    values = {
        "checkpoint": "tiny", "loras": (("accused", 1.0),), "prompts": ("a dog",), "count": 6,
        "seed": 5, "steps": 3, "guidance": 7.0, "size": 64,
    }  # fmt: skip
    return ImageRequest(**{**values, **changes})


def test_a_lora_is_tested_at_equal_settings(host: PanelHost) -> None:
    generator = FakeGenerator()
    coater = host.coaters.load("mine.safetensors")
    done = lora_step(generator, request(), (), 7, coater, host.jobs.new("t"), alpha=1e-2)
    card, charts, report, low, high = verdict_values(done, reference_remark(()))
    first, second = generator.requests
    assert (first.loras, second.loras) == ((("accused", 1.0),), ())
    assert (first.seed, first.steps, first.prompts) == (second.seed, second.steps, second.prompts)
    assert (first.count, second.count) == (6, 7)
    assert "6 against 7" in card
    assert "without a LoRA" in card
    assert "prompts are not recorded" not in card
    assert charts
    assert len(report) == 2
    assert low
    assert high


def test_a_clean_lora_as_the_reference(host: PanelHost) -> None:
    generator = FakeGenerator()
    coater, clean = host.coaters.load("mine.safetensors"), (("clean", 1.0),)
    done = lora_step(generator, request(), clean, 6, coater, host.jobs.new("t"), alpha=1e-2)
    assert generator.requests[1].loras == (("clean", 1.0),)
    assert [made.role for made in generator.requests] == ["suspicious model", "reference"]
    assert "without a LoRA" not in verdict_values(done, reference_remark(clean))[0]


@pytest.mark.parametrize(
    ("changes", "clean", "words"),
    [
        ({"loras": ()}, (), "No suspicious LoRA"),
        ({}, (("accused", 1.0),), "the suspicious LoRA itself"),
    ],
)
def test_impossible_requests_are_refused(
    host: PanelHost, changes: dict, clean: tuple, words: str
) -> None:
    coater, generator = host.coaters.load("mine.safetensors"), FakeGenerator()
    with pytest.raises(ConfigError, match=words):
        lora_step(generator, request(**changes), clean, 6, coater, host.jobs.new("t"), alpha=1e-2)
    assert generator.requests == []


def test_prompts_are_lines() -> None:
    assert prompt_lines(" a dog \n\n a cat\n") == ("a dog", "a cat")
    with pytest.raises(ConfigError, match="No prompt"):
        prompt_lines(" \n")
    assert NO_LORA.startswith("none")


@pytest.mark.parametrize("title", ["", "../x", "a/b", "-", "x" * 65, "a\nb"])
def test_names_of_new_coaters(tmp_path: Path, title: str) -> None:
    from siren_ext.errors import CoaterError

    with pytest.raises(CoaterError):
        coater_path(title, tmp_path)


def test_a_coater_is_never_overwritten(tmp_path: Path) -> None:
    from siren_ext.errors import CoaterError

    path = coater_path("mine", tmp_path)
    assert path == tmp_path / "mine.safetensors"
    path.write_bytes(b"x")
    with pytest.raises(CoaterError, match="already"):
        coater_path("mine.safetensors", tmp_path)


def test_failures_become_messages() -> None:
    def fail() -> tuple[str]:
        raise ScoreError("<b>bad</b> /home/someone/secret/file.png")

    def break_down() -> tuple[str]:
        raise ZeroDivisionError

    text, blank = cards.attempt(fail, (None,))
    assert "&lt;b&gt;bad" in text
    assert "/home/someone" not in text
    assert blank is None
    assert "ZeroDivisionError" in cards.attempt(break_down, ())[0]

    def stop() -> tuple[str]:
        raise Cancelled

    assert "Stopped" in cards.attempt(stop, ())[0]


@pytest.mark.parametrize("preset", ["default", "coarse", "keyed"])
def test_training_of_every_kind(
    preset: str, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import siren_ext.training.recipes as owner
    from siren_ext.panels.train import KINDS, train_step

    assert preset in KINDS.values()
    seen: dict[str, Any] = {}

    def stand_in(data: Any, base: Any, word: str, out: Path, config: Any, **rest: Any) -> None:
        seen.update(rest, config=config, images=len(data))

    monkeypatch.setattr(owner, "train_for_base", stand_in)
    out = tmp_path / "mine.safetensors"
    text, path = train_step(pictures, "pocket", "fox", 30, out, NULL, preset=preset)
    fitted = preset != "default"
    assert path == str(out)
    assert ("Make a key" in text) == (preset == "keyed")
    assert ("was fitted" in text) == fitted
    assert seen["surrogate"].steps == 30
    assert seen["config"].steps == (0 if fitted else 30)
    assert (seen["start"] is None) == (seen["coater"] is not None) == fitted
    if fitted:
        assert seen["coater"].coarse
        assert bool(seen["coater"].message_bits) == (preset == "keyed")
    with pytest.raises(ConfigError, match="no model"):
        train_step(pictures, "nowhere", "fox", 30, out, NULL, preset=preset)
