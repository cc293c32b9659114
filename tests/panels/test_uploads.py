"""Uploads become a folder of images, and hostile ones are refused."""

from __future__ import annotations

import errno
import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from siren_ext.data.dataset import ImageSet, Item
from siren_ext.errors import DatasetError, ImageError
from siren_ext.panels.host import PanelHost, UploadLimits
from siren_ext.panels.uploads import check_given, collect_images


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


def test_files_and_a_folder_are_not_guessed_between(
    host: PanelHost, pictures: Path, tmp_path: Path
) -> None:
    """Files of an earlier run may still be in the form."""
    for use in (
        lambda files: collect_images(files, str(pictures), host.limits, tmp_path / "in"),
        lambda files: check_given(files, str(pictures), host.limits),
    ):
        with pytest.raises(DatasetError, match="both given for the images; expected one of the"):
            use([str(pictures / "p0.png")])
        use([])
    assert not (tmp_path / "in").exists()


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
    nameless = zipped(tmp_path / "nameless.zip", {"1.txt": b"a cat"})
    with zipfile.ZipFile(nameless, "a") as archive:
        archive.writestr(zipfile.ZipInfo(""), b"")
    with pytest.raises(DatasetError, match="No image files"):
        collect_images([nameless], "", host.limits, tmp_path / "nameless")
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


def encoded(suffix: str, value: int = 100) -> bytes:
    stream = io.BytesIO()
    kind = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[suffix]
    Image.new("RGB", (16, 12), (value, 20, 30)).save(stream, kind)
    return stream.getvalue()


def red(item: Item) -> int:
    with Image.open(item.path) as image:
        return round(np.asarray(image.convert("RGB"))[:, :, 0].mean() / 10) * 10


CAT, DOG = encoded(".png", 50), encoded(".png", 200)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (
            {"10_cat/1.png": CAT, "10_cat/1.txt": b"a cat", "5_dog/1.jpg": encoded(".jpg", 200),
             "5_dog/1.txt": b"a dog"},
            {(50, "a cat", 10), (200, "a dog", 5)},
        ),
        (
            {"10_cat/1.png": CAT, "5_dog/1.png": DOG, "5_dog/1.txt": b"a dog"},
            {(50, None, 10), (200, "a dog", 5)},
        ),
        (
            {"a/1.png": CAT, "a/1.txt": b"a cat", "b/1.PNG": DOG, "b/1.TXT": b"a dog"},
            {(50, "a cat", 1), (200, "a dog", 1)},
        ),
        (
            {"1.txt": b"a cat", "1.png": CAT, "1_2.png": DOG, "b/1.png": DOG},
            {(50, "a cat", 1), (200, None, 1)},
        ),
        (
            {"a.png": CAT, "a.jpg": encoded(".jpg", 200), "a.png.txt": b"a cat",
             "a.jpg.txt": b"a dog"},
            {(50, "a cat", 1), (200, "a dog", 1)},
        ),
        (
            {"train/1.png": CAT, "test/1.png": DOG,
             "train/metadata.jsonl": b'{"file_name": "1.png", "text": "a cat"}\n',
             "test/metadata.csv": b"file_name,text\n1.png,a dog\n"},
            {(50, "a cat", 1), (200, "a dog", 1)},
        ),
        (
            {"1.png": CAT, "1.txt": b" \n", "captions.tsv": b"1.png\ta cat\n"},
            {(50, "a cat", 1)},
        ),
        (
            {"x/10_cat/1.png": CAT, "y/10_cat/1.png": DOG, "y/10_cat/1.caption": b"a dog"},
            {(50, None, 10), (200, "a dog", 10)},
        ),
        (
            {"evening light " * 12 + ".png": CAT, "evening light " * 12 + ".txt": b"a cat"},
            {(50, "a cat", 1)},
        ),
        ({"\u72d0" * 80 + ".png": CAT, "\u72d0" * 80 + ".txt": b"a cat"}, {(50, "a cat", 1)}),
    ],
)  # fmt: skip
def test_pairs_in_archives_stay_pairs(
    host: PanelHost,
    tmp_path: Path,
    entries: dict[str, bytes],
    expected: set[tuple[int, str | None, int]],
) -> None:
    archive = zipped(tmp_path / "set.zip", entries)
    data = ImageSet.open(collect_images([archive], "", host.limits, tmp_path / "in"))
    assert {(red(item), item.caption, item.repeats) for item in data.items} == expected


