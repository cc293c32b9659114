"""The script that made the sample set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siren_ext.errors import DatasetError
from siren_ext.samples import build


def test_flatten_keeps_icon_and_shows_ground():
    icon = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    icon.paste((255, 0, 0, 255), (100, 100, 150, 150))
    flat = np.asarray(build.flatten(icon))
    assert tuple(flat[120, 120]) == (255, 0, 0)
    assert tuple(flat[0, 0]) == build.TOP
    assert tuple(flat[-1, -1]) == build.BOTTOM


@pytest.mark.parametrize(
    ("subject", "name"),
    [("a red apple", "red-apple"), ("an owl", "owl"), ("grapes", "grapes")],
)
def test_file_name(subject: str, name: str):
    assert build.file_name(subject) == name


def test_another_archive_is_refused(tmp_path: Path):
    (tmp_path / build.ARCHIVE).write_bytes(b"not the package")
    with pytest.raises(DatasetError, match="SHA-256"):
        build.fetch(tmp_path)


def test_check_finds_a_changed_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    grey = Image.new("RGB", (8, 8), (90, 90, 90))
    made = [("one", "a 3d icon of one", grey), ("two", "a 3d icon of two", grey)]
    monkeypatch.setattr(build, "icons", lambda archive: iter(made))
    build.build(tmp_path, tmp_path)
    assert build.check(tmp_path, tmp_path) == []
    Image.new("RGB", (8, 8), (90, 90, 91)).save(tmp_path / "two.png")
    assert build.check(tmp_path, tmp_path) == ["two"]
    (tmp_path / "one.txt").unlink()
    assert build.check(tmp_path, tmp_path) == ["one", "two"]
