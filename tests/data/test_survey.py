"""Files of a folder by kind: pictures by content, and what is left out with a reason."""

from __future__ import annotations

import io
import os
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image

from siren_ext.data import picture_types
from siren_ext.data.dataset import ImageSet
from siren_ext.data.image_files import scan_images
from siren_ext.data.survey import LeftOut, sort_files, survey_folder
from siren_ext.errors import DatasetError

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
NOT_HERE = {
    "IMG_0001.HEIC": (HEIC, "HEIC", "pillow-heif"),
    "b.heif": (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIC", "pillow-heif"),
    "renamed.jpg": (HEIC, "HEIC", "pillow-heif"),
    "empty.hif": (b"", "HEIC", "pillow-heif"),
    "scan.jxl": (b"\xff\x0a\x00", "JPEG XL", "pillow-jxl-plugin"),
    "box.JXL": (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", "pillow-jxl-plugin"),
    "photo.DNG": (b"II*\0\x08\0\0\0", "camera RAW", "export them"),
    "photo.nef": (b"MM\0*\0\0\0\x08", "camera RAW", "export them"),
    "photo.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "camera RAW", "export them"),
    "photo.ARW": (b"", "camera RAW", "export them"),
    "work.kra": (b"PK\x03\x04", "KRA", "export them"),
}


def encoded(kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (10, 8), (100, 20, 30)).save(stream, kind)
    return stream.getvalue()


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def names(data: ImageSet) -> list[str]:
    return [item.name for item in data.items]


@pytest.mark.parametrize("name", NOT_HERE)
def test_pictures_that_are_not_read_are_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    content, shown, advice = NOT_HERE[name]
    monkeypatch.setattr(picture_types, "readable_formats", lambda: ("JPEG", "PNG", "TIFF"))
    monkeypatch.setattr(picture_types, "readable_suffixes", lambda: {".jpg", ".png", ".tif"})
    data = ImageSet.open(fill(tmp_path, {"a.png": encoded(), name: content}))
    assert names(data) == ["a.png"]
    (problem,) = data.problems
    assert problem[0] == name
    assert problem[1].startswith(f"{shown} files can't be read here; ")
    assert advice in problem[1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tweet.jpg_large", "JPEG"),
        ("downloaded", "JPEG"),
        ("image.php", "PNG"),
        ("picture.txt", "PNG"),
        ("photo.dng", "JPEG"),
        ("orig.jfif!d", "WEBP"),
        ("old.dat", "BMP"),
        ("x.unknown", "GIF"),
        ("scan.001", "TIFF"),
        ("a.heic", "JPEG"),
        ("wrong.png", "JPEG"),
    ],
)
def test_pictures_are_known_by_their_content(tmp_path: Path, name: str, kind: str) -> None:
    data = ImageSet.open(fill(tmp_path, {name: encoded(kind)})).checked()
    assert names(data) == [name]
    assert data.problems == ()
    assert data.notices == ()


MASKS = [
    "portrait-masklabel.png",
    "portrait-MaskLabel.PNG",
    "portrait_mask.png",
    "portrait-mask.webp",
    "portrait.mask.png",
    "mask_portrait.png",
    "mask/portrait.png",
    "masks/portrait.png",
    "Mask/portrait.png",
    "masks/portrait_mask.png",
    "masks/deep/mask_portrait.jpg",
    "alpha_mask/portrait.png",
    "Segmentation/portrait.png",
    "portrait.jpg.mask.png",
    "portrait_segmask.png",
    "portrait-alpha_mask.png",
    "cond_mask/portrait.png",
]


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_not_pictures_of_the_set(tmp_path: Path, name: str) -> None:
    kind = {".jpg": "JPEG", ".webp": "WEBP"}.get(Path(name).suffix, "PNG")
    fill(tmp_path, {"portrait.jpg": encoded("JPEG"), "portrait.txt": b"x", name: encoded(kind)})
    data = ImageSet.open(tmp_path)
    assert names(data) == ["portrait.jpg"]
    advice = "left as they are; 'coat' copies them with their images"
    assert data.notices == (f"Left out: 1 training mask ({name}): {advice}.",)
    assert data.items[0].mask == tmp_path / name


def test_masks_of_no_image_and_conditioning_images(tmp_path: Path) -> None:
    others = ("gone-masklabel.png", "portrait-masklabel3.png", "portrait-condlabel.png")
    fill(tmp_path, dict.fromkeys(("portrait.png", "portrait-masklabel.png", *others), encoded()))
    data = ImageSet.open(tmp_path)
    assert names(data) == ["portrait.png"]
    assert data.items[0].mask == tmp_path / "portrait-masklabel.png"
    assert data.notices == (
        "Left out: 1 training mask (portrait-masklabel.png): left as they are; 'coat' copies them "
        "with their images.",
        "Left out: 2 training masks (gone-masklabel.png, portrait-masklabel3.png): left as they "
        "are.",
        "Left out: 1 conditioning image (portrait-condlabel.png): left as they are, because they "
        "may show uncoated images.",
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fox_thumb.jpg", "thumbnail"),
        ("Fox-Thumbnail.jpg", "thumbnail"),
        ("conditioning_images/fox.png", "conditioning image"),
        ("control/fox.png", "conditioning image"),
    ],
)
def test_thumbnails_beside_pictures_and_folders_of_conditions(
    tmp_path: Path, name: str, kind: str
) -> None:
    fill(tmp_path, {"fox.png": encoded(), "my_thumb.png": encoded(), name: encoded()})
    data = ImageSet.open(tmp_path)
    assert names(data) == ["fox.png", "my_thumb.png"]  # which shows a thumb: there is no "my.png"
    assert [line.partition(": left")[0] for line in data.notices] == [
        f"Left out: 1 {kind} ({name})"
    ]


