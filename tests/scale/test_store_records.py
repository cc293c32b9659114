"""Records in parts: what is recalled, joined and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatEntry, CoatManifest
from siren_ext.errors import DatasetError
from siren_ext.scale import store_records as module
from siren_ext.scale.places import Place
from siren_ext.scale.store_records import FOLDER, StoreRecords

pytest.importorskip("fsspec", reason="needs the extra 'cluster'")


def entry(name: str) -> CoatEntry:
    return CoatEntry(name, name, "a" * 64, "b" * 64, True, 40.0, 1.0, 0.5, (8, 8))


def records(place: Path, config: CoatConfig | None = None, key: str = "") -> StoreRecords:
    out = Place(str(place))
    return StoreRecords(out, out.files(), "c" * 64, config or CoatConfig(), key)


def test_parts_are_recalled_and_joined(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PART", 2)
    out, names = tmp_path / "out", [f"{index}.png" for index in range(5)]
    first = records(out)
    for name in names:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"x")
        first.add(entry(name), f"stamp of {name}")
    assert len(list((out / FOLDER).iterdir())) == 2  # the fifth is lost if the run is killed
    with next(iter((out / FOLDER).iterdir())).open("a") as stream:
        stream.write('{"work": "torn')
    there = Place(str(out)).files()
    second = records(out)
    done = [second.finished(name, name, f"stamp of {name}", there) for name in names]
    assert done == [True] * 4 + [False]
    assert not second.finished("0.png", "0.png", "another stamp", there)
    assert not second.finished("0.png", "0_png.png", "stamp of 0.png", there)
    assert not second.finished("0.png", "0.png", "stamp of 0.png", {})
    other = records(out, CoatConfig(strength=2.0))
    assert not other.finished("0.png", "0.png", "stamp of 0.png", there)
    with pytest.raises(DatasetError, match="another key, perhaps for another recipient"):
        records(out, key="k")
    second.add(entry("4.png"), "s")
    made = second.finish(names, {"5.png": "broken"}, complete=True)
    assert [one.source for one in made.entries] == names
    assert CoatManifest.load(out / MANIFEST_NAME) == made
    assert len(list((out / FOLDER).iterdir())) == 1
    assert records(out).finished("4.png", "4.png", "s", there)


def test_a_place_of_others_is_refused(tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(DatasetError, match=r"no earlier run wrote, such as 'mine\.txt'"):
        records(tmp_path)
