"""``coat`` with folders as people have them: what is left out is reported, the rest is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Call = Callable[..., tuple[int, str, str]]
Coat = Callable[..., tuple[int, str, str]]


def picture(path: Path, mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(1).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture
def coat(call: Call, coater_file: Path, tmp_path: Path) -> Coat:
    """Coat ``tmp_path/in`` into ``tmp_path/out``."""

    def run(*words: str, data: str = "in") -> tuple[int, str, str]:
        given = ["coat", tmp_path / data, "--coater", coater_file, "--out", tmp_path / "out", "-q"]
        return call(*given, *words)

    return run


def written(tmp_path: Path) -> list[str]:
    out = tmp_path / "out"
    return sorted(
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and "siren_" not in path.name
    )


def test_pictures_that_are_not_read_are_named_and_exit_3(coat: Coat, tmp_path: Path) -> None:
    raw = picture(tmp_path / "in" / "one.jpg").read_bytes()
    (tmp_path / "in" / "photo.DNG").write_bytes(b"II*\0\x08\0\0\0")
    (tmp_path / "in" / "tweet.jpg_large").write_bytes(raw)
    (tmp_path / "in" / "downloaded").write_bytes(raw)
    code, out, err = coat()
    assert code == 3
    assert out.startswith("3 of 3 images coated: ")
    assert "photo.DNG: camera RAW files can't be read here; export them as PNG or JPEG." in err
    assert written(tmp_path) == ["downloaded.png", "one.png", "tweet.png"]


def test_many_pictures_of_a_kind_are_one_line(coat: Coat, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "one.png")
    for number in range(20):
        (tmp_path / "in" / f"{number}.nef").write_bytes(b"II*\0")
    code, _, err = coat()
    assert code == 3
    (line,) = [line for line in err.splitlines() if "camera RAW" in line]
    assert "20 files (0.nef, 1.nef, " in line
    assert "and 12 more)" in line


@pytest.mark.parametrize("name", ["portrait-masklabel.png", "mask/portrait.png"])
def test_masks_are_not_coated(coat: Coat, tmp_path: Path, name: str) -> None:
    picture(tmp_path / "in" / "portrait.png")
    picture(tmp_path / "in" / name, "L")
    code, out, err = coat()
    assert code == 0
    assert out.startswith("1 of 1 images coated: ")
    assert f"Left out: 1 training mask ({name}): left as they are; 'coat' copies them" in err
    assert written(tmp_path) == sorted(["portrait.png", name])
    copied = (tmp_path / "out" / name).read_bytes()
    assert copied == (tmp_path / "in" / name).read_bytes()


@pytest.mark.parametrize("layout", ["plain", "kohya"])
@pytest.mark.parametrize("suffix", [".txt", ".caption"])
@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1252", "the artist\u2019s caf\u00e9"),
        ("utf-16", "the artist\u2019s caf\u00e9"),
        ("cp932", "\u72d0\u306e\u7d75"),
        ("utf-8-sig", "\u72d0\u306e\u7d75"),
    ],
)
def test_captions_in_any_encoding_are_never_garbled(
    coat: Coat, tmp_path: Path, layout: str, suffix: str, codec: str, text: str
) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / f"a{suffix}").write_bytes(text.encode(codec))
    code, _, err = coat("--layout", layout)
    assert code == 0
    assert (f"a{suffix}" in err) == (codec != "utf-8-sig")
    for path in (tmp_path / "out").rglob("a.*"):
        if path.suffix == suffix and layout == "plain":
            assert path.read_bytes() == text.encode(codec)
        elif path.suffix in (".txt", ".caption"):
            content = path.read_bytes()
            assert content == text.encode(codec) or content.decode("utf-8").strip() == text


def test_a_caption_that_is_no_text_is_not_written_anew(coat: Coat, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.caption").write_bytes(b"\xff\xfe\x00")
    code, _, err = coat("--layout", "kohya")
    assert code == 3
    assert "a.caption: can't be read as text" in err
    assert not any(path.endswith(".txt") for path in written(tmp_path))


def test_a_kohya_folder_given_itself_keeps_its_name(coat: Coat, tmp_path: Path) -> None:
    picture(tmp_path / "10_sks cat" / "a.png")
    code, _, _ = coat("--layout", "kohya", data="10_sks cat")
    assert code == 0
    assert "10_sks cat/a.png" in written(tmp_path)


def test_images_without_captions_and_lost_captions_are_counted(coat: Coat, tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png")
    (tmp_path / "in" / "0.txt").write_text("a fox")
    (tmp_path / "in" / "old.txt").write_text("a dog")
    _, _, err = coat()
    assert "2 images have no caption (1.png, 2.png)." in err
    assert "Left out: 1 caption file without an image (old.txt)" in err


def test_an_imagefolder_is_read(coat: Coat, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "train" / "a.png")
    table = '{"file_name": "a.png", "text": "a fox"}\n'
    (tmp_path / "in" / "train" / "metadata.jsonl").write_text(table)
    assert coat()[0] == 0
    assert (tmp_path / "out" / "train" / "a.txt").read_text() == "a fox\n"
