"""One upload: the same result as coat, and what is refused."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.fake_coater import FakeCoater
from support.noise_files import noise

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import CoaterError, ImageError
from siren_ext.files import sha256_file
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.service.upload import UploadCoater


def uploads(max_pixels: int = 1_000_000, coater: Any = None) -> UploadCoater:
    return UploadCoater(coater or FakeCoater(), None, max_pixels)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif"])
def test_the_result_is_that_of_coat(tmp_path: Path, name: str) -> None:
    source = noise(tmp_path / "in" / name, size=(40, 32))
    config: Any = FakeCoater()
    manifest = coat_folder(
        ImageSet.open(source.parent),
        config,
        tmp_path / "out",
        CoatConfig(format="keep", quality=90),
    )
    file = tmp_path / "spool" / "7.in"
    file.parent.mkdir()
    file.write_bytes(source.read_bytes())
    entry, coated = uploads().coat(file, "7", CoatConfig(format="keep", quality=90))
    (expected,) = manifest.entries
    assert sha256_file(coated) == entry.output_sha256 == expected.output_sha256
    assert (entry.psnr_db, entry.coated_score) == (expected.psnr_db, expected.coated_score)
    assert (entry.source, entry.output) == ("7.in", f"7{Path(expected.output).suffix}")
    assert entry.notes == expected.notes


def test_what_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "7.in"
    bomb = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    large = tmp_path / "large.png"
    Image.new("1", (2_000, 1_000)).save(large)
    whole = noise(tmp_path / "a.png", size=(40, 32)).read_bytes()
    for content, words in (
        (b"", "is empty"),
        (b"just some text", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (whole[: len(whole) // 2], "may be damaged"),
        (bomb.read_bytes(), "says that it has more pixels than can be read safely"),
        (large.read_bytes(), "says that it has 2000x1000 pixels; expected at most 1,000,000"),
        (noise(tmp_path / "b.png", size=(40, 12)).read_bytes(), "sides of at least 16 pixels"),
    ):
        file.write_bytes(content)
        with pytest.raises(ImageError, match=f"The upload.*{words}") as error:
            uploads().coat(file, "7", CoatConfig())
        assert "7.in" not in str(error.value)
    assert [path.name for path in tmp_path.glob("7*")] == ["7.in"]


def test_a_full_disk_is_no_fault_of_the_image(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("siren_ext.data.images.save_png", full)
    file = noise(tmp_path / "7.png", size=(40, 32))
    with pytest.raises(OSError, match="No space left"):
        uploads().coat(file, "8", CoatConfig())


def test_a_key_must_fit(tmp_path: Path) -> None:
    with pytest.raises(CoaterError, match="expected no key"):
        UploadCoater(FakeCoater(), CoatingKey.draw(8), 100)  # type: ignore[arg-type]
