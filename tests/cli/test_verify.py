"""The commands ``score`` and ``verify`` on real files."""

from __future__ import annotations

import json
import re
from pathlib import Path

from support.score_sets import drawn


def test_coat_then_score_then_verify(call, photos: Path, coater_file: Path, tmp_path: Path) -> None:
    coated = tmp_path / "coated"
    code, out, err = call("coat", photos, "--coater", coater_file, "--out", coated)
    assert code == 0, err
    assert "4 of 4 images coated" in out
    assert (coated / "0.txt").read_text() == "a fox"
    scores = {}
    for name, folder in (("suspect", coated), ("clean", photos)):
        scores[name] = tmp_path / f"{name}.json"
        code, out, err = call("score", folder, "--coater", coater_file, "--out", scores[name])
        assert code == 0, err
        assert "4 scores" in out
        assert len(json.loads(scores[name].read_text())["images"]) == 4
    report = tmp_path / "report"
    arguments = ["--suspect", scores["suspect"], "--reference", scores["clean"], "--out", report]
    code, out, err = call("verify", *arguments, "--mimicries", coated)
    assert code == 0, err
    html = Path(out.splitlines()[-1])
    assert html.is_file()
    assert "n = 4, m = 4" in out
    assert "inconclusive" in out, "four images can't reach alpha 1e-6"


def test_a_folder_without_images_can_not_be_shown(
    call, photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    scores, empty = tmp_path / "s.json", tmp_path / "empty"
    empty.mkdir()
    assert call("score", photos, "--coater", coater_file, "--out", scores)[0] == 0
    line = ("verify", "--suspect", scores, "--reference", scores, "--out", tmp_path / "r")
    for option in ("--mimicries", "--reference-mimicries"):
        code, _, err = call(*line, option, empty)
        assert code == 2
        assert err == f"Error: {empty} has no images to show; give a folder of images.\n"
        assert not (tmp_path / "r").exists()


def test_several_references_are_compared_as_models_too(call, tmp_path: Path) -> None:
    line = ["verify", "--suspect", tmp_path / "s.json", "--out", tmp_path / "report"]
    drawn(5, 60, seed=9, features=None).save(tmp_path / "s.json")
    for seed, mean in enumerate((10, 10.4, 9.7), start=1):
        drawn(mean, 60, seed=seed, features=None).save(tmp_path / f"{seed}.json")
        line += ["--reference", tmp_path / f"{seed}.json"]
    code, out, err = call(*line, "--alpha", "0.01")
    assert code == 0, err
    assert out.startswith("scores lower than these innocent models: ")
    assert "comparison with several reference models: scores lower than these" in out
    assert re.search(r"t = -\d+\.\d\d, mean \d.\d+ against \d+\.?\d* in 3 models \(stand", out)
    assert "comparison with a reference model: scores lower" in out
    assert "n = 60, m = 180" in out
    assert "Near copies" not in err
    code, _, err = call(*line, "--reference", tmp_path / "1.json", "--force")
    assert code == 2
    assert "Reference models 1 and 4 are the same images" in err
