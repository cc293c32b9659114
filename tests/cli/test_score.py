"""``score``: pictures that a search by suffix misses are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Call = Callable[..., tuple[int, str, str]]


def test_pictures_that_are_not_scored_are_named(
    call: Call, photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    command = ("score", photos, "--coater", coater_file, "--out", tmp_path / "scores.json", "-q")
    assert call(*command)[0] == 0
    (photos / "download").write_bytes((photos / "0.png").read_bytes())
    (photos / "photo.dng").write_bytes(b"II*\0")
    code, out, err = call(*command, "--force")
    assert code == 3
    assert out.startswith("4 scores: ")
    assert "photo.dng: camera RAW files are not read here; export them as PNG or JPEG." in err
    assert "download: is a picture, but its name does not end like one" in err
