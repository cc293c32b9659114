"""Folders and captions as data sets, honest and hostile."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
import torch
from PIL import Image

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, DatasetError, ImageError
from siren_ext.progress import Progress


def picture(path: Path, value: int = 100, size: tuple[int, int] = (10, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 20, 30)).save(path)
    return path


def names(data: ImageSet) -> list[str]:
    return [item.name for item in data.items]


def test_a_plain_folder_with_captions(tmp_path):
    for name in ("10.png", "2.jpg", "sub/1.png", "3.png"):
        picture(tmp_path / name)
    (tmp_path / "2.txt").write_text("a hill\n", encoding="utf-8-sig")
    (tmp_path / "10.caption").write_text("zehn Bäume", encoding="utf-8")
    (tmp_path / "3.txt").write_text("  \n")
    data = ImageSet.open(tmp_path)
    assert names(data) == ["2.jpg", "3.png", "10.png", "sub/1.png"]
    assert [item.caption for item in data.items] == ["a hill", None, "zehn Bäume", None]
    assert data.captions("a thing") == ["a hill", "a thing", "zehn Bäume", "a thing"]
    assert data.items[3].relative == PurePosixPath("sub/1.png")
    assert data.name == tmp_path.name
    assert len(data) == 4
    assert data.problems == ()


def test_a_table_of_captions_fills_the_gaps(tmp_path):
    for name in ("1.png", "2.png", "sub/3.png"):
        picture(tmp_path / name)
    (tmp_path / "1.txt").write_text("its own")
    table = 'file\tcaption\n1.png\tother\n2.png\ta "quoted" one\nsub/3.png\tdeep\nbroken\n'
    (tmp_path / "captions.tsv").write_text(table)
    assert ImageSet.open(tmp_path).captions("") == ["its own", 'a "quoted" one', "deep"]


def test_kohya_folders_give_repeats_and_class_words(tmp_path):
    picture(tmp_path / "4_red fox" / "a.png")
    picture(tmp_path / "0_none" / "b.png")
    picture(tmp_path / "plain" / "c.png")
    picture(tmp_path / "123456_x" / "d.png")
    found = {i.path.stem: (i.repeats, i.class_words) for i in ImageSet.open(tmp_path).items}
    assert found == {"a": (4, "red fox"), "b": (1, None), "c": (1, None), "d": (1, None)}
    assert "red fox" in ImageSet.open(tmp_path).captions("x")


@pytest.mark.parametrize(
    ("leaf", "found"),
    [
        ("10_sks cat", (10, "sks cat")),
        ("3_b", (3, "b")),
        ("sks cat", (1, None)),
        ("0_x", (1, None)),
        ("010_sks", (10, "sks")),
        ("１０_猫", (10, "猫")),  # noqa: RUF001 - digits that int reads
        ("10_", (10, None)),
        ("20240131_trip", (1, None)),
    ],
)
def test_a_kohya_folder_that_is_given_itself_keeps_its_meaning(tmp_path, monkeypatch, leaf, found):
    picture(tmp_path / leaf / "a.png")
    picture(tmp_path / leaf / "sub" / "b.png")
    for place in (tmp_path / leaf, Path(leaf), Path()):
        monkeypatch.chdir(tmp_path / leaf if place == Path() else tmp_path)
        data = ImageSet.open(place)
        assert [(item.repeats, item.class_words) for item in data.items] == [found, (1, None)]
        assert data.name == leaf


@pytest.mark.parametrize("fill", [None, "notes.txt"])
def test_a_folder_without_images_is_an_error(tmp_path, fill):
    if fill:
        (tmp_path / fill).write_text("x")
    with pytest.raises(DatasetError, match="no usable image"):
        ImageSet.open(tmp_path)
    with pytest.raises(DatasetError, match="absent"):
        ImageSet.open(tmp_path / "absent")


def test_links_that_leave_the_folder_are_told_not_followed(tmp_path):
    secret = picture(tmp_path / "private" / "secret.png")
    (tmp_path / "private" / "note.txt").write_text("private words")
    data = tmp_path / "data"
    picture(data / "a.png")
    (data / "stolen.png").symlink_to(secret)
    (data / "a.txt").symlink_to(tmp_path / "private" / "note.txt")
    (data / "door").symlink_to(tmp_path / "private")
    found = ImageSet.open(data)
    assert names(found) == ["a.png"]
    assert found.items[0].caption is None
    assert found.items[0].caption_files == ()
    assert sorted(name for name, _ in found.problems) == ["a.txt", "door", "stolen.png"]


def test_an_overlong_caption_file_is_told(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes(b"x" * (1 << 17))
    data = ImageSet.open(tmp_path)
    assert data.items[0].caption is None
    assert data.problems[0][0] == "a.txt"


def test_unreadable_images_stop_tensors_but_not_checked(tmp_path):
    picture(tmp_path / "1.png")
    (tmp_path / "2.png").write_text("no image")
    picture(tmp_path / "3.png")
    data = ImageSet.open(tmp_path)
    with pytest.raises(ImageError, match=r"2\.png"):
        list(data.tensors(4))
    good = data.checked()
    assert names(good) == ["1.png", "3.png"]
    assert good.problems[0][0] == "2.png"
    assert len(list(good.tensors(4))) == 2
    with pytest.raises(Cancelled):
        data.checked(progress=Progress(cancelled=lambda: True))
    assert good.decoded
    assert not data.decoded
    assert good.checked(progress=Progress(cancelled=lambda: True)) is good  # nothing is read again


def test_tensors_are_square_and_in_order(tmp_path):
    for index in range(3):
        picture(tmp_path / f"{index}.png", value=index * 50, size=(30 + index, 20))
    views = list(ImageSet.open(tmp_path).tensors(16))
    assert [view.shape for view in views] == [torch.Size((1, 3, 16, 16))] * 3
    assert [round(float(view[0, 0].mean()) * 255) for view in views] == [0, 50, 100]


def test_the_hash_depends_on_the_bytes_alone(tmp_path):
    picture(tmp_path / "one" / "a.png", 1)
    picture(tmp_path / "one" / "b.png", 2)
    picture(tmp_path / "two" / "z.png", 1)
    picture(tmp_path / "two" / "sub" / "y.png", 2)
    picture(tmp_path / "three" / "a.png", 1)
    one, two, three = (ImageSet.open(tmp_path / n).hash for n in ("one", "two", "three"))
    assert one == two != three
    assert len(one) == 64
