"""The command ``uncoat``, and its network in the command ``attack``."""

from __future__ import annotations

from pathlib import Path

TINY = ("--width", "2", "--size", "16", "--epochs", "1", "--set", "levels=2", "--device", "cpu")


def test_a_network_is_trained_and_used(call, photos: Path, tmp_path: Path) -> None:
    net, made = tmp_path / "net.safetensors", tmp_path / "made"
    line = ["uncoat", photos, photos, "--out", net, *TINY]
    code, told, err = call(*line)
    assert code == 0, err
    assert f"Network written: {net}" in told
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
