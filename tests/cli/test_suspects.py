"""Hosts and variables of a TOML file: by option, by the stored list, by a question."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from support.standin_hosted import TOKEN, HostedStandin
from support.standins import running

from siren_ext.cli import suspects
from siren_ext.errors import ConfigError

TOML = """
url = "http://{place}/v1"
create = "/predictions"
body = '''
{{"version": "abc", "input": {{"prompt": "%prompt%", "seed": "%seed%", "width": "%size%",
 "height": "%size%", "guidance_scale": "%guidance%"}}}}
'''
poll = "/predictions/%id%"
image = "output.0"
interval = 0.01
token_env = "API_TOKEN"
"""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostedStandin]:
    monkeypatch.setenv("API_TOKEN", TOKEN)
    monkeypatch.setattr(typer, "get_app_dir", lambda name: str(tmp_path / "settings" / name))
    with running(HostedStandin()) as standin:
        (tmp_path / "hosted.toml").write_text(TOML.format(place=standin.place))
        yield standin


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Somebody at a terminal who answers; the list holds what is typed."""
    typed: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(typer, "confirm", lambda text, err: typed.pop(0) == "y")
    return typed


def command(folder: Path, *more: str) -> list[str]:
    line = ["generate", "--suspect", str(folder / "hosted.toml"), "--prompt", "a cat", "-n", "1"]
    return [*line, "--size", "16", "--out", str(folder / "out"), "--quiet", *more]


def test_scripts_name_hosts_and_variables(api: HostedStandin, tmp_path: Path, call) -> None:
    code, _, err = call(*command(tmp_path))
    assert (code, api.seen) == (2, [])
    assert "asks for the environment variable API_TOKEN" in err
    code, _, err = call(*command(tmp_path, "--token-env", "API_TOKEN"))
    assert (code, api.seen) == (2, [])
    assert f"Prompts are sent to http://{api.place}, and the token in API_TOKEN." in err
    assert "add --trust-host 127.0.0.1, or run the command at a terminal" in err
    code, _, err = call(
        *command(tmp_path, "--token-env", "API_TOKEN", "--trust-host", f"http://{api.place}")
    )
    assert (code, api.seen) == (2, [])
    assert "expected a host name, such as api.example.com" in err
    code, out, _ = call(*command(tmp_path, "--token-env", "API_TOKEN", "--trust-host", "127.0.0.1"))
    assert (code, out) == (0, f"1 image: {tmp_path / 'out'}\n")
    assert not suspects.hosts_file().exists()  # an option holds for one run


def test_terminals_are_asked_once(api: HostedStandin, tmp_path: Path, call, terminal) -> None:
    line = command(tmp_path, "--token-env", "API_TOKEN")
    terminal[:] = ["n"]
    code, _, err = call(*line)
    assert (code, api.seen) == (2, [])
    assert "127.0.0.1 is not trusted, so nothing was sent." in err
    suspects.hosts_file().parent.mkdir(parents=True)
    suspects.hosts_file().write_text("# mine\nexample.com")
    terminal[:] = ["y"]
    code, _, err = call(*line)
    assert code == 0
    assert f"A TOML file describes the API. Prompts are sent to http://{api.place}" in err
    assert suspects.hosts_file().read_text() == "# mine\nexample.com\n127.0.0.1\n"
    assert suspects.stored_hosts() == ["example.com", "127.0.0.1"]
    code, _, err = call(*line)  # a question would have no answer
    assert code == 0
    assert "TOML" not in err


def test_one_question_for_suspect_and_reference(api: HostedStandin, terminal) -> None:
    found = suspects.trust(["API_TOKEN"], None)
    terminal[:] = ["y"]
    for downloads in ([], [], ["127.0.0.1"]):
        found.check_hosts(f"http://{api.place}", "127.0.0.1", downloads, "API_TOKEN")
    terminal[:] = ["n"]
    with pytest.raises(ConfigError, match="is not trusted, so nothing was sent"):
        found.check_hosts(f"http://{api.place}", "127.0.0.1", ["cdn.example.com"], "API_TOKEN")
    assert suspects.stored_hosts() == ["127.0.0.1"]


def test_investigate_asks_too(api: HostedStandin, tmp_path: Path, call) -> None:
    code, _, err = call(
        *("investigate", "--suspect", tmp_path / "hosted.toml", "--coater", "samples"),
        *("--reference", tmp_path / "hosted.toml", "--prompt", "a cat", "-n", "1"),
        *("--out", tmp_path / "case", "--token-env", "API_TOKEN", "--device", "cpu"),
    )
    assert (code, api.seen) == (2, [])
    assert "add --trust-host 127.0.0.1" in err


def test_a_list_that_is_none(api: HostedStandin, tmp_path: Path, call) -> None:
    suspects.hosts_file().parent.mkdir(parents=True)
    suspects.hosts_file().write_bytes(b"\xff\xfe")
    code, _, err = call(*command(tmp_path))
    assert code == 2
    assert "is not UTF-8; expected a text file in UTF-8 with one host per line" in err


def test_a_list_that_can_not_be_written(api: HostedStandin, tmp_path: Path, call, terminal) -> None:
    (tmp_path / "settings").write_text("in the way")
    terminal[:] = ["y"]
    code, _, err = call(*command(tmp_path, "--token-env", "API_TOKEN"))
    assert code == 0
    assert "can't be written" in err
    assert "you will be asked again" in err
