"""Several processes, URLs and shards on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.shard_files import tar

from siren_ext.cli.places import is_url, place, refuse_apart, several, shown
from siren_ext.errors import ConfigError


def test_engines_and_what_needs_folders() -> None:
    assert [several(1, "local"), several(2, "local"), several(1, "ray")] == [False, True, True]
    with pytest.raises(ConfigError, match="--engine is 'spark'; expected local or ray"):
        several(1, "spark")
    refuse_apart("--twins", given=True, far=False)
    with pytest.raises(ConfigError, match="--twins works only in one process and with folders"):
        refuse_apart("--twins", given=True, far=True)


def test_urls_are_shown_as_they_were_given(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = Path("s3://bucket/a")
    assert (is_url(url), place(url), shown(url)) == (True, "s3://bucket/a", "s3://bucket/a")
    assert (is_url(Path("a")), shown(Path("a"))) == (False, "a")
    assert place(Path("a")) == str(tmp_path / "a")


def test_shards_are_coated_and_scored(call, photos: Path, coater_file: Path, tmp_path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra 'cluster'")
    files = sorted(photos.glob("*.png"))
    tar(tmp_path / "in" / "a.tar", {file.name: file.read_bytes() for file in files})
    given = ("--coater", coater_file, "-q", "--out")
    code, out, _ = call("coat", tmp_path / "in", *given, tmp_path / "out")
    assert code == 0
    assert f"{len(files)} of {len(files)} images coated: {tmp_path}/out" in out
    code, out, _ = call("score", tmp_path / "out" / "a.tar", *given, tmp_path / "s.json")
    assert (code, f"{len(files)} scores: " in out) == (0, True)
    assert not list(tmp_path.glob(".s.json*"))
    call("score", photos, *given, tmp_path / "one.json")
    code, out, err = call("score", photos, *given, tmp_path / "two.json", "--processes", "2")
    assert code == 0, err
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    for line in (
        ("coat", tmp_path / "in", *given, tmp_path / "x", "--twins", tmp_path / "t"),
        ("score", tmp_path / "in", *given, tmp_path / "x", "--decoys", tmp_path / "t"),
    ):
        code, _, err = call(*line)
        assert (code, "works only in one process and with folders" in err) == (2, True)


def test_other_suspects_generate_in_one_process(call, photos: Path, tmp_path) -> None:
    line = ("generate", "--suspect", photos, "-n", "1", "--out", tmp_path / "g")
    code, _, err = call(*line, "--processes", "2")
    assert (code, "need a model on this machine" in err) == (2, True)
