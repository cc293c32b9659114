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
    ],
)
def test_folders_only_where_nobody_else_comes(
    webui: Path, flags: dict[str, bool], allowed: bool
) -> None:
    settings = importlib.import_module("siren_a1111.settings")
    shared = importlib.import_module("modules.shared")
    shared.cmd_opts = argparse.Namespace(**flags)
    host = settings.make_host()
    assert host.limits.folders is allowed
    assert host.coaters.folder == webui / "models" / "siren"
    assert host.outputs == webui / "outputs" / "siren"
