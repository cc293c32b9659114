"""The command ``uncoat``, and its network in the command ``attack``."""

from __future__ import annotations

import shutil
from pathlib import Path

TINY = ("--width", "2", "--size", "16", "--epochs", "1", "--set", "levels=2", "--device", "cpu")


def test_a_network_is_trained_and_used(call, photos: Path, tmp_path: Path) -> None:
    net, made, clean = tmp_path / "net.safetensors", tmp_path / "made", tmp_path / "clean"
    code, _, err = call("uncoat", photos, photos, "--out", net, *TINY)
    assert code == 2
    assert "was given twice" in err
    shutil.copytree(photos, clean)
    next(iter(sorted(clean.glob("*.png")))).unlink()
    line = ["uncoat", photos, clean, "--out", net, *TINY]
    code, told, err = call(*line)
    assert code == 0, err
    assert f"Network written: {net}" in told
    assert "trained on 3 pairs, from 4 coated and 3 clean images" in told
    code, told, err = call("attack", photos, "--with", "uncoat", "--set", f"file={net}",
                           "--out", made)  # fmt: skip
    assert code == 0, err
    assert len(list(made.glob("*.png"))) == 4
    code, _, err = call(*line, "--seed", "3")
    assert code == 2
    assert "not overwritten" in err


def test_the_network_must_be_named(call, photos: Path, tmp_path: Path) -> None:
    code, _, err = call("attack", photos, "--with", "uncoat", "--out", tmp_path / "made")
    assert code == 2
    assert "train one with 'siren-ext uncoat'" in err
