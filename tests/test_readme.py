"""The README's first steps work as they are written."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.evidence_samples import PASSPHRASE
from support.markdown import blocks

from siren_ext.coater.bundled import coater_path
from siren_ext.keys.coating_key import CoatingKey, KeyRing
from siren_ext.samples.folder import sample_folder

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = 60


@pytest.fixture(scope="module")
def readme() -> str:
    """The README's text."""
    path = ROOT / "README.md"
    if not path.exists():
        pytest.skip("the README is only in a source tree")
    return path.read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cheap: None) -> Path:
    """A working folder with some photos and a coater, and a terminal that gives the passphrase."""
    (tmp_path / "photos").mkdir()
    for file in sorted(sample_folder().glob("*.png"))[:SAMPLES]:
        shutil.copy(file, tmp_path / "photos")
    shutil.copy(coater_path("keyed"), tmp_path / "coater.safetensors")
    monkeypatch.chdir(tmp_path)
    # A rare random key suits these few samples so badly that p stays above the level of 1e-6.
    rng = np.random.default_rng(0)
    monkeypatch.setattr(CoatingKey, "draw", lambda bits=48: CoatingKey(rng.choice([-1, 1], bits)))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("siren_ext.cli.passphrase.typer.prompt", lambda *_, **__: PASSPHRASE)
    monkeypatch.setattr("getpass.getpass", lambda *_: PASSPHRASE)
    return tmp_path


def test_the_first_commands_find_the_coating(
    readme: str, place: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    first = next(block for block in blocks(readme) if block.startswith("siren-ext "))
    lines = [shlex.split(line)[1:] for line in first.splitlines()]
    assert [line[0] for line in lines] == ["key", "coat", "score", "verify"]
    for line in lines:
        if line[0] == "score":  # coated images stand in for those of a guilty model
            shutil.copytree("coated", "suspect", ignore=shutil.ignore_patterns("*.json"))
        code, out, err = call(*line)
        assert code == 0, err
    assert out.startswith("coating found: ")
    assert (place / "report" / "report.html").is_file()
    # the same two commands on the originals
    assert call("score", "photos", "--coater", "keyed", "--out", "clean.json")[0] == 0
    code, out, _ = call("verify", "--suspect", "clean.json", "--key", "keys.json", "--out", "other")
    assert (code, out.startswith("no evidence: ")) == (0, True)


def test_the_first_python_finds_the_coating(
    readme: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks(readme, "python")
    before, after = code.split("\n\nverdict = ")
    KeyRing.draw().save(place / "keys.json", PASSPHRASE)
    names: dict[str, Any] = {}
    exec(before, names)
    shutil.copytree("coated", "suspect", ignore=shutil.ignore_patterns("*.json"))
    exec(f"verdict = {after}", names)
    assert capsys.readouterr().out.startswith("coating found The images ")


def test_the_first_use_comes_early(readme: str) -> None:
    lines = readme.splitlines()
    for start, least in (("pip install ", 25), ("siren-ext key new", 35), ("print(verdict", 55)):
        found = next(place for place, line in enumerate(lines) if line.startswith(start))
        assert found < least, f"{start} stands in line {found}"
    assert len(lines) <= 180


def test_exactly_two_commands_run_everything(readme: str) -> None:
    (block,) = [block for block in blocks(readme) if "run.py" in block]
    assert block.splitlines() == ["python run.py demo", "python run.py test"]
