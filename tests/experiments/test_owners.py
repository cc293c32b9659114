"""The study of owners: who gets which images, a tiny run, and the table of shares."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_models import draw_images, need_models, shared_model
from typer.testing import CliRunner

from siren_ext.errors import ConfigError
from siren_ext.experiments.owners import OwnersConfig, app, divide, shares
from siren_ext.experiments.panel_roster import find_sets


def test_no_image_goes_to_two_owners(tmp_path: Path) -> None:
    draw_images(tmp_path / "cats", 20)
    draw_images(tmp_path / "dogs", 9)
    draw_images(tmp_path / "ants", 5)
    sets = find_sets(tmp_path, largest=0)
    owners = divide(sets, OwnersConfig(images=8))
    assert [owner.data.name for owner in owners] == ["cats", "dogs", "cats"]
    assert [owner.number for owner in owners] == [0, 1, 2]
    files = [item.path for owner in owners for item in owner.data.items]
    assert len(files) == len(set(files)) == 24
    assert divide(sets, OwnersConfig(images=8, owners=1))[0].data.hash == owners[0].data.hash
    with pytest.raises(ConfigError, match="None of the 3 sets has 30 images"):
        divide(sets, OwnersConfig(images=30))


def test_shares_have_exact_intervals() -> None:
    rows = [
        {"owner": n, "set": "a", "kind": "innocent", "pictures": p, "file": 0.5}
        for n, p in enumerate([0.04, 0.2, 0.7, 0.9])
    ]
    lines = shares(rows)
    assert len(lines) == 4
    assert lines[2].startswith("| innocent (4) | pictures | 1: 25.0 % (0.6 to 80.6) | 0: 0.0 % ")
    assert lines[3].startswith("| innocent (4) | file | 0: 0.0 % (0.0 to 60.2)")


@pytest.mark.models
def test_a_study_is_run_in_parts(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_models()
    monkeypatch.setattr("siren_ext.training.coarse_fit.GENERATED", 6)
    monkeypatch.setattr("siren_ext.training.coarse_fit._PROBES", 32)
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    draw_images(tmp_path / "sets" / "cats", 8)
    draw_images(tmp_path / "sets" / "dogs", 8)
    out = tmp_path / "study"
    line = ["--sets", str(tmp_path / "sets"), "--base", str(model), "--out", str(out)]
    line += ["--device", "cpu", "--images", "8", "--pictures", "2", "--steps", "1"]
    line += ["--guilty", "1"]
    made = CliRunner().invoke(app, [*line, "--shard", "0/2"])
    assert made.exit_code == 0, made.output
    assert "2 models of 2 owners are finished." in made.output
    assert not list((out / "work").iterdir())
    before = (out / "results" / "owner_000.guilty.json").stat().st_mtime_ns
    made = CliRunner().invoke(app, line)
    assert made.exit_code == 0, made.output
    assert "3 models of 2 owners are finished." in made.output
    assert (out / "results" / "owner_000.guilty.json").stat().st_mtime_ns == before
    rows = (out / "owners.csv").read_text().splitlines()
    assert rows[0] == "owner,set,kind,pictures,file"
    assert [row.split(",")[:3] for row in rows[1:]] == [
        ["0", "cats", "innocent"],
        ["1", "dogs", "innocent"],
        ["0", "cats", "guilty"],
    ]
    assert "| innocent (2) | file |" in made.output
    other = CliRunner().invoke(app, [*line, "--seed", "1"])
    assert isinstance(other.exception, ConfigError)
