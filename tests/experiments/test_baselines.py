from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from siren_ext.baselines.base import Protected
from siren_ext.baselines.luo import Luo
from siren_ext.experiments import baseline_networks, baselines
from siren_ext.experiments.baseline_sets import generated

NAMES = ("baselines", "learning")
SHORT = baselines.Length(draws=5, pictures=30, yu=2, classifier=2)


def study(out: Path) -> baselines.Study:
    innocent = {"discs": generated("discs", 30, 128, 0)}
    return baselines.Study(out, SHORT, generated("clouds", 40, 128, 0), innocent)


def test_rows_hold_rates_intervals_and_quality(tmp_path: Path) -> None:
    rows = study(tmp_path).rows("luo", False)
    assert len(rows) == 3 * 2 * 2  # sets, rules, levels
    assert {row["pictures"] for row in rows} == {"other icons", "discs", "protected"}
    for row in rows:
        assert row["low"] <= row["rate"] <= row["high"]
    found = [row for row in rows if row["pictures"] == "protected"]
    assert all(row["rate"] == 1 and row["bit_accuracy"] > 0.99 for row in found)
    assert all(row["psnr_db"] > 38 for row in found)
    with np.load(tmp_path / "luo.npz") as kept:
        assert kept["protected"].shape == (48, 32)


def test_a_finished_method_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = study(tmp_path).rows("luo", False)
    monkeypatch.setattr(Luo, "evidence", lambda *_: pytest.fail("measured twice"))
    assert study(tmp_path).rows("luo", False) == first


@pytest.mark.parametrize("name", ["yu", "diagnosis", "trigger"])
def test_methods_with_networks_are_trained(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baseline_networks, "LEAST", 0)
    rows = study(tmp_path).rows(name, False)
    rules = {"published", "calibrated"}
    if name != "yu":
        rules |= {"exact", "welch"}
    assert {row["rule"] for row in rows} == rules


def test_the_command_writes_table_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "QUICK", SHORT)
    page = tmp_path / "page.md"
    blocks = [f"<!-- {name}:start -->\n{{}}<!-- {name}:end -->\n" for name in NAMES]
    page.write_text("".join(blocks).format("", "kept\n"))
    options = ["--out", str(tmp_path / "out"), "--quick", "--only", "luo"]
    options += ["--csv", str(tmp_path / "table.csv"), "--page", str(page)]
    result = CliRunner().invoke(baselines.app, options)
    assert result.exit_code == 0, result.output
    with (tmp_path / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["method"] for row in rows} == {"Luo et al."}
    assert "| 100 % (48 to 100) |" in page.read_text()
    # no model was trained, so what earlier ones had learnt stays
    assert page.read_text() == "".join(blocks).format(baselines.page_table(rows), "kept\n")


def test_models_of_protected_images_are_measured_by_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def pictures(
        protected: Protected, folder: Path, *_: object, steps: int, name: str
    ) -> torch.Tensor:
        assert name == "pictures"
        asked.append((folder.name, steps))
        clean = torch.equal(protected.images, made.owned)
        assert clean == (folder.name == f"clean_{steps}")
        return protected.images[:30] if steps > 100 else generated("discs", 30, 128, 5)

    monkeypatch.setattr(baselines, "pictures_after_training", pictures)
    made = dataclasses.replace(study(tmp_path), steps=(100, 500))
    rows = made.rows("luo", True)
    assert asked == [
        (f"{name}_{steps}", steps) for steps in (100, 500) for name in ("luo", "clean")
    ]
    assert made.rows("luo", True) == rows  # read
    both = [
        line.strip("| ").split(" | ") for line in baselines.learning_table(rows).splitlines()[2:]
    ]
    assert [line[1] for line in both] == [
        f"{kind}, {steps} steps"
        for steps in (100, 500)
        for kind in ("after training", "clean model")
    ]
    assert both[-1][3] == "none"  # innocent, so of another secret for each test
    assert both[-1][4].startswith("0 % (")
    assert both[2][3] == "0.999"
    assert both[2][4:] == ["100 % (48 to 100)", "none", "100 % (48 to 100)", "none"]
    likeness = [both[row][2] for row in (0, 2)]
    # without the network there is none
    assert likeness == ["none", "none"] or float(likeness[0]) < float(likeness[1])
    assert all(row["likeness"] == "" for row in rows if "steps" not in row["pictures"])
    # the page's main table has the longest training
    assert baselines.page_table(rows).splitlines()[2].endswith(" | 100 % (48 to 100), 500 steps |")
    assert {row["pictures"] for row in study(tmp_path).rows("luo", False)} == {
        "other icons", "discs", "protected",
    }  # fmt: skip


