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
from siren_ext.panels.actions import before_after, coat_step, judge_step
from siren_ext.panels.host import Desk
from siren_ext.panels.lora import NO_LORA, Order, lora_step, prompt_lines
from siren_ext.panels.recheck import recheck_step
from siren_ext.panels.train import coater_file as coater_path
from siren_ext.panels.verify import reference_of
from siren_ext.progress import NULL, Progress


def test_coated_files_are_those_of_the_archive(desk: Desk, pictures: Path) -> None:
    job = desk.jobs.new("t")
    coater = desk.shelf.load("mine.safetensors")
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


def test_stop_keeps_what_is_finished(desk: Desk, pictures: Path) -> None:
    coater = desk.shelf.load("mine.safetensors")
    data = ImageSet.open(pictures)
    with pytest.raises(Cancelled):
        coat_step(data, coater, desk.jobs.new("t"), progress=StopAfter(3))
    done = coat_step(data, coater, desk.jobs.new("t"), progress=StopAfter(7))
    assert done.stopped
    assert done.files
    assert all(path.is_file() for path in done.files)
    assert "then stopped" in cards.coat_card(done)


def test_bad_files_are_named_not_fatal(desk: Desk, pictures: Path) -> None:
    (pictures / "<b>.png").write_bytes(b"no image")
    done = coat_step(
        ImageSet.open(pictures), desk.shelf.load("mine.safetensors"), desk.jobs.new("t")
    )
    assert len(done.files) == 5
    card = cards.coat_card(done)
    assert "&lt;b&gt;.png" in card
    assert "<b>.png" not in card


def test_only_bad_files(desk: Desk, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"None of the images.*a\.png"):
        coat_step(ImageSet.open(folder), desk.shelf.load("mine.safetensors"), desk.jobs.new("t"))


