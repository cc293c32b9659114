"""How robust is my coating: right figures, honest words, files, resuming."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.keyed_coating import SHAPE, key
from support.noise_files import files
from support.owned_sets import owned_sets
from support.stopping import StopInStage

from siren_ext.attacks.separation import separation
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating.apply import coat_images
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, square_view, to_tensor
from siren_ext.errors import Cancelled, CoaterError, ConfigError, DatasetError
from siren_ext.workflows.robustness import RobustnessConfig, measure_robustness

QUICK = RobustnessConfig(images=12, attacks=("noise", "jpeg", "centre-crop"))


class Marker(Coater):
    """Makes the top left corner red, and reads how red it is."""

    def residual(self, images: torch.Tensor, message: torch.Tensor | None = None) -> torch.Tensor:
        change = torch.zeros_like(images)
        corner = change[..., : images.shape[2] // 4, : images.shape[3] // 4]
        corner[:, 0], corner[:, 1] = 1, -1
        return change

    def features(self, images: torch.Tensor) -> torch.Tensor:
        corner = images[:, 0, :2, :2].mean((1, 2)) - images[:, 1, :2, :2].mean((1, 2))
        return -corner[:, None]

    def distance(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, 0]


def marker() -> Coater:
    return Marker(
        CoaterConfig(
            channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=16
        )
    )


@pytest.fixture
def data(tmp_path: Path) -> ImageSet:
    folder, _ = owned_sets(tmp_path / "sets", 14, others=1)
    return ImageSet.open(folder)


def test_a_coating_in_a_corner_survives_jpeg_and_not_a_crop(data: ImageSet, tmp_path: Path) -> None:
    found = measure_robustness(data, marker(), tmp_path / "out", QUICK)
    rows = {row.attack: row for row in found.rows}
    assert list(rows) == ["none", "noise", "jpeg", "centre-crop"]
    assert rows["none"].psnr_db is None
    assert rows["none"].area == pytest.approx(rows["noise"].area, abs=0.05)
    assert rows["jpeg"].area > 0.9 > rows["centre-crop"].area  # type: ignore[operator]
    assert rows["centre-crop"].area == pytest.approx(0.5, abs=0.1)
    assert rows["centre-crop"].outcome == "not found"
    assert rows["noise"].psnr_db == pytest.approx(26.3, abs=0.6)  # sigma 0.05
    assert rows["none"].false_alarms == 0
    assert rows["none"].bits_right is None
    assert (found.images, found.key) == (12, "none")
    assert "it is not found after centre-crop" in found.summary()
    assert "does not measure what a model learns" in found.warnings()[0]
    assert found.warnings()[1].startswith("Only 12 pictures")


def test_figures_are_those_of_the_pictures(data: ImageSet, tmp_path: Path) -> None:
    coater = marker()
    whole = RobustnessConfig(images=14, attacks=("round",))
    found = measure_robustness(data, coater, tmp_path / "out", whole)
    clean = [to_tensor(read_picture(item.path).rgb) for item in data.items]
    pools = [
        [float(coater.score(square_view(picture, 16))) for picture in pictures]
        for pictures in ([coat_images(one, coater) for one in clean], clean)
    ]
    for row in found.rows:  # rounding a file's values changes nothing
        assert row.area == pytest.approx(separation(*pools).area)
        assert row.psnr_db is None
        assert row.found == int((np.array(pools[0]) < found.cut_off).sum())


def test_bits_are_read_with_a_key_or_one_drawn_for_the_test(data: ImageSet, tmp_path: Path) -> None:
    coater = Coater(SHAPE, seed=1)
    one = measure_robustness(data, coater, tmp_path / "a", QUICK, key=key())
    drawn = measure_robustness(data, coater, tmp_path / "b", QUICK)
    assert (one.key, drawn.key) == ("given", "drawn for this test")
    for row in (*one.rows, *drawn.rows):
        assert 0 <= row.bits_right <= 1  # type: ignore[operator]
        assert 0 < row.key_p <= 1  # type: ignore[operator]
    assert "bits" in one.table()[0]
    text = (tmp_path / "a" / "robustness.json").read_text()
    assert str(key().signs().tolist())[1:-1] not in text
    with pytest.raises(CoaterError, match="not keyed; leave the key out"):
        measure_robustness(data, marker(), tmp_path / "c", QUICK, key=key())


def test_the_files_say_the_same(data: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = measure_robustness(data, marker(), out, QUICK)
    assert sorted(files(out)) == ["robustness.csv", "robustness.html", "robustness.json"]
    stored = json.loads((out / "robustness.json").read_text())
    assert stored["rows"][2]["settings"] == {"quality": 50, "chroma": "4:2:0"}
    assert stored["rows"][3]["outcome"] == "not found"
    with (out / "robustness.csv").open(newline="") as lines:
        table = list(csv.DictReader(lines))
    assert [float(row["area"]) for row in table] == [row.area for row in found.rows]
    page = (out / "robustness.html").read_text()
    assert "How robust is this coating?" in page
    assert page.count("<tr>") == 5
    assert found.fragment() in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_stopped_call_resumes_with_the_same_result(data: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        measure_robustness(
            data, marker(), out, QUICK, progress=StopInStage("Attack: centre-crop", 3)
        )
    kept = json.loads((tmp_path / "out.partial.json").read_text())
    assert [row["attack"] for row in kept["rows"]] == ["none", "noise", "jpeg"]
    kept["rows"][1]["area"] = 0.123
    (tmp_path / "out.partial.json").write_text(json.dumps(kept))
    resumed = measure_robustness(data, marker(), out, QUICK)
    assert resumed.rows[1].area == 0.123, "finished attacks are not measured again"
    whole = measure_robustness(data, marker(), tmp_path / "whole", QUICK)
    assert resumed.rows[2:] == whole.rows[2:]
    assert not list(tmp_path.glob("*.partial.json"))


@pytest.mark.parametrize("damage", ["{", "[]", '{"identity": "other", "rows": []}'])
def test_damaged_progress_is_measured_again(data: ImageSet, tmp_path: Path, damage: str) -> None:
    (tmp_path / "out.partial.json").write_text(damage)
    found = measure_robustness(data, marker(), tmp_path / "out", QUICK)
    assert len(found.rows) == 4


def test_nothing_is_overwritten(data: ImageSet, tmp_path: Path) -> None:
    measure_robustness(data, marker(), tmp_path / "out", QUICK)
    before = files(tmp_path / "out")
    with pytest.raises(DatasetError, match="has files in it, and nothing was overwritten"):
        measure_robustness(data, marker(), tmp_path / "out", QUICK)
    assert files(tmp_path / "out") == before


def test_attacks_that_cannot_run_are_rows_without_figures(data: ImageSet, tmp_path: Path) -> None:
    config = RobustnessConfig(images=8, attacks=("learned-codec", "round"))
    found = measure_robustness(data, marker(), tmp_path / "out", config)
    row = found.rows[1]
    assert row.outcome == "not measured"
    assert "CompressAI" in row.problem
    assert "not measured: " in (tmp_path / "out" / "robustness.html").read_text()
    assert "was not measured after learned-codec" in found.summary()


def test_attacks_that_need_settings_are_rows_without_figures(
    data: ImageSet, tmp_path: Path
) -> None:
    config = RobustnessConfig(images=8, attacks=("edit", "uncoat"))
    rows = measure_robustness(data, marker(), tmp_path / "out", config).rows[1:]
    assert [row.outcome for row in rows] == ["not measured"] * 2
    for row, setting in zip(rows, ("model=FOLDER", "file=FILE"), strict=True):
        # the command for robustness refuses these settings
        assert f"'siren-ext attack FOLDER --with {row.attack} --set {setting}" in row.problem
        assert "this measurement doesn't take" in row.problem


def test_evasion_is_made_with_the_tested_coater(data: ImageSet, tmp_path: Path) -> None:
    coater = marker()
    coater.center += 0.5  # as features of one number, whose distance is that number
    config = RobustnessConfig(images=8, attacks=("evade",))
    evaded = measure_robustness(data, coater, tmp_path / "out", config).rows[1]
    assert evaded.settings["coater"] == "the one that is tested"
    assert evaded.settings["radius"] == 8.0
    assert 30 < (evaded.psnr_db or 0) < 60  # some pixels moved, by at most 8/255


def test_large_and_broken_pictures(data: ImageSet, tmp_path: Path) -> None:
    sets = tmp_path / "sets" / "p"
    (sets / "bad.png").write_bytes((sets / "1.png").read_bytes()[:60])
    from PIL import Image

    Image.open(sets / "2.png").resize((300, 160)).save(sets / "large.png")
    everything = RobustnessConfig(images=50, side=64, attacks=("round",))
    found = measure_robustness(ImageSet.open(sets), marker(), tmp_path / "out", everything)
    assert found.images == 15
    assert list(found.problems) == ["bad.png"]


def test_mistakes(data: ImageSet, tmp_path: Path) -> None:
    values: tuple[tuple[dict[str, Any], str], ...] = (
        ({"images": 7}, "images is 7; expected a whole number from 8 to 500"),
        ({"attacks": ("smear",)}, "no attack 'smear'"),
        (
            {"attacks": ("drop-captions",)},
            "drop-captions does not change pictures; expected one of centre-crop",
        ),
    )
    for settings, words in values:
        with pytest.raises(ConfigError, match=words):
            RobustnessConfig(**settings)
    few, _ = owned_sets(tmp_path / "few", 3, others=1)
    with pytest.raises(DatasetError, match="has 3 usable pictures; expected at least 8"):
        measure_robustness(ImageSet.open(few), marker(), tmp_path / "out", QUICK)
    assert RobustnessConfig().names[0] == "centre-crop"