def test_a_model_of_triggered_captions_is_asked_with_and_without_the_trigger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def pictures(
        protected: Protected,
        folder: Path,
        prompt: Callable[[str], str],
        *_: object,
        name: str,
        seed: int = 7,
        **__: int,
    ) -> torch.Tensor:
        asked[folder.name, name] = prompt("a cat")
        assert (seed == 8) == (folder.name == "reference_500")
        return generated("discs", 30, 128, 5)

    monkeypatch.setattr(baselines, "pictures_after_training", pictures)
    rows = study(tmp_path).rows("trigger", True)
    assert asked == {
        ("trigger_500", "pictures"): "tq a cat",
        ("trigger_500", "pictures_without_the_trigger"): "a cat",
        ("clean_500", "pictures_with_trigger"): "tq a cat",
        ("clean_500", "pictures"): "a cat",
        ("reference_500", "pictures_with_trigger"): "tq a cat",
        ("reference_500", "pictures"): "a cat",
    }
    learnt = [row["pictures"] for row in rows if row["pictures"].startswith("after training")]
    assert set(learnt) == {
        "after training, 500 steps",
        "after training, 500 steps without the trigger",
    }
    # the page's main table has the question with the trigger
    assert baselines.page_table(rows).splitlines()[2].endswith(", 500 steps |")


def test_a_method_that_cannot_be_trained_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "QUICK", SHORT)
    monkeypatch.setattr(baseline_networks, "LEAST", 2)
    options = ["--out", str(tmp_path), "--quick", "--only", "yu,luo"]
    result = CliRunner().invoke(baselines.app, options)
    assert result.exit_code == 0, result.output
    assert "yu is left out: No pair of 5 trainings" in result.output
    with (tmp_path / "baselines.csv").open() as stream:
        assert {row["method"] for row in csv.DictReader(stream)} == {"Luo et al."}


def test_the_page_names_the_set_that_is_accused_most_often() -> None:
    def row(pictures: str, alpha: float, rate: float, low: float) -> dict[str, object]:
        facts = {"method": "m", "rule": "r", "psnr_db": 40.0, "bit_accuracy": ""}
        return facts | {"pictures": pictures, "alpha": alpha, "rate": rate, "low": low, "high": 1}

    rows = [row("photos", alpha, 0.3, 0.2) for alpha in (0.05, 0.01)]
    rows += [row("faces", alpha, 0.05, 0.0) for alpha in (0.05, 0.01)]
    rows += [row("protected", 0.01, 1.0, 0.9)]
    last = baselines.page_table(rows).splitlines()[-1]
    assert last == (
        "| m | r | photos | 30 % (20 to 100) | 30 % (20 to 100) | 1 of 2 | 100 % (90 to 100) "
        "| 40.0 dB | none | not measured |"
    )


def test_unknown_methods_are_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(baselines.app, ["--out", str(tmp_path), "--only", "other"])
    assert result.exit_code == 2
    assert "other" in result.output
    options = ["--out", str(tmp_path), "--only", "luo", "--train", "yu"]
    result = CliRunner().invoke(baselines.app, options)
    assert result.exit_code == 2
    assert "which --only leaves out" in " ".join(result.output.split())


def test_other_pictures_need_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "QUICK", SHORT)
    for name, code in (("first", 0), ("first", 0), ("second", 2)):
        folder = tmp_path / name
        if not folder.exists():
            folder.mkdir()
            for number in range(SHORT.pictures):
                colour = (number, 90, 0) if name == "first" else (0, 90, number)
                Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
        options = ["--out", str(tmp_path / "out"), "--quick", "--only", "luo"]
        result = CliRunner().invoke(baselines.app, [*options, "--innocent", f"x={folder}"])
        assert result.exit_code == code, result.output
        if code:
            assert "study" in result.output + str(result.exception)


def test_owner_and_other_icons_are_different_pictures(tmp_path: Path) -> None:
    found = study(tmp_path)
    assert found.owned.shape == found.innocents["other icons"].shape == (48, 3, 128, 128)
    assert not torch.equal(found.owned, found.innocents["other icons"])
