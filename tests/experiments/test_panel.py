"""The panel of innocents: a tiny one end to end."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support.tiny_models import draw_images, need_models, shared_model
from typer.testing import CliRunner

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments.panel_roster import PanelConfig
from siren_ext.scoring.score_set import ScoreSet


@pytest.fixture
def bench(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    need_models()
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig

    draw_images(tmp_path / "images", 6)
    draw_images(tmp_path / "others" / "toys", 3, captions=False)
    small = {"channels": 4, "generator_blocks": 1, "extractor_blocks": 1, "working_size": 32}
    Coater(CoaterConfig(bits=2, features=4, **small), seed=1).save(tmp_path / "u.safetensors")
    Coater(CoaterConfig(message_bits=8, **small), seed=1).save(tmp_path / "k.safetensors")
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    return {"folder": tmp_path, "base": base}


WORDS = """--data {f}/images --coater {f}/u.safetensors --keyed {f}/k.safetensors --class-word cat
--others {f}/others --out {f}/out --base {b} --device cpu --quiet --set images=3 --set reference=4
--set sizes=[2,3] --set steps=1 --set theme_images=2 --set keys=5
--set sampling_steps=1 --set reduced=1 --set training.batch_size=2 --set training.rank=2
--set training.conv_rank=0"""


@pytest.mark.slow
@pytest.mark.models
def test_a_tiny_panel_in_portions(bench: dict[str, Any]) -> None:
    from siren_ext.experiments import panel

    folder = bench["folder"]
    words = WORDS.format(f=folder, b=bench["base"]).split()
    first = CliRunner().invoke(panel.app, [*words, "--only", "clean"])
    assert first.exit_code == 0, (first.output, first.exception)
    assert "1 of 10 models scored" in first.output
    again = CliRunner().invoke(panel.app, [*words, "--minutes", "0"])
    assert "1 of 10 models scored" in again.output
    kept = (folder / "out" / "scores" / "clean_0.keyed.json").stat().st_mtime_ns
    whole = CliRunner().invoke(panel.app, [*words, "--results", str(folder / "results")])
    assert whole.exit_code == 0, (whole.output, whole.exception)
    assert "10 of 10 models scored" in whole.output
    out = folder / "out"
    assert (out / "scores" / "clean_0.keyed.json").stat().st_mtime_ns == kept
    with (folder / "results" / "panel.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 8
    assert {row["set"] for row in rows} == {"own", "", "toys", "theme 0"}
    assert all(0 < float(row["p_keyed"]) <= 1 for row in rows)
    assert (folder / "results" / "panel_summary.csv").is_file()
    assert (folder / "results" / "panel.png").is_file()
    assert not list(out.rglob("work/*/images")), "images go once they are scored"
    assert not (out / "adapters").exists()
    scored = ScoreSet.load(out / "scores" / "keyed_0.keyed.json")
    assert scored.features is not None
    assert scored.features.shape == (3, 8)
    other = [word if word != "steps=1" else "steps=2" for word in words]
    refused = CliRunner().invoke(panel.app, other)
    assert refused.exit_code == 2
    assert "differs in settings" in refused.output


def test_wrong_coaters_and_sizes_are_refused(tmp_path: Path) -> None:
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.experiments.panel import run_panel

    pytest.importorskip("diffusers")
    data = ImageSet.open(draw_images(tmp_path / "images", 2))
    plain = Coater(CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1))
    keyed = Coater(dataclasses.replace(plain.config, message_bits=4))
    with pytest.raises(ConfigError, match="needs an unkeyed coater"):
        run_panel(data, {"unkeyed": keyed}, "cat", tmp_path / "o")
    with pytest.raises(ConfigError, match="raise images or lower sizes"):
        run_panel(data, {"unkeyed": plain}, "cat", tmp_path / "o", PanelConfig(images=10))
    assert not (tmp_path / "o").exists()
