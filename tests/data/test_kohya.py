"""kohya's descriptions of data sets, in and out, honest and hostile."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from support.fake_coater import FakeCoater

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.data.kohya import (
    Subset,
    read_dataset_toml,
    regular_notice,
    write_dataset_toml,
)
from siren_ext.errors import DatasetError


def picture(path: Path, value: int = 100, size: tuple[int, int] = (10, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 20, 30)).save(path)
    return path


def names(data: ImageSet) -> list[str]:
    return [item.name for item in data.items]


def toml(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_dataset_toml_in(tmp_path):
    picture(tmp_path / "img" / "a.png")
    (tmp_path / "img" / "a.tags").write_text("one, two")
    (tmp_path / "img" / "a.txt").write_text("not this one")
    picture(tmp_path / "more" / "b.png")
    picture(tmp_path / "reg" / "r.png")
    path = toml(
        tmp_path / "set.toml",
        """
        [general]
        num_repeats = 3
        caption_extension = ".tags"
        [[datasets]]
        resolution = 512
          [[datasets.subsets]]
          image_dir = "img"
          class_tokens = "fox"
          [[datasets.subsets]]
          image_dir = './more/../more'
          num_repeats = 5
          [[datasets.subsets]]
          image_dir = "reg"
          is_reg = true
          [[datasets.subsets]]
          image_dir = "img"
          num_repeats = 9
        """,
    )
    data = ImageSet.open(path)
    assert [(i.name, i.caption, i.repeats, i.class_words) for i in data.items] == [
        ("img/a.png", "one, two", 3, "fox"),
        ("more/b.png", None, 5, None),
    ]
    assert data.problems == ()


def test_the_dot_of_the_caption_extension_may_be_missing(tmp_path):
    picture(tmp_path / "img" / "a.png")
    (tmp_path / "img" / "a.tags").write_text("one, two")
    subset = 'image_dir = "img"\ncaption_extension = "tags"'
    text = f"[[datasets]]\n[[datasets.subsets]]\n{subset}"
    data = ImageSet.open(toml(tmp_path / "dataset.toml", text))
    assert [(i.name, i.caption) for i in data.items] == [("img/a.png", "one, two")]


@pytest.mark.parametrize(
    "settings",
    [
        'image_dir = "../private"',
        'image_dir = "/etc"',
        'image_dir = "door"',
        "image_dir = '..\\private'",
        'image_dir = "good\\n../../x"',
        'image_dir = "good\\u0000"',
        "image_dir = 5",
        'image_dir = ""',
        'image_dir = "absent"',
        'class_tokens = "x"',
        'image_dir = "good"\nclass_tokens = "../../up"',
        'image_dir = "good"\nclass_tokens = "a\\nb"',
        'image_dir = "good"\nnum_repeats = 1000000000',
        'image_dir = "good"\nnum_repeats = true',
        'image_dir = "good"\nnum_repeats = 2.0',
        'image_dir = "good"\nis_reg = "no"',
        'image_dir = "good"\nmetadata_file = "a\\u0000b"',
        'image_dir = "good"\nclass_tokens = ["x"]',
        'image_dir = "good"\ncaption_extension = "/../../private/note.txt"',
    ],
)
def test_a_hostile_subset_is_told_and_the_others_are_read(tmp_path, settings):
    home = tmp_path / "home"
    picture(tmp_path / "private" / "secret.png")
    picture(home / "good" / "a.png")
    picture(home / "fine" / "b.png")
    (home / "door").symlink_to(tmp_path / "private")
    text = f'[[datasets]]\n[[datasets.subsets]]\n{settings}\n[[datasets.subsets]]\nimage_dir="fine"'
    data = ImageSet.open(toml(home / "dataset.toml", text))
    assert names(data) == ["fine/b.png"]
    assert len(data.problems) == 1
    assert data.problems[0][0].startswith("subset 1")
    assert "\n" not in data.problems[0][0]


def test_paths_of_windows_and_class_words_with_a_slash_are_read(tmp_path):
    picture(tmp_path / "img" / "fox" / "a.png")
    text = "[[datasets]]\n[[datasets.subsets]]\nimage_dir = '.\\img\\fox'\nclass_tokens = 'a/b'"
    (item,) = ImageSet.open(toml(tmp_path / "dataset.toml", text)).items
    assert (item.name, item.class_words) == ("img/fox/a.png", "a/b")


def test_a_file_of_which_nothing_can_be_used_says_so(tmp_path):
    picture(tmp_path / "img" / "a.png")
    text = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img"\nnum_repeats = 0'
    with pytest.raises(DatasetError, match=r"lists no usable image.*num_repeats is 0; expected"):
        ImageSet.open(toml(tmp_path / "dataset.toml", text))


def test_what_is_dropped_from_a_dataset_toml_is_reported(tmp_path):
    picture(tmp_path / "img" / "a.png")
    (tmp_path / "img" / "a.caption").write_text("one")
    (tmp_path / "img" / "b.cr2").write_bytes(b"")  # no plug-in reads it
    for name in ("reg", "more"):
        picture(tmp_path / name / "r.png")
    path = toml(
        tmp_path / "dataset.toml",
        """
        [general]
        keep_tokens = 1
        shuffle_caption = true
        [[datasets]]
        resolution = 768
        enable_bucket = true
          [[datasets.subsets]]
          image_dir = "img"
          num_repeats = 10
          class_tokens = "sks cat"
          caption_prefix = "photo, "
          [[datasets.subsets]]
          is_reg = true
          image_dir = "reg"
          class_tokens = "cat"
          [[datasets.subsets]]
          image_dir = "more"
          keep_tokens = 2
        """,
    )
    data = ImageSet.open(path)
    assert names(data) == ["img/a.png", "more/r.png"]
    assert data.notices == (
        "Left out: 1 regularisation subset (reg): only training images are used.",
        "Left out: 5 settings of the dataset.toml (keep_tokens, shuffle_caption, resolution, "
        "enable_bucket, caption_prefix): set them again for training.",
        "1 image has no caption (more/r.png).",
    )


def test_regularisation_subsets_are_a_set_of_their_own(tmp_path: Path) -> None:
    for name in ("img/a", "reg/r", "more/s"):
        picture(tmp_path / f"{name}.png")
    (tmp_path / "more" / "s.txt").write_text("a wild cat")
    rest = ('img"', 'reg"\nis_reg = true\nclass_tokens = "cat"\nnum_repeats = 2')
    rest = (*rest, 'more"\nis_reg = true', '../out"\nis_reg = true')
    subsets = "".join(f'[[datasets.subsets]]\nimage_dir = "{text}\n' for text in rest)
    path = toml(tmp_path / "dataset.toml", f"[[datasets]]\n{subsets}")
    found = ImageSet.from_toml(path, regular=True)
    assert [(i.name, i.caption, i.repeats, i.class_words) for i in found.items] == [
        ("reg/r.png", None, 2, "cat"),
        ("more/s.png", "a wild cat", 1, None),
    ]
    assert found.captions() == ["cat", "a wild cat"]
    assert "outside" in found.problems[0][1]
    assert found.notices == ("1 image has no caption (reg/r.png).",)
    both = [subset for _, subset in read_dataset_toml(path).regular]
    assert ImageSet.open(path).notices == (regular_notice(both),)
    assert "3 regularisation subsets (reg, more, ../out): other" in regular_notice(both, "other")
    with pytest.raises(DatasetError, match="no usable image"):
        ImageSet.from_toml(
            toml(path, '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img"'), regular=True
        )


def test_a_metadata_file_of_a_subset_is_read(tmp_path):
    picture(tmp_path / "img" / "a.png")
    picture(tmp_path / "img" / "b.png")
    (tmp_path / "meta_cap.json").write_text(
        '{"a": {"caption": "a fox"}, "/data/img/b.png": {"tags": "a, b"}}', encoding="utf-8"
    )
    text = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img"\nmetadata_file = "%s"\n'
    data = ImageSet.open(toml(tmp_path / "dataset.toml", text % "meta_cap.json"))
    assert [item.caption for item in data.items] == ["a fox", "a, b"]
    assert data.problems == ()
    data = ImageSet.open(toml(tmp_path / "dataset.toml", text % "../meta_cap.json"))
    assert [item.caption for item in data.items] == [None, None]
    assert "outside" in data.problems[0][1]


def test_a_wider_root_can_be_allowed_on_purpose(tmp_path):
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "config").mkdir()
    text = f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = {str(tmp_path / 'images')!r}"
    path = toml(tmp_path / "config" / "dataset.toml", text)
    with pytest.raises(DatasetError, match="outside"):
        ImageSet.from_toml(path)
    assert names(ImageSet.from_toml(path, root=tmp_path)) == ["images/a.png"]


@pytest.mark.parametrize(
    "text",
    [
        "not toml [",
        "x = 1",
        "datasets = 3",
        "[[datasets]]\nsubsets = 4",
        "[[datasets]]\nsubsets = [4]",
        "[[datasets]]",
        "general = 1",
        "x." * 40_000 + "x = 1",
        "datasets = " + "[" * 10_000,
        "datasets = " + "9" * 5000,
    ],
)
def test_a_malformed_toml_is_an_error(tmp_path, text):
    with pytest.raises(DatasetError, match=r"dataset\.toml"):
        ImageSet.open(toml(tmp_path / "dataset.toml", text))
    with pytest.raises(DatasetError, match=r"absent\.toml"):
        ImageSet.open(tmp_path / "absent.toml")


def test_dataset_toml_out_reads_back(tmp_path):
    picture(tmp_path / "4_red fox" / "a.png")
    (tmp_path / "4_red fox" / "a.txt").write_text("a caption")
    path = tmp_path / "dataset.toml"
    write_dataset_toml(path, [Subset("4_red fox", 'red "fox"', 4)], resolution=(128, 192))
    text = path.read_text()
    assert "enable_bucket = false" in text
    assert 'caption_extension = ".txt"' in text
    item = ImageSet.open(path).items[0]
    assert (item.repeats, item.class_words, item.caption) == (4, 'red "fox"', "a caption")


MUSUBI = """
[general]
resolution = [960, 544]
caption_extension = ".txt"
batch_size = 1
enable_bucket = true
num_repeats = 2

