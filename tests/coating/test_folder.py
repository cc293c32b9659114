"""Coating folders: exact pixels, resuming, stops, hostile neighbours."""

from __future__ import annotations

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
from support.noise_files import files, noise
from support.processes import with_support
from torch import Tensor

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import quantise, read_picture, to_tensor, to_uint8
from siren_ext.errors import Cancelled, ConfigError, DatasetError
from siren_ext.files import sha256_file
from siren_ext.progress import Progress


def test_pixels_scores_and_records_are_exact(data, tmp_path):
    coater, out = FakeCoater(), tmp_path / "out"
    manifest = coat_folder(ImageSet.open(data), coater, out, CoatConfig(strength=1.5), batch_size=4)
    assert manifest == CoatManifest.load(out / MANIFEST_NAME)
    assert manifest.complete
    assert manifest.failures == ()
    assert [entry.source for entry in manifest.entries] == [f"{i}.png" for i in range(10)]
    assert sorted(coater.batches) == [1, 1, 4, 4]
    for entry in manifest.entries:
        before, after = read_picture(data / entry.source), read_picture(out / entry.output)
        image = to_tensor(before.rgb)
        expected = quantise(image + 1.5 * FakeCoater().residual(image))
        assert np.array_equal(after.rgb, to_uint8(expected))
        assert entry.coated
        assert entry.coated_score == float(FakeCoater().score(to_tensor(after.rgb)).double())
        assert entry.clean_score == float(FakeCoater().score(image).double())
        error = np.mean((before.rgb.astype(float) - after.rgb) ** 2)
        assert entry.psnr_db == pytest.approx(10 * np.log10(255**2 / error))
        assert entry.size == before.size == after.size
        assert entry.source_sha256 == sha256_file(data / entry.source)
        assert entry.output_sha256 == sha256_file(out / entry.output)


def test_what_an_image_carries_is_kept(tmp_path):
    folder, out = tmp_path / "data", tmp_path / "out"
    noise(folder / "clear.png", mode="RGBA")
    noise(folder / "grey.png", mode="L")
    noise(folder / "sub" / "palette.gif", mode="P")
    exif = Image.Exif()
    exif[0x0112], exif[0x8298] = 6, "the painter"
    Image.new("RGB", (20, 14), (90, 80, 70)).save(folder / "photo.v1.jpg", exif=exif.tobytes())
    (folder / "clear.txt").write_text("a caption\r\n")
    (folder / "grey.caption").write_text("another")
    coat_folder(ImageSet.open(folder), FakeCoater(), out)
    images = {name for name in files(out) if name.endswith(".png")}
    assert images == {"clear.png", "grey.png", "photo.v1.png", "sub/palette.png"}
    assert np.array_equal(
        read_picture(out / "clear.png").alpha, read_picture(folder / "clear.png").alpha
    )
    with Image.open(out / "photo.v1.png") as image:
        assert image.size == (14, 20)
        assert image.getexif()[0x0112] == 1
        assert image.getexif()[0x8298] == "the painter"
    assert (out / "clear.txt").read_bytes() == (folder / "clear.txt").read_bytes()
    assert (out / "grey.caption").read_text() == "another"


def test_a_second_call_does_nothing(data, tmp_path):
    out = tmp_path / "out"
    (data / "3.txt").write_text("three")
    first = coat_folder(ImageSet.open(data), FakeCoater(), out)
    before = files(out)
    coater = FakeCoater()
    assert coat_folder(ImageSet.open(data), coater, out) == first
    assert coater.coated_images == 0
    after = files(out)
    assert {k: v for k, v in after.items() if k != MANIFEST_NAME} == {
        k: v for k, v in before.items() if k != MANIFEST_NAME
    }


def test_only_what_changed_is_done_again(data, tmp_path):
    out = tmp_path / "out"
    coat_folder(ImageSet.open(data), FakeCoater(), out)
    noise(data / "4.png")
    noise(data / "new.png")
    (out / "5.png").unlink()
    (out / "6.png").write_bytes((out / "6.png").read_bytes()[:-20])
    (data / "7.txt").write_text("only a caption")
    coater = FakeCoater()
    manifest = coat_folder(ImageSet.open(data), coater, out)
    assert coater.coated_images == 4
    assert len(manifest.entries) == 11
    assert (out / "7.txt").read_text() == "only a caption"
    for changed in (CoatConfig(strength=0.5), CoatConfig(strength=0.5)):
        coater = FakeCoater()
        coat_folder(ImageSet.open(data), coater, out, changed)
    assert coater.coated_images == 0
    coater = FakeCoater(fingerprint="fake-2")
    coat_folder(ImageSet.open(data), coater, out, CoatConfig(strength=0.5))
    assert coater.coated_images == 11


