"""The command ``investigate``, from a suspect to a report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.investigated import (
    Imitator,
    Reader,
    clean_scores,
    imitate_samples,
    shades,
)
from support.standin_a1111 import A1111Standin
from support.standins import running

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.keys.coating_key import KeyRing
from siren_ext.scoring.score_set import ScoreSet


@pytest.fixture(scope="module")
def coater() -> Coater:
    return Coater.load(coater_path("samples"))


@pytest.fixture(scope="module")
def imitator(coater: Coater) -> Imitator:
    return imitate_samples(coater)


@pytest.fixture
def ui(imitator: Imitator) -> Iterator[Any]:
    with running(A1111Standin(imitator)) as standin:
        yield standin


@pytest.fixture(scope="module")
def clean(imitator: Imitator, coater: Coater, tmp_path_factory: pytest.TempPathFactory) -> ScoreSet:
    return clean_scores(imitator, coater, tmp_path_factory.mktemp("clean"))


def test_command_line(call: Any, ui: Any, clean: ScoreSet, tmp_path: Path) -> None:
    clean.save(tmp_path / "clean.json")
    line = ["investigate", "--suspect", f"a1111://{ui.place}?lora=stolen", "--coater", "samples"]
    line += ["--reference", tmp_path / "clean.json", "--out", tmp_path / "case", "-n", "16"]
    line += ["--size", "64", "--prompt", "an image", "--limit", "backoff=0", "--alpha", "1e-4"]
    code, out, err = call(*line)
    lower = "scores lower than this reference"
    assert (code, out.splitlines()[0].partition(":")[0]) == (0, lower), err
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
        assert (code, "Neither a reference nor a key was given" in err) == (
            2,
            True,
        )
        line += ["--key", tmp_path / "secret.key"]
        code, _, err = call(*line)
        assert (code, "--passphrase-env" in err) == (2, True)
        code, out, err = call(*line, "--passphrase-env", "WORDS")
    assert (code, out.splitlines()[0].partition(":")[0]) == (0, "coating found"), err
    assert "keyed test: coating found" in out
    assert "bits right" in out
