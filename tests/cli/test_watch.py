"""The command ``watch`` in a process of its own: signals, kills, keys."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.evidence_samples import PASSPHRASE

from siren_ext.coater.bundled import coater_path
from siren_ext.coating.journal import JOURNAL_NAME
from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest
from siren_ext.keys.coating_key import KeyRing

posix = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")


def started(*arguments: str | Path) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "siren_ext", "watch", *map(str, arguments), "--interval", "0.1"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def picture(path: Path, seed: int, side: int = 64) -> None:
    """Written under a temporary name and renamed, as uploaders do."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path.with_suffix(".part.png"))
    path.with_suffix(".part.png").rename(path)


def wait_for(process: subprocess.Popen[str], out: Path, count: int) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        if len(list(out.glob("[!.]*.png"))) >= count:
            return
        time.sleep(0.02)
    process.kill()
    pytest.fail(f"not coated: {process.communicate()}")


def test_once_codes_and_words(call, photos: Path, coater_file: Path, tmp_path: Path) -> None:
    line = ["watch", photos, "--coater", coater_file, "--out", tmp_path / "c", "--once"]
    code, out, err = call(*line, "--settle", "0")
    assert (code, out.splitlines()[-1]) == (0, f"4 images are coated: {tmp_path / 'c'}"), err
    assert "0.png -> 0.png" in out
    (photos / "bad.png").write_text("a text")
    code, out, err = call(*line, "--settle", "0", "--poll")
    assert code == 3
    assert "->" not in out
    assert err.count("bad.png is not an image") == 1
    for wrong, words in (
        (("--interval", "0"), "interval is 0.0; expected"),
        (("--set", "share=0.5"), "share is 0.5; expected 1"),
        (("--quality", "80"), "--quality is only for JPEG and WebP files"),
    ):
        code, _, err = call(*line, *wrong)
        assert code == 2
        assert words in err


@posix
def test_signals_stop_cleanly_and_a_second_watch_is_refused(
    photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    out, line = tmp_path / "c", ("--coater", coater_file, "--settle", "0.1")
    process = started(photos, *line, "--out", out)
    wait_for(process, out, 4)
    second = started(photos, *line, "--out", out)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2
    assert "is being written by another run" in err
    picture(photos / "late.png", 1)
    wait_for(process, out, 5)
    process.send_signal(signal.SIGINT)
    shown, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert shown.splitlines()[-1] == f"5 images are coated: {out}"
    assert "Traceback" not in err
    assert len(CoatManifest.load(out / MANIFEST_NAME).entries) == 5
    assert not (out / JOURNAL_NAME).exists()


@pytest.mark.slow
@posix
def test_a_killed_watch_goes_on_without_coating_twice(
    photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    for number in range(12):
        picture(photos / f"more{number}.png", number, side=256)
    out, line = tmp_path / "c", ("--coater", coater_file, "--settle", "0.1")
    process = started(photos, *line, "--out", out)
    wait_for(process, out, 3)
    process.kill()
    process.communicate()
    recorded = (out / JOURNAL_NAME).read_text().count('"output_sha256"')
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("[!.]*.png")}
    assert 0 < recorded <= len(kept) < 16
    process = started(photos, *line, "--out", out)
    wait_for(process, out, 16)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    shown, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    entries = CoatManifest.load(out / MANIFEST_NAME).entries
    assert len(entries) == 16
    assert shown.count(" -> ") == 16 - recorded
    same = [name for name, mtime in kept.items() if (out / name).stat().st_mtime_ns == mtime]
    assert len(same) >= recorded
    assert not list(out.glob(".part-*"))


def test_the_key_is_written_and_never_shown(
    call, cheap, secret_in_environment, photos: Path, tmp_path: Path
) -> None:
    ring = KeyRing.draw(["a", "b"])
    ring.save(tmp_path / "keys.json", PASSPHRASE)
    line = ["watch", photos, "--coater", "keyed", "--out", tmp_path / "c", "--once"]
    code, _, err = call(*line)
    assert code == 2
    assert "is keyed; add --key FILE" in err
    line += ["--settle", "0", "--key", tmp_path / "keys.json", "--passphrase-env", "SECRET"]
    code, out, err = call(*line, "--recipient", "b")
    assert code == 0, err
    manifest = CoatManifest.load(tmp_path / "c" / MANIFEST_NAME)
    assert manifest.key == ring.key("b").fingerprint()
    assert coater_path("keyed").is_file()
    bits = "".join("1" if sign > 0 else "0" for sign in ring.key("b").signs().tolist())
    written = out + err + (tmp_path / "c" / MANIFEST_NAME).read_text()
    assert all(secret not in written for secret in (PASSPHRASE, bits, bits[:12]))
