"""The command ``meta`` on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_models import draw_images

from siren_ext.coater.coater import Coater


@pytest.mark.models
def test_command(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from support.tiny_models import need_models, shared_model
    from typer.testing import CliRunner

    need_models()
    from siren_ext.cli.app import app

    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    draw_images(tmp_path / "sets" / "cats", 3)
    draw_images(tmp_path / "sets" / "dogs", 3)
    out = tmp_path / "start.safetensors"
    words = ["meta", str(tmp_path / "sets"), "--base", str(base), "--out", str(out), "-q"]
    words += ["--tasks", "2", "--device", "cpu"]
    for setting in ("inner.steps=2", "inner.batch_size=2", "coater.channels=4"):
        words += ["--set", setting]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    made = Coater.load(out)
    assert made.provenance["meta"]["tasks"] == 2
    assert made.provenance["training"]["steps"] == 2
    assert (made.config.channels, made.config.working_size) == (4, 16)
    assert not out.with_name(out.name + ".state").exists()
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    neither = CliRunner().invoke(app, ["meta", "--base", str(base), "--out", str(tmp_path / "x")])
    assert neither.exit_code == 2
