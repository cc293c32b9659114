"""Coated JPEG and WebP files: their names, their scores after compression, resuming."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.fake_coater import FakeCoater
from support.metadata_files import COMMENT, IPTC, painters_photo, smooth
from support.noise_files import files
from support.processes import with_support
from support.stopping import StopInStage
from torch import Tensor

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.formats import WEAKENED, compression_words, size_words
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatEntry, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.data.iptc import read_fields
from siren_ext.errors import Cancelled, DatasetError
from siren_ext.files import sha256_file


class Even(FakeCoater):
    """Darkens evenly, which compression keeps."""

    def residual(self, images: Tensor) -> Tensor:
        return super().residual(images) * 0 - 0.02


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Sources of every kind with captions."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    smooth().save(folder / "photo.JPG", quality=95)
    smooth().save(folder / "scan.jpeg", quality=95)
    smooth().save(folder / "drawing.png")
    smooth().save(folder / "old.bmp")
    smooth().save(folder / "web.webp", quality=90)
    smooth().save(folder / "exact.webp", lossless=True)
    smooth(mode="RGBA").save(folder / "clear.png")
    smooth().save(folder / "misnamed.png", "JPEG", quality=95)
    (folder / "photo.txt").write_text("a photo")
    return folder


def outputs(manifest: CoatManifest) -> dict[str, str]:
    return {entry.source: entry.output for entry in manifest.entries}


def test_keep_writes_each_image_in_its_own_format(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = coat_folder(ImageSet.open(mixed), Even(), out, CoatConfig(format="keep"))
    assert manifest.failures == ()
    assert outputs(manifest) == {
        "photo.JPG": "photo.JPG",
        "scan.jpeg": "scan.jpeg",
        "drawing.png": "drawing.png",
        "old.bmp": "old.png",
        "web.webp": "web.webp",
        "exact.webp": "exact.webp",
        "clear.png": "clear.png",
        "misnamed.png": "misnamed.jpg",
    }
    assert (out / "photo.txt").read_text() == "a photo"
    lossy = {entry.source for entry in manifest.entries if entry.quality is not None}
    assert lossy == {"photo.JPG", "scan.jpeg", "web.webp", "misnamed.png"}
    assert {entry.quality for entry in manifest.entries} == {None, 95}
    for name, kind in {"photo.JPG": "JPEG", "web.webp": "WEBP", "old.png": "PNG"}.items():
        with Image.open(out / name) as image:
            assert image.format == kind
    assert read_picture(out / "exact.webp").extras.lossless
    assert read_picture(out / "clear.png").alpha is not None


@pytest.mark.parametrize(("kind", "suffix"), [("jpeg", ".jpg"), ("webp", ".webp")])
def test_one_format_for_all(mixed: Path, tmp_path: Path, kind: str, suffix: str) -> None:
    out = tmp_path / "out"
    config = CoatConfig(format=kind, quality=85)
    manifest = coat_folder(ImageSet.open(mixed), Even(), out, config)
    assert manifest == CoatManifest.load(out / MANIFEST_NAME)
    named = outputs(manifest)
    assert named["old.bmp"] == f"old{suffix}"
    assert named["drawing.png"] == f"drawing{suffix}"
    assert named["clear.png"] == ("clear.png" if kind == "jpeg" else "clear.webp")
    notes = {entry.source: entry.notes for entry in manifest.entries if entry.notes}
    words = "Written as PNG: the image has transparency, which JPEG can't store."
    assert notes == ({"clear.png": (words,)} if kind == "jpeg" else {})
    for entry in manifest.entries:
        after = to_tensor(read_picture(out / entry.output).rgb)
        assert entry.coated_score == float(Even().score(after).double())
        assert entry.output_sha256 == sha256_file(out / entry.output)


def test_opaque_transparency_does_not_keep_an_image_from_jpeg(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    smooth().convert("RGBA").save(tmp_path / "in" / "a.png")
    config = CoatConfig(format="jpeg")
    manifest = coat_folder(ImageSet.open(tmp_path / "in"), Even(), tmp_path / "out", config)
    assert outputs(manifest) == {"a.png": "a.jpg"}


def test_records_are_those_of_the_written_file(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = CoatConfig(format="jpeg", quality=60)
    manifest = coat_folder(ImageSet.open(mixed), Even(), out, config)
    entry = next(entry for entry in manifest.entries if entry.source == "drawing.png")
    before, after = read_picture(mixed / entry.source), read_picture(out / entry.output)
    error = np.mean((before.rgb.astype(float) - after.rgb) ** 2)
    assert entry.psnr_db == pytest.approx(10 * np.log10(255**2 / error))
    record = json.loads((out / MANIFEST_NAME).read_text())["entries"]
    stored = next(one for one in record if one["source"] == "drawing.png")["compression"]
    assert stored["quality"] == 60
    effect = entry.clean_score - stored["score"]
    assert effect == pytest.approx(0.02, abs=0.002)
    assert stored["kept"] == round((entry.clean_score - entry.coated_score) / effect, 2)
    assert stored["kept"] == pytest.approx(1, abs=0.1)
    clear = next(one for one in record if one["source"] == "clear.png")
    assert "compression" not in clear
    assert "After compression, " in compression_words(manifest.entries)


class Fine(FakeCoater):
    """Adds a checkerboard that only the score sees, and JPEG removes."""

    def residual(self, images: Tensor) -> Tensor:
        return super().residual(images) * 2

    def score(self, images: Tensor) -> Tensor:
        return -(images[..., ::2, 1::2] - images[..., ::2, ::2]).mean((1, 2, 3))


def test_a_coating_that_suffers_is_reported_with_its_loss(mixed: Path, tmp_path: Path) -> None:
    data = ImageSet.open(mixed)
    config = CoatConfig(format="jpeg", quality=10)
    manifest = coat_folder(data, Fine(), tmp_path / "weak", config)
    weak = [entry for entry in manifest.entries if WEAKENED in entry.notes]
    assert len(weak) == 7  # the transparent one is a PNG
    for entry in weak:
        assert entry.compression.kept < 0.2
        assert entry.coated_score > entry.compression.score + 0.02
    assert compression_words(manifest.entries).endswith("7 of 7 images are below 80%.")
    config = CoatConfig(format="png")
    manifest = coat_folder(data, Fine(), tmp_path / "exact", config)
    assert all(entry.notes == () for entry in manifest.entries)
    assert compression_words(manifest.entries) == ""


def test_metadata_stays_with_a_jpeg(tmp_path: Path) -> None:
    painters_photo(tmp_path / "in" / "photo.jpg")
    config = CoatConfig(format="keep")
    coat_folder(ImageSet.open(tmp_path / "in"), Even(), tmp_path / "out", config)
    picture = read_picture(tmp_path / "out" / "photo.jpg")
    assert read_fields(picture.extras.iptc or b"") == IPTC
    assert picture.text == {"Comment": COMMENT}


@pytest.mark.parametrize("kind", ["keep", "jpeg", "webp"])
def test_a_second_call_does_nothing(mixed: Path, tmp_path: Path, kind: str) -> None:
    out, config = tmp_path / "out", CoatConfig(format=kind)
    first = coat_folder(ImageSet.open(mixed), Even(), out, config)
    before = files(out)
    coater = Even()
    assert coat_folder(ImageSet.open(mixed), coater, out, config) == first
    assert coater.coated_images == 0
    before.pop(MANIFEST_NAME)
    assert {name: time for name, time in files(out).items() if name in before} == before


def test_another_quality_is_another_file(mixed: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "out", ImageSet.open(mixed)
    coat_folder(data, Even(), out, CoatConfig(format="keep", quality=90))
    coater = Even()
    manifest = coat_folder(data, coater, out, CoatConfig(format="keep", quality=70))
    assert coater.coated_images == 4  # those that are not exact
    assert {entry.quality for entry in manifest.entries} == {None, 70}


def test_a_folder_does_not_get_the_same_image_twice(mixed: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "out", ImageSet.open(mixed)
    coat_folder(data, Even(), out)
    before = files(out)
    with pytest.raises(DatasetError, match=r"has 'drawing\.png' from an earlier run with another"):
        coat_folder(data, Even(), out, CoatConfig(format="jpeg"))
    assert files(out) == before


@pytest.mark.parametrize("kind", ["keep", "jpeg", "webp"])
def test_a_stop_keeps_what_is_finished(mixed: Path, tmp_path: Path, kind: str) -> None:
    out, config = tmp_path / "out", CoatConfig(format=kind)
    data = ImageSet.open(mixed)
    with pytest.raises(Cancelled):
        coat_folder(data, Even(), out, config, batch_size=1, progress=StopInStage("Coating", 3))
    manifest = CoatManifest.load(out / MANIFEST_NAME)
    assert not manifest.complete
    done = len(manifest.entries)
    assert 3 <= done < 8
    pictures = [name for name in files(out) if not name.endswith((".txt", ".json"))]
    assert sorted(pictures) == sorted(outputs(manifest).values())
    coater = Even()
    assert coat_folder(data, coater, out, config).complete
    assert coater.coated_images == 8 - done


def test_copied_images_are_compressed_too_and_not_scored(mixed: Path, tmp_path: Path) -> None:
    config = CoatConfig(format="jpeg", share=0.5)
    manifest = coat_folder(ImageSet.open(mixed), Even(), tmp_path / "out", config)
    copied = [entry for entry in manifest.entries if not entry.coated]
    assert len(copied) == 4
    assert {(one.coated_score, one.compression) for one in copied if one.quality} == {
        (None, next(one.compression for one in copied if one.quality))
    }
    assert next(one.compression for one in copied if one.quality).kept is None


def test_too_large_a_picture_for_webp_is_a_png(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (16_384, 200), (90, 80, 70)).save(tmp_path / "in" / "wide.jpg")
    config = CoatConfig(format="webp")
    manifest = coat_folder(ImageSet.open(tmp_path / "in"), Even(), tmp_path / "out", config)
    assert outputs(manifest) == {"wide.jpg": "wide.png"}
    assert manifest.entries[0].notes == ("Written as PNG: WEBP allows 16,383 pixels per side.",)


def test_old_records_have_no_compression() -> None:
    entry = CoatEntry("a.jpg", "a.png", "0" * 64, "1" * 64, True, 40.0, 2.0, 1.0, (20, 16))
    assert entry.quality is None
    assert CoatConfig().to_dict() == {"strength": 1.0, "share": 1.0, "seed": 0, "layout": "plain"}


def test_files_that_became_much_larger_are_reported(mixed: Path, tmp_path: Path) -> None:
    data, out = ImageSet.open(mixed), tmp_path / "out"
    manifest = coat_folder(data, Even(), out)
    assert size_words(manifest, data, out) == ""
    with (out / "photo.png").open("ab") as stream:  # as large as a photo's
        stream.truncate(40_000_000)
    assert size_words(manifest, data, out) == (
        "The PNG files take 40 MB and the originals 0 MB. To write JPEG and WebP "
        "images in their own format, coat into a new folder with --format keep."
    )
    kept = dataclasses.replace(manifest, config=CoatConfig(format="keep"))
    assert size_words(kept, data, out) == ""


KILLED = """
import time
from pathlib import Path
from support.fake_coater import FakeCoater
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig
from siren_ext.data.dataset import ImageSet