def pool(folder: Path, count: int, seed: int, level: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(count):
        pixels = rng.integers(0, level, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_a_verdict_with_report_and_tiles(desk: Desk, tmp_path: Path) -> None:
    first, second = pool(tmp_path / "s", 9, 1, 255), pool(tmp_path / "r", 10, 2, 60)
    coater = desk.shelf.load("mine.safetensors")
    job = desk.jobs.new("t")
    judged = judge_step(first, second, coater, job, alpha=1e-3)
    swapped = judge_step(second, first, coater, desk.jobs.new("t"), alpha=1e-3)
    assert {judged.verdict.outcome, swapped.verdict.outcome} == {"coating found", "no evidence"}
    assert judged.report.html.is_file()
    order = sorted(judged.suspect.scores)
    assert len(judged.lowest) == len(judged.highest) == 4
    assert f"lowest: {order[0]:.3g}" in judged.lowest[0][1]
    assert f"highest: {order[-1]:.3g}" in judged.highest[-1][1]
    card = cards.verdict_card(judged.verdict, "a <remark>")
    assert judged.verdict.outcome in card
    assert "a &lt;remark&gt;" in card
    charts = cards.chart_card(judged.verdict, judged.suspect, judged.reference)
    assert charts.count("<svg") == 2


def test_scores_stand_in_for_reference_images(desk: Desk, tmp_path: Path) -> None:
    first, second = pool(tmp_path / "s", 5, 1, 255), pool(tmp_path / "r", 6, 2, 255)
    coater = desk.shelf.load("mine.safetensors")
    direct = judge_step(first, second, coater, desk.jobs.new("t"))
    scores = tmp_path / "clean.json"
    direct.reference.save(scores)
    assert reference_of([str(scores)], "", desk, tmp_path / "job") == scores
    again = judge_step(first, scores, coater, desk.jobs.new("t"))
    assert again.verdict.finding == direct.verdict.finding
    other = desk.shelf.load("samples")
    with pytest.raises(ScoreError, match="another coater"):
        judge_step(first, scores, other, desk.jobs.new("t"))


def test_a_report_is_computed_again(desk: Desk, tmp_path: Path) -> None:
    first, second = pool(tmp_path / "s", 6, 1, 255), pool(tmp_path / "r", 6, 2, 255)
    judged = judge_step(
        first, second, desk.shelf.load("mine.safetensors"), desk.jobs.new("t"), alpha=1e-2
    )
    assert recheck_step(judged.report.json).agrees
    data = json.loads(judged.report.json.read_text(encoding="utf-8"))
    data["verdict"]["finding"]["p_value"] = 1e-9
    data["verdict"]["outcome"] = "coating found"
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps(data), encoding="utf-8")
    found = recheck_step(forged)
    assert not found.agrees
    assert found.verdict.outcome == judged.verdict.outcome


@pytest.mark.parametrize(
    "content", ["[]", '{"format": "x"}', '{"format": "siren_ext.report"}', "{", '{"a": NaN}']
)
def test_what_is_no_report(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ScoreError):
        recheck_step(path)


class FakeHost:
    """Draws noise: darker with a LoRA than without."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def checkpoints(self) -> list[str]:
        return ["tiny"]

    def loras(self) -> list[str]:
        return ["accused", "clean"]

    def generate(self, order: Order, out: Path, progress: Progress) -> dict[str, object]:
        self.orders.append(order)
        pool(out, order.count, order.seed + len(order.loras), 60 if order.loras else 255)
        return {"prompts": list(order.prompts), "steps": order.steps}


def order(**changes: object) -> Order:
    values = {
        "checkpoint": "tiny", "loras": (("accused", 1.0),), "prompts": ("a dog",), "count": 6,
        "seed": 5, "steps": 3, "guidance": 7.0, "size": 64,
    }  # fmt: skip
    return Order(**{**values, **changes})


def test_a_lora_is_tested_at_equal_settings(desk: Desk) -> None:
    host = FakeHost()
    card, charts, report, low, high = lora_step(
        host, order(), (), 7, desk, "mine.safetensors", None, 1e-2, NULL
    )
    first, second = host.orders
    assert (first.loras, second.loras) == ((("accused", 1.0),), ())
    assert (first.seed, first.steps, first.prompts) == (second.seed, second.steps, second.prompts)
    assert (first.count, second.count) == (6, 7)
    assert "6 against 7" in card
    assert "without any LoRA" in card
    assert "prompts are not recorded" not in card
    assert charts
    assert len(report) == 2
    assert low
    assert high


def test_a_clean_lora_as_the_reference(desk: Desk) -> None:
    host = FakeHost()
    outputs = lora_step(
        host, order(), (("clean", 1.0),), 6, desk, "mine.safetensors", None, 1e-2, NULL
    )
    assert host.orders[1].loras == (("clean", 1.0),)
    assert [made.role for made in host.orders] == ["suspicious model", "reference"]
    assert "without any LoRA" not in outputs[0]


@pytest.mark.parametrize(
    ("changes", "clean", "words"),
    [
        ({"loras": ()}, (), "No suspicious LoRA"),
        ({}, (("accused", 1.0),), "the suspicious LoRA itself"),
    ],
)
def test_orders_without_sense(desk: Desk, changes: dict, clean: tuple, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        lora_step(FakeHost(), order(**changes), clean, 6, desk, "samples", None, 1e-2, NULL)


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
    assert ("Draw a key" in text) == (preset == "keyed")
    assert ("was fitted" in text) == fitted
    assert seen["surrogate"].steps == 30
    assert seen["config"].steps == (0 if fitted else 30)
    assert (seen["start"] is None) == (seen["coater"] is not None) == fitted
    if fitted:
        assert seen["coater"].coarse
        assert bool(seen["coater"].message_bits) == (preset == "keyed")
    with pytest.raises(ConfigError, match="no model"):
        train_step(pictures, "nowhere", "fox", 30, out, NULL, preset=preset)