@pytest.mark.parametrize(
    ("pictures", "mask", "owners"),
    [
        (["img/a.png", "img/b.png"], "masks/a.png", ["img/a.png"]),
        (["x/a.png", "y/a.png"], "x/mask/a.png", ["x/a.png"]),
        (["x/a.png", "y/a.png"], "masks/x/a.png", ["x/a.png"]),
        (["x/a.png", "y/a.png"], "masks/a.png", []),
        (["a.png", "a.jpg"], "a-masklabel.png", ["a.png", "a.jpg"]),
        (["A.PNG", "b.png"], "mask/a.png", ["A.PNG"]),
        (["x/a.png", "y/a.png"], "x_masks/a.png", ["x/a.png"]),
        (["x/d/a.png", "y/a.png"], "x-mask/d/a.png", ["x/d/a.png"]),
        (["a-mask/1.png", "b/1.png"], "a-mask/1_mask.png", ["a-mask/1.png"]),
        (["oni_mask/a.png", "b/a.png"], "oni_mask/masks/a.png", ["oni_mask/a.png"]),
    ],
)
def test_masks_belong_to_pictures(
    tmp_path: Path, pictures: list[str], mask: str, owners: list[str]
) -> None:
    fill(tmp_path, {name: encoded() for name in (*pictures, mask)})
    data = ImageSet.open(tmp_path)
    assert sorted(names(data)) == sorted(pictures)
    assert {item.name for item in data.items if item.mask == tmp_path / mask} == set(owners)


def test_pictures_of_masks_are_pictures(tmp_path: Path) -> None:
    given = ["hats/top.png", "masks/oni.png", "masks/venice.png", "dog_mask.png"]
    given += ["hats/gas_mask.png", "gas_masks/top.png", "hats/top_gasmask.png"]
    given += ["10_luigi/1.png", "10_luigi mask/1.png"]
    fill(tmp_path, dict.fromkeys(given, encoded()))
    assert sorted(names(ImageSet.open(tmp_path))) == sorted(given)
    assert names(ImageSet.open(tmp_path / "masks")) == ["oni.png", "venice.png"]


@pytest.mark.parametrize("images", ["img", "image", "train"])
def test_regularisation_images_and_samples_of_kohyas_interface(tmp_path: Path, images: str) -> None:
    files = [f"{images}/10_sks cat/a.png", "reg/1_cat/r.png", "model/sample/s.png", "model/m.png"]
    data = ImageSet.open(fill(tmp_path, dict.fromkeys(files, encoded())))
    assert set(names(data)) == {f"{images}/10_sks cat/a.png", "model/m.png"}
    assert data.notices == (
        "Left out: 1 regularisation image (reg/1_cat/r.png): not part of the set itself.",
        "Left out: 1 picture of a training program (model/sample/s.png): only training images are "
        "used.",
    )
    assert names(ImageSet.open(tmp_path / "reg")) == ["1_cat/r.png"]