def test_copies_of_other_images_are_not_overwritten(data, tmp_path):
    out, other = tmp_path / "out", tmp_path / "client" / data.name
    coat_folder(ImageSet.open(data), FakeCoater(), out)
    before = files(out)
    other.mkdir(parents=True)
    noise(other / "0.png", size=(14, 10))
    with pytest.raises(DatasetError, match=r"has coated copies of other images, such as '0\.png'"):
        coat_folder(ImageSet.open(other), FakeCoater(), out)
    assert files(out) == before
    (other / "1.png").write_bytes((data / "1.png").read_bytes())  # a set that has changed
    assert len(coat_folder(ImageSet.open(other), FakeCoater(), out).entries) == 2
    for file in out.glob("*.png"):
        file.unlink()
    (other / "1.png").unlink()  # nothing is left that could be lost
    assert len(coat_folder(ImageSet.open(other), FakeCoater(), out).entries) == 1


def test_scores_that_were_left_out_are_added(data, tmp_path):
    out, plain = tmp_path / "out", CoatConfig(scores=False)
    assert coat_folder(ImageSet.open(data), FakeCoater(), out, plain).entries[0].clean_score is None
    for _ in range(2):
        made = coat_folder(ImageSet.open(data), FakeCoater(), out)
        assert all(entry.clean_score is not None for entry in made.entries)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.7, 1.0])
def test_partial_coating_is_exact_and_repeatable(data, tmp_path, share):
    (data / "x_cut.png").write_bytes((data / "0.png").read_bytes()[:-60])
    results = []
    for run, seed in enumerate((3, 3, 4)):
        config = CoatConfig(share=share, seed=seed)
        manifest = coat_folder(ImageSet.open(data), FakeCoater(), tmp_path / f"o{run}", config)
        assert len(manifest.entries) == 10
        results.append([entry.coated for entry in manifest.entries])
        for entry in manifest.entries:
            same = np.array_equal(
                read_picture(data / entry.source).rgb,
                read_picture(tmp_path / f"o{run}" / entry.output).rgb,
            )
            assert same == (not entry.coated)
            assert (entry.coated_score is None) == (entry.psnr_db is None) == same
    assert sum(results[0]) == round(share * 10)
    assert results[0] == results[1]
    if 0 < share < 1:
        assert results[0] != results[2]


def test_bad_files_are_named_and_the_rest_is_coated(data, tmp_path):
    (data / "empty.png").write_bytes(b"")
    (data / "text.png").write_text("hello")
    (data / "cut.png").write_bytes((data / "0.png").read_bytes()[:-60])
    (data / "odd\nname.png").write_text("x")
    noise(data / "tiny.png", size=(12, 3))
    (tmp_path / "secret.png").write_bytes((data / "0.png").read_bytes())
    (data / "stolen.png").symlink_to(tmp_path / "secret.png")
    manifest = coat_folder(ImageSet.open(data), FakeCoater(), tmp_path / "out")
    assert len(manifest.entries) == 10
    assert {failure.source for failure in manifest.failures} == {
        "empty.png",
        "text.png",
        "cut.png",
        "odd\\nname.png",
        "tiny.png",
        "stolen.png",
    }
    assert all(failure.error for failure in manifest.failures)
    assert manifest.complete
    record = (tmp_path / "out" / MANIFEST_NAME).read_text()
    assert str(tmp_path) not in record
    assert len([n for n in files(tmp_path / "out") if n.endswith(".png")]) == 10


def test_non_finite_residuals_fail_by_name(data, tmp_path):
    class Broken(FakeCoater):
        def residual(self, images: Tensor) -> Tensor:
            out = super().residual(images).clone()
            out[images[:, 0, 0, 0] == first] = float("nan")
            return out

    first = to_tensor(read_picture(data / "3.png").rgb)[0, 0, 0, 0]
    manifest = coat_folder(ImageSet.open(data), Broken(), tmp_path / "out")
    assert "3.png" in {failure.source for failure in manifest.failures}
    assert "finite" in manifest.failures[0].error
    assert len(manifest.entries) + len(manifest.failures) == 10


@pytest.mark.parametrize("stop", [Cancelled, KeyboardInterrupt])
def test_a_stop_keeps_what_is_finished(data, tmp_path, stop):
    class Stopping(Progress):
        label, count = "", 0

        def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
            self.label = label

        def advance(self, units: int = 1, note: str = "") -> None:
            if self.label == "Coating":
                self.count += 1
                if self.count == 4:
                    raise stop

    out = tmp_path / "out"
    with pytest.raises(stop):
        coat_folder(ImageSet.open(data), FakeCoater(), out, batch_size=2, progress=Stopping())
    manifest = CoatManifest.load(out / MANIFEST_NAME)
    assert not manifest.complete
    done = len(manifest.entries)
    assert 4 <= done < 10
    written = [name for name in files(out) if name.endswith(".png")]
    assert len(written) == done
    assert not any(".part-" in name for name in files(out))
    coater = FakeCoater()
    assert coat_folder(ImageSet.open(data), coater, out).complete
    assert coater.coated_images == 10 - done


