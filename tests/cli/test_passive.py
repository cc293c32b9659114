"""The command ``passive``: its options, its errors, and a tiny model from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.evidence_samples import PASSPHRASE
from support.feature_pairs import imitate_measuring
from support.owned_sets import owned_sets, picture
from support.tiny_models import need_models, shared_model

need_models()
pytestmark = pytest.mark.models

Call = Callable[..., tuple[int, str, str]]
FAST = ("--set", "test.permutations=999", "--set", "test.control_permutations=99")


@pytest.fixture
def line(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """A command with two folders, a suspect and another model as control."""
    root = tmp_path_factory.getbasetemp()
    published, unpublished = owned_sets(tmp_path, 20)
    words: list[str | Path] = ["passive", "--published", published, "--unpublished", unpublished]
    words += ["--base", shared_model(root, "kl", "epsilon"), "--out", tmp_path / "report"]
    words += ["--control", shared_model(root, "kl", "v_prediction"), *FAST, "-q"]
    return [*words, "--pictures", "0"]


def test_a_verdict_is_printed_reported_and_signed(
    call: Call,
    line: list[str | Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cheap: None,
) -> None:
    imitate_measuring(monkeypatch, trained=0.4)
    monkeypatch.setenv("SECRET", PASSPHRASE)
    signing = tmp_path / "signing.json"
    code, _, err = call("key", "signing", signing, "--passphrase-env", "SECRET")
    assert code == 0, err
    line += ["--sign", signing, "--passphrase-env", "SECRET", "--alpha", "0.01"]
    code, out, err = call(*line)
    assert code == 0, err
    assert out.startswith("training found: The model knows the published images better")
    assert "p = 0.001, n = 20 published against 20 unpublished images" in out
    assert "control by colours, contrast and detail of the images, without any model" in out
    assert "Note: Only 20 images per set." in err
    kept = json.loads((tmp_path / "report" / "report.json").read_text())
    assert kept["verdict"]["alpha"] == 0.01
    code, out, err = call("report", "check", tmp_path / "report")
    assert code == 3, err  # the signer was not named
    assert "figures: matches" in out
    code, _, err = call(*line)
    assert code == 2
    assert "contains a signed report, which was not replaced" in err


def test_an_own_report_is_replaced_and_other_files_are_not(
    call: Call, line: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate_measuring(monkeypatch, trained=0.0)
    assert call(*line)[0] == 0
    assert call(*line)[0] == 0
    (tmp_path / "report" / "report.json").write_text("{}")
    code, _, err = call(*line)
    assert code == 2
    assert "not a report of siren-ext" in err
    assert call(*line, "--force")[0] == 0


def test_without_a_model_to_compare_with_there_is_no_test(
    call: Call, line: list[str | Path]
) -> None:
    place = line.index("--control")
    code, _, err = call(*line[:place], *line[place + 2 :])
    assert code == 2
    assert "No model was given to compare with. Give the suspicious LoRA with --adapter" in err


def test_a_missing_base_is_named(call: Call, line: list[str | Path], tmp_path: Path) -> None:
    line[line.index("--base") + 1] = tmp_path / "missing"
    code, _, err = call(*line)
    assert code == 2
    assert "missing" in err
    assert "Traceback" not in err


def test_sets_that_do_not_fit_are_refused(
    call: Call, line: list[str | Path], tmp_path: Path
) -> None:
    picture(3).save(tmp_path / "u" / "copy.png")
    code, _, err = call(*line)
    assert code == 2
    assert "1 image is in both the published and the unpublished set" in err
    (tmp_path / "u" / "copy.png").unlink()
    (tmp_path / "u" / "0.png").unlink()
    code, _, err = call(*line)
    assert code == 2
    assert "20 published and 19 unpublished images; expected at least 20 of each" in err


def test_a_report_without_a_keyed_test_is_refused_beside(
    call: Call, line: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate_measuring(monkeypatch, trained=0.0)
    assert call(*line)[0] == 0
    code, _, err = call(*line, "--keyed", tmp_path / "report")
    assert code == 2
    assert "expected one of the keyed test" in err


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("test.mode=official", "official"),
        ("test.alpha=2", "alpha"),
        ("features=some", "features"),
        ("nothing=1", "nothing"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    call: Call, line: list[str | Path], assignment: str, words: str
) -> None:
    code, _, err = call(*line, "--set", assignment)
    assert code == 2
    assert words in err


def test_unreadable_images_are_listed(
    call: Call, line: list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate_measuring(monkeypatch, trained=0.0)
    (tmp_path / "p" / "broken.png").write_bytes(b"no image")
    code, _, err = call(*line)
    assert code == 3
    assert "Skipped 1 image" in err


def test_only_pictures_are_at_hand(call: Call, line: list[str | Path], tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for seed in range(500, 512):
        picture(seed).save(pictures / f"{seed}.png")
    place = line.index("--base")
    encoder = f"likeness.encoder={line[place + 1]}"
    black = [*line[:place], "--suspect", pictures, "--out", tmp_path / "report", *FAST, "-q"]
    code, out, err = call(*black, "--set", encoder)
    assert code == 0, err
    assert out.startswith("no nearer to the published pictures: The model's pictures are not shown")
    assert "Of a folder of pictures, only the pictures can be compared" in err
    code, out, err = call("report", "check", tmp_path / "report")
    assert "page: matches" in out
    for extra, words in (
        (["--adapter", "x.safetensors"], "--adapter was given with --suspect"),
        (["--pictures", "2"], "--pictures was given with --suspect"),
        (
            ["--set", "completion.steps=2"],
            "--set completion.steps was given, but it is only for a test",
        ),
        (["--set", "test.evidence=plain"], "with --suspect only pictures are compared"),
        (["--base", line[place + 1]], "--base is for LoRA files, but neither --suspect nor"),
    ):
        code, _, err = call(*black, *extra)
        assert code == 2
        assert words in err


def test_a_model_must_be_given_and_evidence_must_fit_it(call: Call, line: list[str | Path]) -> None:
    code, _, err = call(*line, "--set", "test.evidence=likeness")
    assert code == 2
    assert "test.evidence is likeness, which is only for --suspect" in err
    for idle, words in (
        (["--limit", "requests=3"], "--limit was given, but it is only for a test of --suspect"),
        (["--token-env", "a.example=A"], "--token-env was given"),
        (["--trust-host", "a.example"], "--trust-host was given"),
        (["--set", "likeness.steps=3"], "--set likeness.steps was given"),
    ):
        code, _, err = call(*line, *idle)
        assert code == 2
        assert words in err
    place = line.index("--base")
    code, _, err = call(*line[:place], *line[place + 2 :])
    assert code == 2
    assert "No model was given. Give the model's file with --base" in err


@pytest.mark.slow
def test_a_tiny_model_is_measured_from_end_to_end(
    call: Call, line: list[str | Path], tmp_path: Path
) -> None:
    line = [*line[:-2], "--set", "completion.count=1", "--set", "completion.steps=2"]
    code, out, err = call(*line, "--set", "features=grey")
    assert code == 0, err
    kept = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [one["published"] for one in kept["completions"]] == [True, False]
    assert out.splitlines()[-1] == str(tmp_path / "report" / "report.html")
    assert not list(tmp_path.glob("report.*"))
    code, out, err = call("report", "check", tmp_path / "report")
    assert code == 3, err
    assert "page: matches" in out
