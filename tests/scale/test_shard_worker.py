"""A worker that coats a shard reports each image before the shard."""

from __future__ import annotations

import errno

import pytest
from support.shard_files import members, samples, tar

from siren_ext.coater.coater import Coater
from siren_ext.coating.manifest import CoatConfig
from siren_ext.errors import ImageError
from siren_ext.scale import coat_worker
from siren_ext.scale.shard_worker import ShardDone, ShardSetup
from siren_ext.scale.worker import Failure, Step

pytest.importorskip("fsspec", reason="needs the extra 'cluster'")


def test_steps_then_the_shard(coater_file, tmp_path, monkeypatch) -> None:
    pictures = samples(tmp_path / "pictures", 0, 5)
    tar(tmp_path / "in" / "sub" / "a.tar", pictures | {"x.txt": b"no image with it"})
    setup = ShardSetup(
        coater_file,
        Coater.load(coater_file).fingerprint,
        CoatConfig(),
        tmp_path,
        source=str(tmp_path / "in"),
        target=str(tmp_path / "out"),
        batch_size=2,
    )
    worker, seen = setup.open(), []
    for index, outcome in worker.work(["sub/a.tar", "none.tar"]):
        seen.append((index, outcome))
        written = (tmp_path / "out" / "sub" / "a.tar").exists()
        assert written == (not isinstance(outcome, Step))
    steps = [outcome.note for _, outcome in seen[:5]]
    assert sorted(steps) == [f"sub/a.tar/{index:03d}.png" for index in range(5)]
    done = seen[5][1]
    assert isinstance(done, ShardDone)
    assert [entry.output for entry in done.entries] == sorted(steps)
    assert done.size == (tmp_path / "out" / "sub" / "a.tar").stat().st_size
    assert list(members(tmp_path / "out" / "sub" / "a.tar")) == [*pictures, "x.txt"]
    assert seen[6][0] == 1
    assert isinstance(seen[6][1], Failure)

    def full(*_: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise ImageError("can't be written") from error

    monkeypatch.setattr(coat_worker, "write_entry", full)
    (tmp_path / "out" / "sub" / "a.tar").unlink()
    *_, (_, last) = worker.work(["sub/a.tar"])
    assert last == Failure("No space left on device", full=True)
    assert not list((tmp_path / "out" / "sub").iterdir())
