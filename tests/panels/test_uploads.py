"""Uploads become a folder of images, and hostile ones are refused."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siren_ext.errors import DatasetError, ImageError
from siren_ext.panels.host import PanelHost, UploadLimits
from siren_ext.panels.uploads import collect_images


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_files_and_captions_come_along(host: PanelHost, pictures: Path, tmp_path: Path) -> None:
    given = [str(path) for path in pictures.iterdir()]
    place = collect_images(given, "", host.limits, tmp_path / "in")
    assert names(place) == names(pictures)


def test_a_named_folder_is_read_in_place(host: PanelHost, pictures: Path, tmp_path: Path) -> None:
    assert collect_images(None, f'"{pictures}" ', host.limits, tmp_path / "in") == pictures
    assert not (tmp_path / "in").exists()


def test_folders_are_refused_where_not_permitted(
    host: PanelHost, pictures: Path, tmp_path: Path
) -> None:
    closed = replace(host.limits, folders=False)
    with pytest.raises(DatasetError, match="not read here"):
        collect_images(None, str(pictures), closed, tmp_path / "in")
    assert UploadLimits().folders is False


@pytest.mark.parametrize(("folder", "words"), [("", "No images"), ("/nowhere/at/all", "no folder")])
def test_nothing_given(host: PanelHost, tmp_path: Path, folder: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        collect_images(None, folder, host.limits, tmp_path / "in")


def test_an_archive_can_not_leave_its_folder(
    host: PanelHost, pictures: Path, tmp_path: Path
) -> None:
    image = (pictures / "p0.png").read_bytes()
    entries = {
        "../../evil.png": image,
        "/abs.png": image,
        "a\\..\\win.png": image,
        "deep/abs.png": image,
        "run.sh": b"echo",
        ".hidden.png": image,
    }
    archive = zipped(tmp_path / "x.zip", entries)
    place = collect_images([archive], "", host.limits, tmp_path / "in")
    assert names(place) == ["abs.png", "abs_2.png", "evil.png", "win.png"]
    assert not (tmp_path / "evil.png").exists()


def test_a_bomb_is_stopped_while_it_unpacks(host: PanelHost, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "bomb.zip", {"big.png": bytes(50_000_000)})
    assert archive.stat().st_size < 100_000
    with pytest.raises(ImageError, match=r"larger than 0\.5 MB"):
        collect_images([archive], "", host.limits, tmp_path / "in")
    assert sum(path.stat().st_size for path in (tmp_path / "in").iterdir()) < 1_000_000


def test_the_sum_is_limited(host: PanelHost, tmp_path: Path) -> None:
    files = {f"{i}.png": np.random.default_rng(i).bytes(400_000) for i in range(8)}
    archive = zipped(tmp_path / "many.zip", files)
    with pytest.raises(ImageError, match="together"):
        collect_images([archive], "", host.limits, tmp_path / "in")


def test_the_number_is_limited(host: PanelHost, pictures: Path, tmp_path: Path) -> None:
    image = (pictures / "p0.png").read_bytes()
    archive = zipped(tmp_path / "many.zip", {f"{i}.png": image for i in range(13)})
    with pytest.raises(ImageError, match="More than 12"):
        collect_images([archive], "", host.limits, tmp_path / "in")
    entries = zipped(tmp_path / "entries.zip", {f"{i}.bin": b"" for i in range(121)})
    with pytest.raises(ImageError, match="121 entries"):
        collect_images([entries], "", host.limits, tmp_path / "in2")


def test_pixels_are_limited(host: PanelHost, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    Image.new("RGB", (400, 400)).save(folder / "a.png")
    with pytest.raises(ImageError, match=r"0\.2 megapixels"):
        collect_images(None, str(folder), host.limits, tmp_path / "in")


def test_a_broken_archive(host: PanelHost, tmp_path: Path) -> None:
    broken = tmp_path / "x.zip"
    broken.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ImageError, match="can't be unpacked"):
        collect_images([broken], "", host.limits, tmp_path / "in")


def test_equal_names_are_told_apart(host: PanelHost, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "P0.png").write_bytes((pictures / "p1.png").read_bytes())
    place = collect_images(
        [pictures / "p0.png", other / "P0.png"], "", host.limits, tmp_path / "in"
    )
    assert names(place) == ["P0_2.png", "p0.png"]
