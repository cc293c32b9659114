"""Commands on difficult file systems: one message, no traceback, whatever the system refuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest
from siren_ext.files import locked

Call = Callable[..., tuple[int, str, str]]
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX names, links and pipes")


def test_a_share_that_refuses_chmod(
    call: Call, photos: Path, coater_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "chmod", refuse)
    out = tmp_path / "out"
    code, shown, _ = call("coat", photos, "--coater", coater_file, "--out", out)
    assert code == 0
    assert "4 of 4 images coated" in shown
    assert CoatManifest.load(out / MANIFEST_NAME).complete


@posix
def test_the_longest_name_is_coated(
    call: Call, photos: Path, coater_file: Path, tmp_path: Path
) -> None:
    name = ("a castle on a hill at dusk, oil on canvas, " * 9)[:250]
    (photos / "1.png").rename(photos / f"{name}.png")
    out = tmp_path / "out"
    code, shown, err = call("coat", photos, "--coater", coater_file, "--out", out)
    assert (code, err.count("Traceback")) == (0, 0)
    assert "4 of 4 images coated" in shown
    with Image.open(out / f"{name}.png") as image:
        assert np.asarray(image).shape[2] == 3


@posix
@pytest.mark.parametrize("subcommand", ["coat", "score", "train"])
def test_pipes_and_link_loops_are_named(
    call: Call, photos: Path, coater_file: Path, tmp_path: Path, subcommand: str
) -> None:
    os.mkfifo(photos / "pipe.png")
    os.mkfifo(photos / "1.txt")
    (photos / "loop.png").symlink_to(photos / "loop.png")
    out = tmp_path / ("scores.json" if subcommand == "score" else "out")
    options = ["--coater", coater_file]
    if subcommand == "train":
        options = ["--surrogate", "none", "--set", "steps=1", "--set", "working_size=32"]
    code, _, err = call(subcommand, photos, *options, "--out", out)
    if subcommand == "train":
        assert code in (2, 3)
    else:
        assert code == 3
        assert "pipe.png: is not a regular file" in err
        assert "loop.png: " in err
    assert "Traceback" not in err


@posix
@pytest.mark.parametrize("place", ["file", "file/inner", "loop", "loop/inner", "n" * 300])
@pytest.mark.parametrize("role", ["data", "out"])
def test_folders_that_can_not_be_used_are_one_message(
    call: Call, photos: Path, coater_file: Path, tmp_path: Path, place: str, role: str
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    given = {"data": photos, "out": tmp_path / "out"} | {role: tmp_path / place}
    code, out, err = call(
        "coat", given["data"], "--coater", coater_file, "--out", given["out"], "-q"
    )
    assert code == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert place[:20] in err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_ends_the_run_and_the_next_one_resumes(
    call: Call,
    photos: Path,
    coater_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    save, saved = Image.Image.save, []

    def until_full(image: Image.Image, to: object, **options: object) -> None:
        if not isinstance(to, BytesIO):
            if len(saved) >= 2:
                raise OSError(number, os.strerror(number))
            saved.append(image.size)
        save(image, to, **options)

    out = tmp_path / "out"
    words = ("coat", photos, "--coater", coater_file, "--out", out, "--workers", "1")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", until_full)
        code, _, err = call(*words, "--batch-size", "1", "-q")
    assert code == 2
    assert os.strerror(number) in err
    assert "2 images are finished" in err
    assert len(list(out.glob("*.png"))) == 2
    assert not list(out.glob(".part-*"))
    code, shown, _ = call(*words)
    assert code == 0
    assert "4 of 4 images coated" in shown


@pytest.mark.parametrize("name", ["attack", "robustness", "demo", "investigate"])
def test_a_second_run_into_the_same_folder_is_refused(
    call: Call, photos: Path, coater_file: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    words: dict[str, tuple[object, ...]] = {
        "attack": (photos, "--with", "jpeg"),
        "robustness": (photos, "--coater", coater_file),
        "demo": (),
        "investigate": ("--suspect", photos, "--reference", photos, "--coater", coater_file),
    }
    place = (out,) if name == "demo" else ("--out", out)
    with locked(out):
        code, _, err = call(name, *words[name], *place, "-q")
    assert code == 2
    assert "out is being written by another run" in err
    assert not out.exists()
