"""Tar files: keys, members that are refused, texts that are too long."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from support.shard_files import members, tar

from siren_ext.errors import DatasetError, ImageError
from siren_ext.scale import tar_shards as module
from siren_ext.scale.tar_shards import TarShard


def read(path: Path) -> list[tuple[str, list[str], list[str], list[str]]]:
    """Key, names, images that belong, and what is refused of each sample."""
    with TarShard(path, path.name) as shard:
        return [
            (
                sample.key,
                list(sample.names),
                [image.name for image in sample.images if image.belongs],
                [name for name, _ in sample.refused],
            )
            for sample in shard.samples(1)
        ]


def test_members_with_one_key_are_a_sample(tmp_path) -> None:
    names = ["./a.b/1.jpg", "./a.b/1.txt", "./a.b/1.mask.png", "./a.b/2.JPG", "readme", "1.cls"]
    path = tar(tmp_path / "x.tar", dict.fromkeys(names, b"x"))
    assert read(path) == [
        ("./a.b/1", names[:3], ["./a.b/1.jpg"], []),
        ("./a.b/2", ["./a.b/2.JPG"], ["./a.b/2.JPG"], []),
        ("readme", ["readme"], [], []),
        ("1", ["1.cls"], [], []),
    ]


@pytest.mark.parametrize(
    "name", ["../a.png", "b/../../a.png", "/a.png", "..\\a.png", "C:\\a.png", "._a.png", ".x/a.png"]
)
def test_names_that_lead_out_and_hidden_ones_are_refused(tmp_path, name) -> None:
    ((_, names, images, refused),) = read(tar(tmp_path / "x.tar", {name: b"x"}))
    assert (names, images, refused) == ([], [], [name])


def test_the_content_decides_what_is_a_picture(tmp_path) -> None:
    """An original with an odd ending would be published as it is."""
    png, raw = b"\x89PNG\r\n\x1a\n", b"II*\0"
    given = {"1.jpg_large": png, "1.raw": b"depth", "1.clip": b"embedding", "2": png, "3.dng": raw}
    more = {"3.txt": b"x", "4.mask.dng": raw, "5.jpg.bak": png, "6.psd": b"8BPS\0\1"}
    path = tar(tmp_path / "x.tar", given | more)
    assert read(path) == [
        ("1", ["1.jpg_large", "1.raw", "1.clip"], ["1.jpg_large"], []),
        ("2", ["2"], ["2"], []),
        ("3", ["3.txt"], [], ["3.dng"]),
        ("4", ["4.mask.dng"], [], []),
        ("5", ["5.jpg.bak"], [], []),
        ("6", [], [], ["6.psd"]),
    ]


def test_devices_and_holes_are_refused(tmp_path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("1.png", tarfile.FIFOTYPE), ("2.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert [refused for *_, refused in read(tmp_path / "x.tar")] == [["1.png"], ["2.png"]]


def test_long_texts_and_large_images_are_not_read(tmp_path, monkeypatch) -> None:
    path = tar(tmp_path / "x.tar", {f"{'a' * 300}.png": b"x" * 100})
    with TarShard(path, "x.tar") as shard:
        monkeypatch.setattr(module, "MAX_IMAGE_BYTES", 99)
        (sample,) = shard.samples(1)
        with pytest.raises(ImageError, match="100 bytes; expected at most 99"):
            sample.save(sample.images[0], tmp_path / "copy")
    monkeypatch.setattr(module, "MAX_HEADER_BYTES", 200)
    with pytest.raises(DatasetError, match="bytes of text; expected at most 200"):
        TarShard(path, "x.tar")
    monkeypatch.setattr(module, "MAX_MEMBERS", 2)
    many = tar(tmp_path / "y.tar", {f"1.{index}": b"" for index in range(3)})
    with pytest.raises(DatasetError, match="more than 2 members with the key 1"):
        read(many)


def test_what_is_no_tar_file_is_told(tmp_path) -> None:
    compressed = tmp_path / "x.tar"
    with tarfile.open(compressed, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
    with pytest.raises(DatasetError, match="unpack it if it is compressed"):
        TarShard(compressed, "x.tar")
    with pytest.raises(DatasetError, match="can't be read"):
        TarShard(tmp_path / "none.tar", "none.tar")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(DatasetError, match=r"empty\.tar is empty"):
        read(tmp_path / "empty.tar")


def test_names_times_and_owners_are_kept(tmp_path) -> None:
    long, new = f"{'é' * 120}.jpg", f"{'é' * 120}.png"
    path = tar(tmp_path / "x.tar", {long: b"old", "dir/b.txt": b"text"})
    (tmp_path / "coated").write_bytes(b"new bytes")
    with TarShard(path, "x.tar") as shard:
        writer = shard.writer(tmp_path / "y.tar")
        for sample in shard.samples(1):
            changed = {long: (new, tmp_path / "coated")} if long in sample.names else {}
            writer.add(sample, changed)
        writer.close()
    assert members(tmp_path / "y.tar") == {new: b"new bytes", "dir/b.txt": b"text"}
    with tarfile.open(tmp_path / "y.tar") as archive:
        assert {(info.mtime, info.uname) for info in archive} == {(1_600_000_000, "artist")}