def test_an_archive_of_one_kohya_folder_keeps_its_name(host: PanelHost, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "10_art.zip", {"1.png": CAT, "sub/2.png": DOG})
    data = ImageSet.open(collect_images([archive], "", host.limits, tmp_path / "in"))
    found = {(red(item), item.repeats, item.class_words) for item in data.items}
    assert found == {(50, 10, "art"), (200, 1, None)}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_entries_of_one_name_the_last_counts(host: PanelHost, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for image, caption in ((CAT, "a cat"), (DOG, "a dog")):
            archive.writestr("10_pet/1.png", image)
            archive.writestr("10_pet/1.txt", caption)
    notes: list[str] = []
    data = ImageSet.open(collect_images([path], "", host.limits, tmp_path / "in", notes=notes))
    assert [(red(item), item.caption, item.repeats) for item in data.items] == [(200, "a dog", 10)]
    assert notes == [
        "In the archive more than once: 10_pet/1.png, 10_pet/1.txt. The last one counts."
    ]


def test_archives_with_the_same_names_are_kept_apart(host: PanelHost, tmp_path: Path) -> None:
    archives = [
        zipped(tmp_path / "cat.zip", {"1.png": CAT}),
        zipped(tmp_path / "dog.zip", {"1.png": DOG, "1.txt": b"a dog"}),
    ]
    data = ImageSet.open(collect_images(archives, "", host.limits, tmp_path / "in"))
    assert {(red(item), item.caption) for item in data.items} == {(50, None), (200, "a dog")}


@pytest.mark.parametrize("both", [True, False])
def test_single_files_of_one_name(host: PanelHost, tmp_path: Path, both: bool) -> None:
    files = {"cat/1.png": CAT, "dog/1.png": DOG, "dog/1.txt": b"a dog"}
    if both:
        files["cat/1.txt"] = b"a cat"
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    notes: list[str] = []
    given = [tmp_path / name for name in sorted(files)]
    data = ImageSet.open(collect_images(given, "", host.limits, tmp_path / "in", notes=notes))
    found = {(red(item), item.caption) for item in data.items}
    if both:
        assert found == {(50, "a cat"), (200, "a dog")}
    else:  # nobody knows whose caption it is
        assert found == {(50, None), (200, None)}
        assert "1 caption file without an image" in notes[0]


def test_the_content_of_an_upload_counts(host: PanelHost, tmp_path: Path) -> None:
    entries = {
        "downloaded": encoded(".jpg"),
        "tweet.jpg_large": encoded(".jpg"),
        "wrong.jpg": encoded(".png"),
        "right.jpeg": encoded(".jpg"),
    }
    archive = zipped(tmp_path / "x.zip", entries)
    place = collect_images([archive], "", host.limits, tmp_path / "in", flat=True)
    assert names(place) == ["downloaded.jpg", "right.jpeg", "tweet.jpg", "wrong.png"]


def test_what_is_left_out_of_an_upload_is_reported(host: PanelHost, tmp_path: Path) -> None:
    entries = {
        "1.png": CAT,
        "1-masklabel.png": DOG,
        "@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg": encoded(".jpg"),
        "__MACOSX/._1.png": b"x",
        "photo.CR2": b"II*\0",
        "read.me": b"x",
        "dataset.toml": b"x = 1",
    }
    archive = zipped(tmp_path / "x.zip", entries)
    notes: list[str] = []
    place = collect_images([archive], "", host.limits, tmp_path / "in", notes=notes)
    assert names(place) == ["1.png"]
    text = "\n".join(notes)
    for expected in ("photo.CR2", "1-masklabel.png", "@eaDir", "__MACOSX", "read.me"):
        assert expected in text
    assert "(dataset.toml): a dataset.toml is not read in uploads; put the images into" in text
    only = zipped(tmp_path / "only.zip", {"photo.CR2": b"II*\0"})
    with pytest.raises(DatasetError, match=r"photo\.CR2.*export them"):
        collect_images([only], "", host.limits, tmp_path / "in2")


@pytest.mark.parametrize(
    ("table", "content", "expected"),
    [
        (
            "metadata.csv",
            b"file_name,text\n1.png,one\n1.png,two\n",
            "metadata.csv: gives several captions for 1 image (1.png); none of them is used.",
        ),
        ("metadata.jsonl", b'{"file_name": "1.png"', "metadata.jsonl: line 1"),
        (
            "metadata.csv",
            "file_name,text\n1.png,the artist\u2019s caf\xe9\n".encode("cp1252"),
            "(metadata.csv) and was read as cp1252; check the text.",
        ),
        ("captions.tsv", b"9.png\ta cat\n", "expected names of images that are here"),
        (
            "metadata.csv",
            b"file_name,text\n1.png,a\n9.png,b\n",
            "Left out: 1 caption of metadata.csv (9.png)",
        ),
        ("metadata.csv", b"x" * 500_001, "metadata.csv: was not read: it has more than 500000"),
    ],
)
def test_what_is_wrong_with_a_table_is_reported(
    host: PanelHost, tmp_path: Path, table: str, content: bytes, expected: str
) -> None:
    archive = zipped(tmp_path / "x.zip", {"1.png": CAT, table: content})
    notes: list[str] = []
    collect_images([archive], "", host.limits, tmp_path / "in", notes=notes)
    assert expected in "\n".join(notes)


def test_kohya_folders_are_flat_for_scoring(host: PanelHost, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"10_cat/1.png": CAT, "5_dog/1.png": DOG})
    place = collect_images([archive], "", host.limits, tmp_path / "in", flat=True)
    assert names(place) == ["1.png", "1_2.png"]


class FullDisk(io.RawIOBase):
    """A file on a disk without space."""

    def writable(self) -> bool:
        return True

    def write(self, block: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("packed", [True, False])
def test_a_full_disk_is_no_damaged_archive(
    host: PanelHost, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    image = pictures / "p0.png"
    given = zipped(tmp_path / "a.zip", {"a.png": image.read_bytes()}) if packed else image
    place, real = tmp_path / "in", Path.open

    def opened(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        writes = path.parent == place and mode == "wb"
        return FullDisk() if writes else real(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(DatasetError, match="upload can't be stored: No space left on device"):
        collect_images([str(given)], "", host.limits, place)


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_no_damaged_archive(
    host: PanelHost, pictures: Path, tmp_path: Path
) -> None:
    given = zipped(tmp_path / "a.zip", {"a.png": (pictures / "p0.png").read_bytes()})
    (tmp_path / "in").mkdir(mode=0o500)
    with pytest.raises(DatasetError, match="upload can't be stored: Permission denied"):
        collect_images([str(given)], "", host.limits, tmp_path / "in")
