"""Two runs never write the same output at once; a killed run leaves no lock."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import with_support

from siren_ext.errors import ConfigError
from siren_ext.files import locked, one_at_a_time

HOLDER = """
import sys
from pathlib import Path
from siren_ext.files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def holder(out: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=with_support(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_lock_is_exclusive_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with locked(out):
        with pytest.raises(ConfigError, match="is being written by another run"), locked(out):
            pytest.fail("locked twice")
        with locked(tmp_path / "new" / "other"):
            pass
    assert list(tmp_path.iterdir()) == []
    with locked(out):
        out.write_text("written")
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_link_to_a_folder_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "out")
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").symlink_to(tmp_path / "file")
    for one, two in (("out", "alias"), ("out/a.json", "alias/a.json"), ("alias/new", "out/new")):
        twice = pytest.raises(ConfigError, match="by another run")
        with locked(tmp_path / one), twice, locked(tmp_path / two):
            pytest.fail("locked twice")
    with locked(tmp_path / "file"), locked(tmp_path / "other"):
        pass  # the link is replaced, not the file
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alias", "file", "other", "out"]


def test_relative_paths_are_the_same_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        locked(Path("out")),
        pytest.raises(ConfigError, match="another run"),
        locked(tmp_path / "folder" / ".." / "out"),
    ):
        pytest.fail("locked twice")


def test_names_of_any_length_and_places_that_can_not_be_written(tmp_path: Path) -> None:
    with locked(tmp_path / ("x" * 255)):
        pass
    (tmp_path / "file").write_text("")
    with locked(tmp_path / "file" / "inside"):
        pass
    with locked(tmp_path / "nul\0"):
        pass


def test_a_decorated_function_has_the_lock_of_its_output(tmp_path: Path) -> None:
    @one_at_a_time
    def write(data: str, out: Path, *, deep: bool = False) -> str:
        if deep:
            return write(data, out)
        return data

    assert write("a", tmp_path / "out") == "a"
    assert write("a", out=tmp_path / "out") == "a"
    with pytest.raises(ConfigError, match="another run"):
        write("a", tmp_path / "out", deep=True)
    assert write.__name__ == "write"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_another_process_is_refused_until_it_is_killed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = holder(out)
    try:
        with pytest.raises(ConfigError, match="another run"), locked(out):
            pytest.fail("locked twice")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    with locked(out):
        pass
    assert list(tmp_path.iterdir()) == []