class Slow(FakeCoater):
    def score(self, images):
        time.sleep(0.05)
        return super().score(images)

config = CoatConfig(format={kind!r}, layout="musubi")
coat_folder(ImageSet.open({data!r}), Slow(), Path({out!r}), config, batch_size=1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_after_a_kill_the_result_is_that_of_one_run(tmp_path: Path, kind: str) -> None:
    data, out, whole = tmp_path / "data", tmp_path / "out", tmp_path / "whole"
    data.mkdir()
    for number in range(12):
        smooth((48 + 8 * (number % 3), 40)).save(data / f"{number}.png")
    code = KILLED.format(data=str(data), out=str(out), kind=kind)
    with subprocess.Popen([sys.executable, "-c", code], env=with_support()) as process:
        deadline = time.monotonic() + 60
        while len(list(out.glob("[0-9]*"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    written = len(list(out.glob("[0-9]*")))
    assert 3 <= written < 12
    config, coater = CoatConfig(format=kind, layout="musubi"), FakeCoater()
    manifest = coat_folder(ImageSet.open(data), coater, out, config)
    assert manifest.complete
    assert coater.coated_images <= 12 - written + 3
    assert manifest == coat_folder(ImageSet.open(data), FakeCoater(), whole, config)
    found = {name: (out / name).read_bytes() for name in files(out)}
    assert found == {name: (whole / name).read_bytes() for name in files(whole)}
