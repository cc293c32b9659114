"""The command ``coat`` on real files: shares, broken files, mistakes, interrupts."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.metadata_files import COMMENT, jpeg, painters_photo, segment

from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest


def test_coat_share(call, photos: Path, coater_file: Path, tmp_path: Path) -> None:
    line = ["coat", photos, "--coater", coater_file, "--share", "0.5"]
    code, out, err = call(*line, "--out", tmp_path / "c")
    assert code == 0
    assert "2 of 4 images coated" in out
    assert f"Don't publish {MANIFEST_NAME}: it lists which images are coated" in err
    assert call(*line, "--out", tmp_path / "fast", "--no-scores")[0] == 0
    made = [CoatManifest.load(tmp_path / name / MANIFEST_NAME) for name in ("c", "fast")]
    assert [entry.clean_score is None for entry in made[1].entries] == [True] * 4
    assert made[0].entries[0].output_sha256 == made[1].entries[0].output_sha256


def test_copies_of_removed_images_are_told(call, photos, coater_file, tmp_path) -> None:
    line = ["coat", photos, "--coater", coater_file, "--out", tmp_path / "c"]
    assert "earlier runs" not in call(*line)[2]
    (photos / "1.png").unlink()
    assert "still contains 1 file from earlier runs (1.png)" in call(*line)[2]


def test_broken_file_is_named_and_exit_3(call, photos: Path, coater_file: Path, tmp_path) -> None:
    whole = (photos / "1.png").read_bytes()
    (photos / "bad.png").write_bytes(whole[: len(whole) // 2])
    code, out, err = call("coat", photos, "--coater", coater_file, "--out", tmp_path / "c")
    assert code == 3
    assert "4 of 4 images coated" in out
    assert "bad.png" in err
    assert "Traceback" not in err
    code, _, err = call("score", photos, "--coater", coater_file, "--out", tmp_path / "s.json")
    assert code == 3
    assert "bad.png" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("coat", "{tmp}/none", "--coater", "{coater}", "--out", "{tmp}/c"), "none"),
        (("coat", "{photos}", "--coater", "{tmp}/no.safetensors", "--out", "{tmp}/c"), "no.saf"),
        (("coat", "{photos}", "--coater", "{coater}", "--out", "{tmp}/c", "--share", "2"), "share"),
        (("score", "{photos}", "--coater", "{photos}/0.png", "--out", "{tmp}/s"), "0.png"),
        (
            ("verify", "--suspect", "{tmp}/s", "--reference", "{tmp}/s", "--out", "{tmp}/r"),
            "{tmp}/s",
        ),
    ],
)
def test_mistakes_exit_2_and_name_the_culprit(
    call, photos: Path, coater_file: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    places = {"tmp": str(tmp_path), "photos": str(photos), "coater": str(coater_file)}
    code, _, err = call(*(argument.format(**places) for argument in arguments))
    assert code == 2
    assert err.startswith("Error: ")
    assert message.format(**places) in err
    assert "Traceback" not in err


def test_missing_option_is_a_usage_error(call, photos: Path) -> None:
    code, _, err = call("coat", photos)
    assert code == 2
    assert "--coater" in err


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_interrupted_coating_resumes(photos: Path, coater_file: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(60):
        pixels = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"more{number}.png")
    out = tmp_path / "coated"
    line = [sys.executable, "-m", "siren_ext", "coat", photos, "--coater", coater_file]
    line += ["--out", out, "--batch-size", "1", "--workers", "1"]
    first = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while first.poll() is None and time.monotonic() < deadline and not list(out.glob("*.png")):
        time.sleep(0.02)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130, err
    assert "run the same command again to resume" in err
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert 0 < len(kept) < 64
    second = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert second.returncode == 0, second.stderr
    assert len(list(out.glob("*.png"))) == 64
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "nothing is coated twice"


def test_a_dropped_profile_is_named_and_the_copy_is_readable(
    call, photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    """A profile of a scanner: Pillow refuses every PNG that carries it."""
    small = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = struct.pack(">I", 1_600_000) + small[4:] + bytes(1_600_000 - len(small))
    with Image.open(photos / "1.png") as image:
        image.convert("RGB").save(photos / "scan.jpg", icc_profile=profile)
    code, _, err = call("coat", photos, "--coater", coater_file, "--out", tmp_path / "c")
    assert code == 0
    assert "A colour profile of 1.6 MB was dropped" in err
    assert "(scan.jpg)" in err
    with Image.open(tmp_path / "c" / "scan.png") as image:
        image.load()
        assert "icc_profile" not in image.info
    entries = CoatManifest.load(tmp_path / "c" / MANIFEST_NAME).entries
    noted = {entry.source: entry.notes for entry in entries if entry.notes}
    assert list(noted) == ["scan.jpg"]


def test_formats_and_what_compression_leaves(
    call, photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    with Image.open(photos / "1.png") as image:
        image.convert("RGB").save(photos / "photo.JPG", quality=95)
    line = ("coat", photos, "--coater", coater_file, "--format", "keep", "--quality", "80")
    code, out, _ = call(*line, "--out", tmp_path / "c")
    assert code == 0
    assert "5 of 5 images coated" in out
    entries = CoatManifest.load(tmp_path / "c" / MANIFEST_NAME).entries
    assert {entry.output: entry.quality for entry in entries} == {
        "0.png": None,
        "1.png": None,
        "2.png": None,
        "3.png": None,
        "photo.JPG": 80,
    }
    assert call(*line, "--out", tmp_path / "c")[0] == 0
    code, _, err = call(*line[:4], "--out", tmp_path / "c", "--format", "jpeg")
    assert code == 2
    assert "from an earlier run with another file format" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "gif"), "format is 'gif'; expected one of 'png', 'keep', 'jpeg', 'webp'"),
        (("--format", "jpeg", "--quality", "0"), "quality is 0; expected a whole number from 1"),
        (
            ("--quality", "80"),
            "--quality is only for JPEG and WebP files; add --format jpeg, webp or keep",
        ),
        (("--format", "png", "--quality", "80"), "--quality is only for JPEG and WebP files"),
    ],
)
def test_impossible_formats_are_refused(
    call, photos: Path, coater_file: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    line = ("coat", photos, "--coater", coater_file, "--out", tmp_path / "c")
    code, _, err = call(*line, *options)
    assert code == 2
    assert words in " ".join(err.split())
    assert not (tmp_path / "c").exists()


def test_dropped_metadata_is_reported_by_kind(
    call, photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    for number in range(5):
        credentials = segment(0xEB, b"JP\0\1\0\0\0\1jumb....c2pa")
        jpeg(photos / f"signed{number}.jpg", credentials)
    painters_photo(photos / "photo.jpg")
    code, _, err = call("coat", photos, "--coater", coater_file, "--out", tmp_path / "c")
    assert code == 0
    assert "Content credentials (C2PA) were dropped" in err
    assert "(signed0.jpg, signed1.jpg, signed2.jpg and 2 more)" in " ".join(err.split())
    assert "photo.jpg" not in err
    with Image.open(tmp_path / "c" / "photo.png") as image:
        assert image.text["Comment"] == COMMENT


@pytest.mark.parametrize(
    ("layout", "file", "advice"),
    [
        ("same", "0.txt", ""),
        ("kohya", "1_photos/0.txt", "--caption_extension .txt"),
        ("imagefolder", "train/metadata.jsonl", "data_dir="),
        ("onetrainer", "1_photos/0.txt", "For OneTrainer: concept"),
        ("ai-toolkit", "1_photos/0.txt", 'caption_ext: "txt"'),
        ("musubi", "metadata.jsonl", "--dataset_config dataset.toml"),
    ],
)
def test_layouts_of_training_programs(
    call, photos: Path, coater_file: Path, tmp_path: Path, layout: str, file: str, advice: str
) -> None:
    out = tmp_path / "c"
    code, words, _ = call("coat", photos, "--coater", coater_file, "--out", out, "--layout", layout)
    assert code == 0
    assert "a fox" in (out / file).read_text()
    assert advice in words
    assert ("For " in words) == bool(advice)


def test_several_processes(call, photos: Path, coater_file: Path, tmp_path: Path) -> None:
    line = ["coat", photos, "--coater", coater_file]
    assert call(*line, "--out", tmp_path / "one")[0] == 0
    code, out, _ = call(*line, "--out", tmp_path / "two", "--processes", "2")
    assert code == 0
    assert "4 of 4 images coated" in out
    made = [(tmp_path / name / MANIFEST_NAME).read_bytes() for name in ("one", "two")]
    assert made[0] == made[1]
    code, _, err = call(*line, "--out", tmp_path / "c", "--engine", "spark")
    assert (code, "expected local or ray" in err) == (2, True)
    code, _, err = call(
        *line, "--out", tmp_path / "c", "--processes", "2", "--twins", tmp_path / "t"
    )
    assert (code, "--twins works only in one process" in err) == (2, True)


def test_folders_by_their_urls(call, photos: Path, coater_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra 'cluster'")
    line = ["coat", f"file://{photos}", "--coater", coater_file, "--out", f"file://{tmp_path}/c"]
    code, out, _ = call(*line)
    assert code == 0
    assert f"4 of 4 images coated: file://{tmp_path}/c" in out
    assert len(CoatManifest.load(tmp_path / "c" / MANIFEST_NAME).entries) == 4
    code, _, err = call(*line, "--twins", tmp_path / "t")
    assert (code, "--twins works only in one process and with folders" in err) == (2, True)
    code, _, err = call(*line[:-1], "nonsense://x/y")
    assert (code, "nonsense://x/y can't be used" in err) == (2, True)
