"""Records of shards: what is done, what is ours, what is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from siren_ext.coating.manifest import CoatConfig, CoatEntry
from siren_ext.errors import DatasetError
from siren_ext.scale.places import Found, Place
from siren_ext.scale.shard_records import BEGUN, ShardRecords
from siren_ext.scale.shard_worker import ShardDone

pytest.importorskip("fsspec", reason="needs the extra 'cluster'")
SHARDS = {"0.tar": Found(5, "a"), "sub/1.tar": Found(6, "b")}
ENTRY = CoatEntry("0.tar/a", "0.tar/a", "a" * 64, "b" * 64, True, 40.0, 1.0, 0.5, (8, 8))
DONE = ShardDone(3, (ENTRY,), (("0.tar/b", "broken"),), ("0.tar/a.mask.png",))


def records(out: Path, shards: dict[str, Found] = SHARDS, key: str = "") -> ShardRecords:
    return ShardRecords(Place(str(out)), shards, "c" * 64, CoatConfig(), key)


def test_a_shard_is_done_while_nothing_has_changed(tmp_path) -> None:
    first = records(tmp_path)
    first.begin()
    (tmp_path / "0.tar").write_bytes(b"new")
    assert records(tmp_path).left == ["0.tar", "sub/1.tar"]  # ours, but not recorded
    first.add("0.tar", DONE)
    second = records(tmp_path)
    assert (second.left, second.images, second.copied) == (["sub/1.tar"], 1, ["0.tar/a.mask.png"])
    made = second.finish([("sub/1.tar", "damaged")], complete=True)
    assert made.entries == (ENTRY,)
    assert [failure.source for failure in made.failures] == ["sub/1.tar", "0.tar/b"]
    assert made.files == ("0.tar",)
    with pytest.raises(DatasetError, match="another key, perhaps for another recipient"):
        records(tmp_path, key="k")
    assert len(records(tmp_path, SHARDS | {"0.tar": Found(5, "new")}).left) == 2
    (tmp_path / "0.tar").write_bytes(b"longer")
    assert len(records(tmp_path).left) == 2
    (tmp_path / BEGUN).write_text("{}")
    with pytest.raises(DatasetError, match="outputs"):
        records(tmp_path)


def test_more_shards_can_follow_but_no_foreign_file_is_replaced(tmp_path) -> None:
    records(tmp_path).begin()
    more = SHARDS | {"2.tar": Found(1, "c")}
    assert len(records(tmp_path, more).left) == 3
    (tmp_path / "2.tar").write_bytes(b"mine")
    with pytest.raises(DatasetError, match=r"has '2\.tar', which no earlier run"):
        records(tmp_path, more)
