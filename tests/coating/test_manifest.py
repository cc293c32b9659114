"""The manifest of a coating run: what it may contain, and how damaged ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.hostile_files import check_reader, wrong_values

from siren_ext.coating.manifest import (
    MANIFEST_NAME,
    CoatConfig,
    CoatEntry,
    CoatFailure,
    CoatManifest,
    Compression,
)
from siren_ext.errors import DatasetError

COATER = "c" * 64
# whole values in float fields stay as they were written: settings are part of what is compared
CONFIG = CoatConfig(strength=1)
ENTRIES = tuple(
    CoatEntry(f"{i}.jpg", f"{i}.png", "0" * 64, "1" * 64, True, 40.5, 2.0, 1.0, (20, 16), ("a",))
    for i in range(2)
)
WHOLE = CoatManifest(COATER, CONFIG, ENTRIES, (CoatFailure("x.png", "broken"),), ("0.png",))


def test_the_file_is_the_manifest(tmp_path: Path) -> None:
    WHOLE.save(tmp_path / MANIFEST_NAME)
    assert CoatManifest.load(tmp_path / MANIFEST_NAME) == WHOLE
    stored = json.loads((tmp_path / MANIFEST_NAME).read_text())
    assert list(stored)[:2] == ["format", "version"]
    assert '"strength": 1,' in (tmp_path / MANIFEST_NAME).read_text()
    del stored["key"]  # as before keys were known
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(stored))
    assert CoatManifest.load(tmp_path / MANIFEST_NAME) == WHOLE


def test_damaged_manifests_are_refused(tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_NAME
    WHOLE.save(path)
    check_reader(path, CoatManifest.load, DatasetError)
    good = json.loads(path.read_text())
    for what, data in wrong_values(good):
        if what in ("no key", "key = 'text'", "coater = 'text'") or what.endswith(
            ("entries = []", "failures = []", "files = []", "config = {}")
        ):
            continue
        path.write_text(json.dumps(data))
        with pytest.raises(DatasetError, match=r"siren_manifest\.json.*choose an empty output"):
            pytest.fail(f"{what}: {CoatManifest.load(path)}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coated": "yes"}, r"entries\[0\].coated is 'yes'; expected true or false"),
        ({"size": [20]}, r"entries\[0\].size is \[20\]; expected a list of 2"),
        ({"size": [20, 0]}, r"entries\[0\].size\[1\] is 0; expected a whole number of at least 1"),
        ({"size": "20x16"}, r"entries\[0\].size is '20x16'"),
        ({"clean_score": None}, r"entries\[0\].clean_score is None; expected a number"),
        ({"notes": "none"}, r"entries\[0\].notes is 'none'; expected a list of texts"),
        ({"compression": 95}, r"entries\[0\].compression is 95; expected named values"),
        (
            {"compression": {"quality": 0, "score": None, "kept": None}},
            r"entries\[0\].compression.quality is 0; expected a whole number from 1 to 100",
        ),
        ({"colour": "red"}, r"entries\[0\] has the unknown name 'colour'"),
    ],
)
def test_damaged_entries_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / MANIFEST_NAME
    WHOLE.save(path)
    data = json.loads(path.read_text())
    data["entries"][0] |= change
    path.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=words):
        CoatManifest.load(path)


@pytest.mark.parametrize(
    ("config", "words"),
    [({"strength": "1"}, "strength is '1'"), ({"speed": 1}, "no setting speed")],
)
def test_settings_of_a_manifest_are_checked(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    path = tmp_path / MANIFEST_NAME
    WHOLE.save(path)
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "config": config}))
    with pytest.raises(DatasetError, match=rf"{MANIFEST_NAME}: .*{words}"):
        CoatManifest.load(path)


def test_formats_are_stored_only_where_they_were_chosen(tmp_path: Path) -> None:
    entry = CoatEntry(
        "a.jpg", "a.jpg", "0" * 64, "1" * 64, True, 40.5, 2.0, 1.0, (20, 16), ("a",),
        Compression(90, 0.9, 0.91),
    )  # fmt: skip
    config = CoatConfig(format="keep", quality=90)
    manifest = CoatManifest(COATER, config, (entry, *ENTRIES), ())
    manifest.save(tmp_path / MANIFEST_NAME)
    assert CoatManifest.load(tmp_path / MANIFEST_NAME) == manifest
    stored = json.loads((tmp_path / MANIFEST_NAME).read_text())
    assert stored["entries"][0]["compression"] == {"quality": 90, "score": 0.9, "kept": 0.91}
    assert "compression" not in stored["entries"][1]
    assert (stored["config"]["format"], stored["config"]["quality"]) == ("keep", 90)
    assert [one.quality for one in manifest.entries] == [90, None, None]
    assert manifest.notes() == {"a": ["a.jpg", "0.jpg", "1.jpg"]}
