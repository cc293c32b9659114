"""The host's limits follow the web UI's flags."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        ({}, True),
        ({"listen": True}, False),
        ({"share": True}, False),
        ({"hide_ui_dir_config": True}, False),
        ({"listen": True, "siren_allow_folders": True}, True),
        ({"server_name": "127.0.0.1"}, True),
        ({"server_name": "127.0.0.2"}, True),
        ({"server_name": "localhost"}, True),
        ({"server_name": "::1"}, True),
        ({"server_name": ""}, True),
        ({"server_name": "0.0.0.0"}, False),
        ({"server_name": "192.168.1.5"}, False),
        ({"server_name": "::"}, False),
        ({"server_name": "localhost.example.org"}, False),
        ({"server_name": "127.0.0.1", "share": True}, False),
        ({"server_name": "127.0.0.1", "listen": True}, False),
    ],
)
def test_folders_only_where_nobody_else_comes(
    webui: Path, flags: dict[str, object], allowed: bool
) -> None:
    settings = importlib.import_module("siren_a1111.settings")
    shared = importlib.import_module("modules.shared")
    shared.cmd_opts = argparse.Namespace(**flags)
    host = settings.make_host()
    assert host.limits.folders is allowed
    assert host.coaters.folder == webui / "models" / "siren"
    assert host.outputs == webui / "outputs" / "siren"


@pytest.mark.parametrize(("name", "allowed"), [("0.0.0.0", False), ("127.0.0.1", True)])
def test_folders_with_the_address_in_the_environment(
    webui: Path, monkeypatch: pytest.MonkeyPatch, name: str, allowed: bool
) -> None:
    settings = importlib.import_module("siren_a1111.settings")
    monkeypatch.setenv("GRADIO_SERVER_NAME", name)
    assert settings.folders_allowed() is allowed


def test_accounts_of_the_api(webui: Path) -> None:
    settings = importlib.import_module("siren_a1111.settings")
    shared = importlib.import_module("modules.shared")
    shared.cmd_opts = argparse.Namespace(api_auth=None, gradio_auth="page:secret")
    assert settings.api_accounts() == []
    shared.cmd_opts = argparse.Namespace(api_auth="me:a, you:b,")
    assert settings.api_accounts() == ["me:a", "you:b"]
    file = webui / "accounts"
    file.write_text("third:c\n\nfourth:d\n", encoding="utf-8")
    shared.cmd_opts = argparse.Namespace(api_auth=None, auth='"me:a"', auth_file=str(file))
    assert settings.api_accounts() == ["me:a", "third:c", "fourth:d"]
    shared.cmd_opts = argparse.Namespace(auth_file=str(webui / "gone"))
    with pytest.raises(OSError, match="gone"):
        settings.api_accounts()
