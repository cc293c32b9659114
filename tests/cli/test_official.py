"""The command ``import-official``, and what other commands say to the authors' files."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.published_pair import meta_learned, published_states, work_small, written

from siren_ext.coater.coater import Coater
from siren_ext.files import sha256_file


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    work_small(monkeypatch)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of a trained pair."""
    return written(tmp_path_factory.mktemp("trained"), *published_states())


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of a meta-learned pair."""
    return written(tmp_path_factory.mktemp("meta"), *meta_learned(published_states()))


def test_a_trained_pair(call, trained: tuple[Path, Path], photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.safetensors"
    code, shown, err = call("import-official", *trained, "--out", out)
    assert code == 0, err
    assert f"Coater written: {out}" in shown
    assert "The centre comes from the extractor's file" in shown
    sources = Coater.load(out).provenance
    assert sources["generator_sha256"] == sha256_file(trained[0])
    assert sources["extractor_sha256"] == sha256_file(trained[1])
    code, _, err = call("coat", photos, "--coater", out, "--out", tmp_path / "coated")
    assert code == 0, err
    code, _, err = call("import-official", *trained, "--out", out)
    assert code == 2
    assert "already exists" in err
    code, shown, _ = call(
        "import-official", *trained, "--out", tmp_path / "d.safetensors", "--data", photos
    )
    assert code == 0
    assert f"The images of {photos} were not needed." in shown


def test_swapped_files(call, trained: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "c.safetensors"
    code, _, err = call("import-official", *trained[::-1], "--out", out)
    assert code == 2
    assert err.startswith("Error: The two files are swapped")
    assert not out.exists()


def test_a_meta_learned_pair(
    call, untrained: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "c.safetensors"
    code, _, err = call("import-official", *untrained, "--out", out)
    assert code == 2
    assert "--data FOLDER" in err
    code, shown, err = call("import-official", *untrained, "--out", out, "--data", photos)
    assert code == 0, err
    assert "Computing the centre" in err
    assert "computed from 4 images" in shown
    assert f"siren-ext train {photos} --base BASE --class-word WORD --start {out}" in shown
    assert Coater.load(out).center.abs().sum() > 0
    (photos / "bad.png").write_bytes(b"no picture")
    second = tmp_path / "d.safetensors"
    code, _, err = call("import-official", *untrained, "--out", second, "--data", photos, "-q")
    assert code == 3
    assert "bad.png" in err
    assert Coater.load(second).fingerprint == Coater.load(out).fingerprint


def test_ctrl_c_leaves_nothing(
    call,
    untrained: tuple[Path, Path],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import siren_ext.coater.official as module

    read, seen = module.read_picture, []

    def interrupted(path: Path) -> object:
        seen.append(path)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
        return read(path)

    monkeypatch.setattr(module, "read_picture", interrupted)
    folder = tmp_path / "new"
    folder.mkdir()
    line = ("import-official", *untrained, "--out", folder / "c.safetensors", "--data", photos)
    code, shown, err = call(*line)
    assert code == 130
    assert "Stopped" in err
    assert shown == ""
    assert len(seen) == 2
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(module, "read_picture", read)
    assert call(*line)[0] == 0


@pytest.mark.parametrize(
    "line",
    [
        ("coat", "{photos}", "--coater", "{pth}", "--out", "{tmp}/c"),
        ("score", "{photos}", "--coater", "{pth}", "--out", "{tmp}/s.json"),
        ("commit", "--coater", "{pth}", "--out", "{tmp}/commitment.json"),
    ],
)
def test_a_checkpoint_given_as_a_coater(
    call, trained: tuple[Path, Path], photos: Path, tmp_path: Path, line: tuple[str, ...]
) -> None:
    places = {"tmp": tmp_path, "photos": photos, "pth": trained[0]}
    code, _, err = call(*(word.format(**places) for word in line))
    assert code == 2
    assert f"{trained[0]} is a PyTorch checkpoint, not a coater" in err
    assert "siren-ext import-official GENERATOR EXTRACTOR --out coater.safetensors" in err


@pytest.mark.models
def test_a_checkpoint_given_as_a_start(
    call, trained: tuple[Path, Path], photos: Path, tmp_path: Path
) -> None:
    code, _, err = call(
        "train",
        photos,
        "--base",
        "pocket",
        "--class-word",
        "fox",
        "--start",
        trained[0],
        "--out",
        tmp_path / "c.safetensors",
    )
    assert code == 2
    assert "siren-ext import-official" in err