def test_a_stop_before_the_first_image_leaves_earlier_records(data, tmp_path):
    out = tmp_path / "out"
    coat_folder(ImageSet.open(data), FakeCoater(), out)
    before = files(out)
    with pytest.raises(Cancelled):
        coat_folder(
            ImageSet.open(data), FakeCoater(), out, progress=Progress(cancelled=lambda: True)
        )
    assert files(out) == before


KILLED = """
import sys, time
from pathlib import Path
from support.fake_coater import FakeCoater
from siren_ext.coating.folder import coat_folder
from siren_ext.data.dataset import ImageSet

class Slow(FakeCoater):
    def residual(self, images):
        time.sleep(0.3)
        return super().residual(images)

coat_folder(ImageSet.open({data!r}), Slow(), Path({out!r}), batch_size=2)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_loses_at_most_one_batch(data, tmp_path):
    out = tmp_path / "out"
    code = KILLED.format(data=str(data), out=str(out))
    with subprocess.Popen([sys.executable, "-c", code], env=with_support()) as process:
        deadline = time.monotonic() + 60
        while len(list(out.glob("[0-9]*.png"))) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    (out / ".part-left.png").write_bytes(b"half")
    written = len(list(out.glob("[0-9]*.png")))
    assert written < 10
    for path in out.glob("[0-9]*.png"):
        read_picture(path)
    coater = FakeCoater()
    manifest = coat_folder(ImageSet.open(data), coater, out)
    assert manifest.complete
    assert len(manifest.entries) == 10
    assert coater.coated_images <= 10 - written + 2
    assert not any(name.startswith(".") for name in files(out))


def test_a_torn_journal_line_is_passed_over_and_a_damaged_manifest_told(data, tmp_path):
    out = tmp_path / "out"
    manifest = coat_folder(ImageSet.open(data), FakeCoater(), out)
    record = json.loads((out / MANIFEST_NAME).read_text())
    (out / MANIFEST_NAME).unlink()
    header = {"coater": "fake-1", "config": CoatConfig().to_dict(), "outputs": record["files"]}
    lines = [json.dumps(value) for value in (header, *record["entries"])]
    (out / ".siren_journal.jsonl").write_text("\n".join(lines)[:-30])
    coater = FakeCoater()
    assert coat_folder(ImageSet.open(data), coater, out) == manifest
    assert coater.coated_images == 1
    (out / MANIFEST_NAME).write_text('{"format": "other"}')
    with pytest.raises(DatasetError, match="manifest"):
        coat_folder(ImageSet.open(data), FakeCoater(), out)


@pytest.mark.parametrize(
    "values", [{"share": 1.1}, {"strength": -1}, {"layout": "flat"}, {"share": float("nan")}]
)
def test_impossible_settings_are_refused(values):
    with pytest.raises(ConfigError):
        CoatConfig(**values)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"workers": 0}])
def test_impossible_limits_are_refused(data, tmp_path, options):
    with pytest.raises(ConfigError):
        coat_folder(ImageSet.open(data), FakeCoater(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_progress_counts_every_image_once(data, tmp_path):
    class Counting(Progress):
        def __init__(self) -> None:
            super().__init__()
            self.stages: list[list[int]] = []

        def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
            self.stages.append([total or 0, done])

        def advance(self, units: int = 1, note: str = "") -> None:
            self.stages[-1][1] += units

    noise(data / "tiny.png", size=(12, 3))
    progress = Counting()
    coat_folder(ImageSet.open(data), FakeCoater(), tmp_path / "out", progress=progress)
    assert progress.stages == [[11, 11], [11, 11]]


MEMORY = """
from pathlib import Path

import torch

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating.folder import coat_folder
from siren_ext.data.dataset import ImageSet


def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


torch.set_num_threads(1)
coater = Coater(CoaterConfig(channels=4, bits=2, features=4, working_size=32))
before = peak()
manifest = coat_folder(ImageSet.open({data!r}), coater, Path({out!r}))
assert [entry.size for entry in manifest.entries] == [(4000, 3000)], manifest.failures
print(before, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_a_photo_of_twelve_megapixels_needs_little_memory(tmp_path):
    """At most five copies in floats (137 MB each) above what the libraries take."""
    (tmp_path / "in").mkdir()
    small = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    large = Image.fromarray(small).resize((4000, 3000), Image.Resampling.BILINEAR)
    large.save(tmp_path / "in" / "a.jpg")
    code = MEMORY.format(data=str(tmp_path / "in"), out=str(tmp_path / "out"))
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, peak = map(float, told.stdout.split())
    assert peak - before < 640
    assert peak < 900
