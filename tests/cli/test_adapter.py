"""The command ``adapter``: what a file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from support.toy_adapters import K, claiming, good, write
from typer.testing import CliRunner

from siren_ext.adapters.read import read_summary


def inspect(*arguments: object) -> Any:
    import typer

    from siren_ext.cli import adapter as module

    app = typer.Typer()
    app.callback()(lambda: None)
    module.register(app)
    return CliRunner().invoke(app, ["adapter", *(str(one) for one in arguments)])


def test_command_shows_what_a_file_holds(tmp_path: Path) -> None:
    path = claiming(tmp_path, ss_sd_model_name="v1-5.safetensors\x1b[2J")
    result = inspect(path)
    assert result.exit_code == 0, result.output
    for text in (read_summary(path).hash, "3 lora", "hints, not proof", "base model: v1-5"):
        assert text in result.output
    assert "\x1b" not in result.output
    facts = json.loads(inspect(path, "--json").output)
    assert facts["kinds"] == {"lora": 3}
    assert str(tmp_path) not in json.dumps(facts)
    odd = write(tmp_path, good() | {f"{K}.oft_blocks": torch.ones(1)}, "odd.safetensors")
    assert inspect(odd).exit_code == 2
    shown = inspect(odd, "--allow-partial")
    assert shown.exit_code == 0
    assert "oft_blocks" in shown.output