[[datasets]]
image_directory = "img"
cache_directory = "cache"
num_repeats = 5

[[datasets]]
image_jsonl_file = "lists/metadata.jsonl"
cache_directory = "cache/2"

[[datasets]]
video_directory = "clips"
target_frames = [1, 25]
"""


def test_musubis_own_dataset_toml(tmp_path: Path) -> None:
    for name in ("img/a.png", "img/deep/x.png", "more/b.png", "more/c.png", "more/d.png"):
        picture(tmp_path / name)
    (tmp_path / "img" / "a.txt").write_text("a fox")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "metadata.jsonl").write_text(
        '{"image_path": "more/b.png", "caption": "an owl", "control_path": "more/d.png"}\n'
        '{"image_path": "/data/set/more/c.png", "caption": "a cat"}\n'
        '{"image_path": "more/gone.png", "caption": "a dog"}\n'
    )
    data = ImageSet.open(toml(tmp_path / "dataset.toml", MUSUBI))
    assert [(i.name, i.caption, i.repeats, i.class_words) for i in data.items] == [
        ("img/a.png", "a fox", 5, None),
        ("more/b.png", "an owl", 2, None),
        ("more/c.png", "a cat", 2, None),
    ]
    assert data.problems == ()
    assert data.notices[:2] == (
        "Left out: 1 dataset of videos: only images are used.",
        "Left out: 5 settings of the dataset.toml (resolution, batch_size, enable_bucket, "
        "cache_directory, target_frames): set them again for training.",
    )
    unlisted = "the list of images does not name them"
    assert "Left out: 1 listed image (more/gone.png): there is no such image here." in data.notices
    assert f"Left out: 2 images (img/deep/x.png, more/d.png): {unlisted}." in data.notices


def test_musubis_layout_is_read_back(tmp_path: Path) -> None:
    for folder, words in (("4_red fox", "a fox"), ("10_cat", "a cat")):
        picture(tmp_path / "in" / folder / "a.png", size=(64, 64))
        (tmp_path / "in" / folder / "a.txt").write_text(words)
    source, out = ImageSet.open(tmp_path / "in"), tmp_path / "out"
    coat_folder(source, FakeCoater(), out, CoatConfig(layout="musubi"))
    found = ImageSet.open(out / "dataset.toml")
    assert [(item.name, item.caption, item.repeats) for item in found.items] == [
        (item.name, item.caption, item.repeats) for item in source.items
    ]
    assert found.problems == ()
    assert not any("Left out" in line and "image" in line for line in found.notices[1:])


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ('image_directory = "../private"', "is outside the folder"),
        ('image_directory = "door"', "is outside the folder"),
        ("image_directory = 5", "image_dir is 5"),
        ('image_directory = "gone"', "is not a folder"),
        ('image_jsonl_file = "../private/a.jsonl"', "is outside the folder"),
        ("image_jsonl_file = []", "image_jsonl_file is []"),
        ('image_jsonl_file = "a\\u0000b"', "expected a file name on one line"),
        ('image_jsonl_file = "gone.jsonl"', "No such file"),
        ('image_jsonl_file = "lists/bad.jsonl"', "nested too deep"),
    ],
)
def test_a_hostile_dataset_of_musubi(tmp_path: Path, settings: str, why: str) -> None:
    home = tmp_path / "home"
    picture(tmp_path / "private" / "secret.png")
    (tmp_path / "private" / "a.jsonl").write_text('{"image_path": "secret.png", "caption": "x"}')
    picture(home / "good" / "a.png")
    (home / "lists").mkdir()
    (home / "lists" / "bad.jsonl").write_text("[" * 5000)
    (home / "door").symlink_to(tmp_path / "private")
    text = f'[[datasets]]\n{settings}\n[[datasets]]\nimage_directory = "good"'
    data = ImageSet.open(toml(home / "dataset.toml", text))
    assert names(data) == ["good/a.png"]
    assert len(data.problems) == 1
    assert why in "".join(data.problems[0])


def test_a_folder_that_is_listed_again_is_reported(tmp_path: Path) -> None:
    picture(tmp_path / "10_fox" / "a.png")
    entries = 'subsets = [{image_dir = "10_fox", num_repeats = 4}, {image_dir = "10_fox"}]'
    data = ImageSet.open(toml(tmp_path / "dataset.toml", f"[[datasets]]\n{entries}"))
    assert [item.repeats for item in data.items] == [4]
    line = "1 folder is listed more than once (10_fox): the first entry counts."
    assert line in data.notices
