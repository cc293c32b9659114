"""Captions as people have them: files beside images and tables."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from siren_ext.data.dataset import ImageSet

ACCENTED = "caf\u00e9"


def folder_of(home: Path, files: dict[str, str | bytes | None]) -> Path:
    """A folder with these files; None makes an image."""
    for name, content in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            Image.new("RGB", (10, 8), (100, 20, 30)).save(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return home


def captions(data: ImageSet) -> dict[str, str | None]:
    return {item.name: item.caption for item in data.items}


@pytest.mark.parametrize(
    ("image", "caption"),
    [
        ("a.png", "a.txt"),
        ("a.png", "a.caption"),
        ("a.png", "a.TXT"),
        ("a.png", "A.Txt"),
        ("A.PNG", "a.txt"),
        ("a.png", "a.png.txt"),
        ("a.JPG", "a.jpg.caption"),
        ("v1.2.png", "v1.2.txt"),
        ("sub/a.png", "sub/a.txt"),
        (f"{unicodedata.normalize('NFD', ACCENTED)}.png", f"{ACCENTED}.txt"),
        (f"{ACCENTED}.png", f"{unicodedata.normalize('NFD', ACCENTED)}.TXT"),
    ],
)
def test_a_caption_file_is_found(tmp_path: Path, image: str, caption: str) -> None:
    data = ImageSet.open(folder_of(tmp_path, {image: None, caption: "a fox"}))
    assert list(captions(data).values()) == ["a fox"]
    assert [file.name for file in data.items[0].caption_files] == [Path(caption).name]
    assert data.notices == ()


def test_a_caption_is_not_given_to_a_similar_name(tmp_path: Path) -> None:
    home = folder_of(
        tmp_path, {"A.png": None, "A.txt": "big", "sub/a.png": None, "a.jpg": None, "a.gif": None}
    )
    if (tmp_path / "a.png").exists():
        pytest.skip("the file system ignores case")
    (home / "a.jpg.txt").write_text("the photo")
    assert captions(ImageSet.open(home)) == {
        "A.png": "big",
        "a.gif": None,
        "a.jpg": "the photo",
        "sub/a.png": None,
    }


TABLES = {
    "metadata.jsonl": '{"file_name": "a.png", "text": "one"}\n'
    '{"file_name": "s/b.png", "text": "two"}',
    "metadata.csv": 'file_name,text\na.png,one\ns/b.png,"two"\n',
    "captions.tsv": "a.png\tone\ns/b.png\ttwo\n",
    "meta_cap.json": json.dumps(
        {"/data/x/a.png": {"caption": "one"}, "/x/s/b.png": {"tags": "two"}}
    ),
    "meta.json": json.dumps({"a": {"caption": "one"}, "b": {"caption": "two"}}),
    "musubi.jsonl": '{"image_path": "C:\\\\set\\\\a.png", "caption": "one"}\n'
    '{"image_path": "/elsewhere/s/b.png", "caption": "two"}\n',
    "list.json": json.dumps(
        [{"image": "a.png", "text": "one"}, {"image": "s/b.png", "text": "two"}]
    ),
    "other.csv": "path;prompt\na.png;one\ns/b.png;two\n",
    "named.jsonl": '{"file_name": "a.png", "additional_feature": "one"}\n\n'
    '{"file_name": "s/b.png", "additional_feature": "two"}\n',
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_captions(tmp_path: Path, table: str) -> None:
    home = folder_of(tmp_path, {"a.png": None, "s/b.png": None, table: TABLES[table]})
    data = ImageSet.open(home)
    assert captions(data) == {"a.png": "one", "s/b.png": "two"}
    assert data.notices == ()
    assert data.problems == ()


def test_a_file_name_with_a_backslash_is_found(tmp_path: Path) -> None:
    name = "q\"uo'te\\.png"
    line = json.dumps({"file_name": name, "text": "a fox"})
    home = folder_of(tmp_path, {"a.png": None, "metadata.jsonl": line})
    try:
        (home / "a.png").rename(home / name)
    except OSError:
        pytest.skip("no such names here")
    if len(list(home.iterdir())) == 2:
        assert captions(ImageSet.open(home)) == {name: "a fox"}


@pytest.mark.parametrize("name", [" a.png", "a .png"])
def test_spaces_in_names_count(tmp_path: Path, name: str) -> None:
    line = json.dumps({"file_name": name, "text": "a fox"})
    home = folder_of(tmp_path, {name: None, "metadata.jsonl": line})
    assert captions(ImageSet.open(home)) == {name: "a fox"}
    (home / "metadata.jsonl").unlink()
    (home / "captions.tsv").write_text(f"  {name}  \ta fox\n")
    assert captions(ImageSet.open(home)) == {name: "a fox" if name[0] == "a" else None}


def test_a_json_object_of_captions(tmp_path: Path) -> None:
    table = {"a.png": "one", "D:\\set\\s\\b.png": "two", "version": "1.0"}
    files = {"a.png": None, "s/b.png": None, "captions.json": json.dumps(table)}
    data = ImageSet.open(folder_of(tmp_path, files))
    assert captions(data) == {"a.png": "one", "s/b.png": "two"}
    assert data.notices == ()


def test_a_table_in_each_folder(tmp_path: Path) -> None:
    line = '{"file_name": "1.png", "text": "%s"}'
    files = {"x/1.png": None, "x/metadata.jsonl": line % "left", "y/1.png": None}
    home = folder_of(tmp_path, {**files, "y/metadata.jsonl": line % "right"})
    assert captions(ImageSet.open(home)) == {"x/1.png": "left", "y/1.png": "right"}


def test_a_file_beside_the_image_goes_first(tmp_path: Path) -> None:
    files = {"a.png": None, "a.txt": "mine", "metadata.csv": "file_name,text\na.png,table\n"}
    assert captions(ImageSet.open(folder_of(tmp_path, files))) == {"a.png": "mine"}


def test_kohya_joins_caption_and_tags(tmp_path: Path) -> None:
    meta = json.dumps({"a.png": {"caption": "a fox", "tags": "red, snow"}})
    data = ImageSet.open(folder_of(tmp_path, {"a.png": None, "meta_cap.json": meta}))
    assert captions(data) == {"a.png": "a fox, red, snow"}


def test_a_json_file_beside_the_image(tmp_path: Path) -> None:
    data = ImageSet.open(folder_of(tmp_path, {"a.png": None, "a.json": '{"caption": "a fox"}'}))
    assert captions(data) == {"a.png": "a fox"}


def test_a_table_of_another_set_gives_nothing(tmp_path: Path) -> None:
    meta = json.dumps({"/data/cat/1.png": {"caption": "a cat"}})
    data = ImageSet.open(folder_of(tmp_path, {"dog/1.png": None, "meta.json": meta}))
    assert captions(data) == {"dog/1.png": None}
    assert "1 table of captions (meta.json)" in data.notices[0]
    assert data.notices[-1] == "1 image has no caption (dog/1.png)."


def test_captions_of_images_that_are_not_there_are_listed(tmp_path: Path) -> None:
    table = "file_name,text\na.png,a fox\ngone.png,a cat\nraw.nef,a den\n"
    files = {"a.png": None, "raw.nef": b"", "metadata.csv": table}
    data = ImageSet.open(folder_of(tmp_path, files))
    assert captions(data) == {"a.png": "a fox"}
    assert data.notices == (
        "Left out: 1 caption of metadata.csv (gone.png): no image here has this name, or more "
        "than one has it.",
    )


def test_two_captions_for_one_image_are_a_problem(tmp_path: Path) -> None:
    meta = json.dumps({"/d/cat/1.png": {"caption": "a cat"}, "/d/dog/1.png": {"caption": "a dog"}})
    data = ImageSet.open(folder_of(tmp_path, {"1.png": None, "meta.json": meta}))
    assert captions(data) == {"1.png": None}
    assert data.problems == (
        ("meta.json", "gives several captions for 1 image (1.png); none of them is used."),
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.jsonl", '{"file_name": "a.png"'),
        ("metadata.csv", b"\x00\x01"),
        ("x.jsonl", '{"a": 1e999}'),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, name: str, content: str | bytes) -> None:
    data = ImageSet.open(folder_of(tmp_path, {"a.png": None, name: content}))
    assert captions(data) == {"a.png": None}
    assert [problem[0] for problem in data.problems] == [name]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", "[" * 100), ("b.json", "3"), ("c.csv", "x,y\n1,2\n"), ("d.tsv", "1\t2"),
     ("e.jsonl", "[]\n3\n"), ("f.json", '{"x": {"y": {}}}')],
)  # fmt: skip
def test_other_tables_are_left_out(tmp_path: Path, name: str, content: str) -> None:
    data = ImageSet.open(folder_of(tmp_path, {"p.png": None, name: content}))
    assert captions(data) == {"p.png": None}
    assert data.problems == ()
    assert f"({name})" in data.notices[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("llava.json", '[{"id": "7", "image": "p.png", "conversations": [{"value": "a fox"}]}]'),
        ("hashes.csv", "file_name,md5\np.png,9e107d9d372bb6826bd81d3542a419d6\n"),
        ("sources.jsonl", '{"file_name": "p.png", "license": "CC BY 4.0"}'),
    ],
)
def test_a_number_or_a_hash_is_no_caption(tmp_path: Path, name: str, content: str) -> None:
    data = ImageSet.open(folder_of(tmp_path, {"p.png": None, name: content}))
    assert captions(data) == {"p.png": None}
    assert f"({name})" in data.notices[0]
    plain = content.replace("md5", "about").replace("license", "about")
    if name != "llava.json":  # in imagefolder's own files, people name the column as they like
        (tmp_path / name).unlink()
        (tmp_path / f"metadata{Path(name).suffix}").write_text(plain)
        assert captions(ImageSet.open(tmp_path))["p.png"] is not None


def test_captions_in_other_encodings_are_read_and_reported(tmp_path: Path) -> None:
    western = "the artist\u2019s caf\u00e9, \u00e9t\u00e9"
    files = {
        "japan.png": None,
        "japan.caption": "\u72d0\u306e\u7d75".encode("cp932"),
        "mark.png": None,
        "mark.txt": western.encode("utf-8-sig"),
        "notepad.png": None,
        "notepad.txt": western.encode("utf-16"),
        "windows.png": None,
        "windows.txt": western.encode("cp1252"),
        "zoe.png": None,
        "zoe.txt": "Zo\u00eb".encode("cp1252"),
    }
    data = ImageSet.open(folder_of(tmp_path, files))
    assert list(captions(data).values()) == [
        "\u72d0\u306e\u7d75", western, western, western, "Zo\u00eb",
    ]  # fmt: skip
    text = "\n".join(data.notices)
    assert "1 caption file is not in UTF-8 (notepad.txt) and was read as UTF-16" in text
    assert "2 caption files are not in UTF-8 (windows.txt, zoe.txt) and were read as cp1252" in text
    assert "(japan.caption) and was read as cp932" in text
    assert "mark.txt" not in text
    assert data.problems == ()


def test_captions_of_one_program_are_read_alike(tmp_path: Path) -> None:
    texts = ["\u72d0\u72f8", "\u5c0f\u5973\u5b69\u5728\u68ee\u6797\u91cc", "\u96ea\u5730"]
    files: dict[str, str | bytes | None] = {f"{number}.png": None for number in range(4)}
    files |= {f"{number}.txt": text.encode("gb18030") for number, text in enumerate(texts)}
    files["3.txt"] = "caf\u00e9".encode("cp1252")
    data = ImageSet.open(folder_of(tmp_path, files))
    assert list(captions(data).values()) == [*texts, "caf\u00e9"]


@pytest.mark.parametrize(
    ("codec", "texts"),
    [
        ("cp1251", ["\u043a\u043e\u0442", "1girl, \u0434\u0435\u0432\u0443\u0448\u043a\u0430"]),
        ("cp1250", ["ko\u010dka", "d\xedvka na most\u011b", "\u017elut\xfd k\u016f\u0148"]),
        ("cp1254", ["k\u0131z", "g\xfcne\u015fli sokak", "\u0131\u015f\u0131k"]),
        ("cp1252", ["st\xfalka me\xf0 rau\xf0an hatt", "\xfeetta er k\xf6ttur", "\xedslenska"]),
        ("mac_roman", ["caf\xe9, \u201cquoted\u201d text", "\xd6lgem\xe4lde", "na\xefve"]),
        (
            "cp874",
            ["\u0e41\u0e21\u0e27", "\u0e2a\u0e30\u0e1e\u0e32\u0e19", "\u0e17\u0e30\u0e40\u0e25"],
        ),
    ],
)
def test_short_captions_are_read_like_the_others_of_their_folder(
    tmp_path: Path, codec: str, texts: list[str]
) -> None:
    files: dict[str, str | bytes | None] = {}
    for number, text in enumerate(texts):
        files |= {f"{number}.png": None, f"{number}.txt": text.encode(codec)}
    data = ImageSet.open(folder_of(tmp_path, files))
    assert list(captions(data).values()) == texts
    assert f"read as {codec};" in data.notices[-1]


def test_a_caption_in_no_known_encoding_is_named_and_kept_as_it_is(tmp_path: Path) -> None:
    data = ImageSet.open(folder_of(tmp_path, {"a.png": None, "a.txt": b"\xff\xfe\x00"}))
    assert captions(data) == {"a.png": None}
    assert data.problems[0][0] == "a.txt"
    # what becomes of the file differs between the layouts of outputs
    assert data.problems[0][1].endswith("not known; save it as UTF-8.")
    assert [file.name for file in data.items[0].caption_files] == ["a.txt"]


def test_images_without_captions_are_counted(tmp_path: Path) -> None:
    files: dict[str, str | bytes | None] = {f"{number}.png": None for number in range(6)}
    folder_of(tmp_path, files)
    assert ImageSet.open(tmp_path).notices == ()
    (tmp_path / "0.txt").write_text("a fox")
    (tmp_path / "1.txt").write_text("  \n")
    data = ImageSet.open(tmp_path)
    assert data.notices == ("5 images have no caption (1.png, 2.png, 3.png and 2 more).",)
    assert data.checked().notices == data.notices
