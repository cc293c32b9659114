"""The command ``robustness``: table, files, keys, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.owned_sets import owned_sets


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return owned_sets(tmp_path / "sets", 9, others=1)[0]


def test_the_table_is_printed_and_written(
    call, pictures: Path, coater_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = ["robustness", pictures, "--coater", coater_file, "--out", out]
    code, text, err = call(*line, "--with", "jpeg, palette", "-n", "8")
    assert code == 0, err
    names = [entry.split()[0] for entry in text.splitlines()[:4]]
    assert names == ["attack", "none", "jpeg", "palette"]
    assert "8 images measured" in text
    assert "Note: This measures the coating in pictures." in err
    stored = json.loads((out / "robustness.json").read_text())
    assert [row["attack"] for row in stored["rows"]] == names[1:]
    code, _, err = call(*line)
    assert code == 2
    assert "nothing was overwritten" in err
    assert json.loads((out / "robustness.json").read_text()) == stored
    code, _, err = call(*line, "--with", "palette", "-n", "8", "--force")
    assert code == 0, err
    replaced = json.loads((out / "robustness.json").read_text())
    assert [row["attack"] for row in replaced["rows"]] == ["none", "palette"]


def test_unreadable_files_exit_3(call, pictures: Path, coater_file: Path, tmp_path: Path) -> None:
    (pictures / "bad.png").write_bytes((pictures / "1.png").read_bytes()[:50])
    (pictures / "photo.dng").write_bytes(b"II*\0\x08\0\0\0")
    (pictures / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    line = ["robustness", pictures, "--coater", coater_file, "--out", tmp_path / "out"]
    code, _, err = call(*line, "--with", "round")
    assert code == 3
    assert "bad.png" in err
    assert "photo.dng: camera RAW files can't be read here" in err
    assert "Left out: 1 MP4 file (film.mp4)" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--with", "smear"], "There is no attack 'smear'"),
        (["-n", "3"], "images is 3; expected a whole number from 8 to 500"),
        (["--recipient", "a"], "add --key FILE"),
        (["--set", "depth=3"], "has no setting depth"),
    ],
)
def test_mistakes_exit_2(
    call, pictures: Path, coater_file: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    line = ["robustness", pictures, "--coater", coater_file, "--out", tmp_path / "out"]
    code, _, err = call(*line, *words)
    assert code == 2
    assert message in err
    assert not (tmp_path / "out").exists()
