"""The command ``generate`` says what an adapter lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny_models import need_models, shared_model
from support.toy_adapters import normal

from siren_ext.adapters.write import save_kohya

need_models()
pytestmark = pytest.mark.models

TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


def test_generate_says_what_was_left_out(folder: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from siren_ext.cli.app import app

    path = tmp_path / "a.safetensors"
    save_kohya(path, {n: (normal(2, 32), normal(32, 2), 2.0) for n in (TO_K, "lora_unet_gone")}, {})
    line = ["generate", "--base", str(folder), "--adapter", f"{path}:0.5", "--prompt", "a cat"]
    line += ["-n", "1", "--steps", "1", "--device", "cpu", "-q", "--out"]
    refused = CliRunner().invoke(app, [*line, str(tmp_path / "refused")])
    assert refused.exit_code == 2
    assert "lora_unet_gone" in refused.output
    done = CliRunner().invoke(app, [*line, str(tmp_path / "out"), "--allow-partial"])
    assert done.exit_code == 0, done.output
    assert "Warning: a.safetensors was only loaded in part:" in done.output
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["suspect"]["adapters"][0]["weight"] == 0.5
    assert "lora_unet_gone" in record["suspect"]["warnings"][0]