def test_a_folder_reg_without_such_a_layout_is_used(tmp_path: Path) -> None:
    given = ["cats/a.png", "reg/b.png"]
    assert names(ImageSet.open(fill(tmp_path, dict.fromkeys(given, encoded())))) == given


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "@eaDir"),
        ("sub/@eaDir/b.jpg", "sub/@eaDir"),
        ("#recycle/old.png", "#recycle"),
        ("Network Trash Folder/old.png", "Network Trash Folder"),
        ("~snapshot/old.png", "~snapshot"),
        ("FOUND.000/old.png", "FOUND.000"),
        ("@Recycle/old.png", "@Recycle"),
        (".Trash-1000/files/old.png", ".Trash-1000"),
        (".Trashes/501/old.png", ".Trashes"),
        ("$RECYCLE.BIN/S-1/old.png", "$RECYCLE.BIN"),
        (".thumbnails/normal/a.png", ".thumbnails"),
        (".@__thumb/defaulta.png", ".@__thumb"),
        ("__MACOSX/._a.png", "__MACOSX"),
        ("System Volume Information/x.png", "System Volume Information"),
        ("Thumbs.db", "Thumbs.db"),
        ("desktop.ini", "desktop.ini"),
        (".DS_Store", ".DS_Store"),
        ("._a.png", "._a.png"),
        (".hidden/b.png", ".hidden"),
        ("SYNOPHOTO_THUMB_XL.jpg", "SYNOPHOTO_THUMB_XL.jpg"),
        ("thumbs/a.png", "thumbs/a.png"),
    ],
)
def test_what_systems_and_servers_leave_is_set_apart(
    tmp_path: Path, name: str, listed: str
) -> None:
    data = ImageSet.open(fill(tmp_path, {"a.png": encoded(), name: encoded()}))
    assert names(data) == ["a.png"]
    assert data.problems == ()
    (notice,) = data.notices
    assert f" ({listed})" in notice
    assert notice.startswith("Left out: 1 ")


def test_other_files_are_counted_by_kind_with_examples(tmp_path: Path) -> None:
    files = {f"{number}.mp4": b"\0\0\0\x18ftypisom" for number in range(1, 13)}
    files |= {
        "a.png": encoded(),
        "README": b"words",
        "notes.txt": b"x",
        "set.toml": b"",
        "b.ZZ": b"",
    }
    data = ImageSet.open(fill(tmp_path, files))
    text = "\n".join(data.notices)
    assert "Left out: 12 MP4 files (1.mp4, 2.mp4, 3.mp4 and 9 more): " in text
    assert "1 file without a known suffix (README)" in text
    assert "1 caption file without an image (notes.txt)" in text
    assert "1 TOML file (set.toml): name a dataset.toml itself" in text
    assert "1 ZZ file (b.ZZ)" in text


def test_every_file_is_in_one_list() -> None:
    paths = [PurePosixPath(name) for name in ("a.png", "a.txt", "m.json", "x.mp4", ".y", "c.dng")]
    heads = {PurePosixPath("a.png"): encoded()}
    found = sort_files(paths, lambda path: heads.get(path, b""))
    listed = [*found.pictures, *found.captions, *found.tables, *(path for path, _ in found.unread)]
    listed += [PurePosixPath(name) for entry in found.left_out for name in entry.names]
    assert sorted(listed) == sorted(paths)


def test_plurals() -> None:
    line = LeftOut("table of captions", ("a.csv", "b.csv"), "why").line
    assert line == "Left out: 2 tables of captions (a.csv, b.csv): why."


def test_files_of_this_program_are_not_listed(tmp_path: Path) -> None:
    files = {"a.png": encoded(), "siren_manifest.json": b"{}", ".siren_journal.jsonl": b""}
    assert ImageSet.open(fill(tmp_path, files)).notices == ()


def test_a_folder_with_nothing_of_use_says_what_is_there(tmp_path: Path) -> None:
    fill(tmp_path, {"a.dng": b"II*\0", "b.mp4": b"x"})
    with pytest.raises(DatasetError, match=r"a\.dng: camera RAW .*1 MP4 file \(b\.mp4\)"):
        ImageSet.open(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="named pipes of POSIX")
def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    fill(tmp_path, {"a.png": encoded()})
    for name in ("b.png", "a.txt", "c", "metadata.jsonl"):
        os.mkfifo(tmp_path / name)
    data = ImageSet.open(tmp_path)
    assert names(data) == ["a.png"]
    assert sorted(name for name, _ in data.problems) == ["a.txt", "b.png", "metadata.jsonl"]


def test_commitments_list_the_same_files_as_ever(tmp_path: Path) -> None:
    """They are checked by suffix, with masks and without what is known by content."""
    fill(tmp_path, {"a.png": encoded(), "a-masklabel.png": encoded(), "b": encoded()})
    assert [path.name for path in scan_images(tmp_path, deep=True)[0]] == [
        "a-masklabel.png",
        "a.png",
    ]
    assert [path.name for path in survey_folder(tmp_path, deep=True).pictures] == ["a.png", "b"]
