"""The panel of innocents: its roster, its statistics on known cases, and a tiny one end to end."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.tiny_models import draw_images, need_models, shared_model
from typer.testing import CliRunner

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments.panel_results import judge_panel, plot_panel, summarise_panel
from siren_ext.experiments.panel_roster import PanelConfig, Panelist, find_sets, roster, theme
from siren_ext.scoring.score_set import ScoreSet

BITS = 16


def test_roster_is_as_large_as_promised_with_or_without_other_sets() -> None:
    for others in ([], [f"set {i}" for i in range(30)]):
        models = roster(PanelConfig(), others, keyed=True)
        innocent = [m for m in models if m.kind not in ("reference", "guilty")]
        assert len(innocent) >= 40
        for coating in ("unkeyed", "keyed"):
            guilty = [m for m in models if m.coating == coating]
            assert len(guilty) == 10
            assert {m.share for m in guilty} == {1.0, 0.5, 0.2, 0.1}
        assert len({m.name for m in models}) == len(models)
        assert sum(theme(m.data) is not None for m in models) == (4 if others else 18)
    plain = roster(PanelConfig(), [], keyed=False)
    assert {m.coating for m in plain} == {"", "unkeyed"}
    assert (
        plain == models[: len(plain)]
        or [m.name for m in plain][:20] == [m.name for m in models][:20]
    )


def test_no_two_models_share_seeds_and_a_reduced_panel_keeps_them() -> None:
    config = PanelConfig()
    models = roster(config, [], keyed=True)
    assert len({m.training_seed(config) for m in models}) == len(models)
    starts = sorted(m.noise_seed(config) for m in models)
    assert min(np.diff(starts)) >= 1_000_000
    few = roster(PanelConfig(reduced=1), [], keyed=True)
    assert all(model in models for model in few)
    kinds = [(m.kind, m.coating) for m in few if m.kind != "reference"]
    assert len(kinds) == len(set(kinds)) == 7
    assert sum(m.kind == "reference" for m in few) == 2


def test_other_sets_are_found_in_turn(tmp_path: Path) -> None:
    for name in ("pets/cat", "pets/dog", "toys"):
        draw_images(tmp_path / name, 3)
    (tmp_path / "empty").mkdir()
    found = find_sets(tmp_path)
    assert list(found) == ["cat", "toys", "dog"]
    assert list(find_sets(tmp_path, at_most=2, largest=2)) == ["cat", "toys"]
    assert len(find_sets(tmp_path, largest=2)["toys"]) == 2


# -- statistics -----------------------------------------------------------------------------


def pool(scores: Any, features: Any = None) -> ScoreSet:
    count = len(scores)
    return ScoreSet(np.array(scores), ("x",) * count, ("",) * count, "c", {}, (), features)


def known_panel() -> tuple[list[Panelist], dict[Any, ScoreSet], np.ndarray]:
    """Innocents of another style, which lowers their scores and shifts their features alike."""
    rng = np.random.default_rng(3)
    message = rng.integers(0, 2, BITS) * 2 - 1
    models = [
        Panelist("reference", "reference", "own", 0),
        Panelist("base_reference", "reference", "", 1),
    ]
    models += [Panelist(f"clean_{i}", "own set, clean", "own", 2 + i) for i in range(6)]
    models += [Panelist(f"other_{i}", "other set", "s", 10 + i) for i in range(6)]
    models += [
        Panelist(f"keyed_{i}", "guilty", "own", 20 + i, coating="keyed", share=share)
        for i, share in enumerate((1.0, 0.5))
    ]
    models += [
        Panelist(f"unkeyed_{i}", "guilty", "own", 30 + i, coating="unkeyed", share=share)
        for i, share in enumerate((1.0, 0.5))
    ]
    scores: dict[Any, ScoreSet] = {}
    for model in models:
        low = -2.0 * (model.coating == "unkeyed") - 0.7 * (model.kind == "other set")
        low += 0.7 * (model.name == "base_reference")
        style = rng.normal(0, 3, BITS) * (model.kind == "other set")
        signal = 1.0 * (model.coating == "keyed")
        scores[model.name, "unkeyed"] = pool(rng.normal(low, 1, 120))
        features = rng.normal(0, 3, (120, BITS)) + style + signal * message
        scores[model.name, "keyed"] = pool(np.ones(120), features)
    return models, scores, message


def test_mismatched_ks_accuses_innocents_and_the_keyed_test_does_not() -> None:
    models, scores, message = known_panel()
    config = PanelConfig(images=120, sizes=(20, 120), keys=100, decoys=2000)
    rows = judge_panel(models, scores, message, config)
    assert len(rows) == 2 * 16
    table = {(row["test"], row["n"], row["group"]): row for row in summarise_panel(rows)}

    def share(test: str, n: int, group: str, level: str = "at_0.01") -> float:
        return next(
            v[level] for k, v in table.items() if k[0].startswith(test) and k[1:] == (n, group)
        )

    assert share("KS, mismatched", 120, "innocent") > 0.9
    assert share("KS, mismatched", 20, "innocent") < share("KS, mismatched", 120, "innocent")
    assert share("KS of the whole", 120, "innocent") == 0.5, "those of another style"
    assert 0 < share("KS, matched", 120, "innocent") <= 0.5
    assert share("keyed", 120, "innocent") == 0
    assert share("keyed", 120, "guilty, 100 %", "at_0.001") == 1
    assert share("keyed", 120, "other coating") == 0
    assert share("KS, matched", 120, "guilty, 50 %") == 1
    assert share("keyed", 120, "other keys") < 0.03, "another key catches nobody"
    assert table[("keyed test", 120, "other keys")]["models"] == 16
    clean = next(row for row in rows if row["model"] == "clean_0" and row["n"] == 120)
    assert clean["p_rank"] > 1 / 12
    guilty = next(row for row in rows if row["model"] == "unkeyed_0" and row["n"] == 120)
    assert guilty["p_rank"] == pytest.approx(1 / 13)


def test_the_verdict_spares_models_of_another_style() -> None:
    models, scores, message = known_panel()
    rng = np.random.default_rng(8)
    for model in models:
        looks = rng.normal(0, 1, (120, 8)) + 4.0 * (model.kind == "other set")
        known = scores[model.name, "unkeyed"]
        scores[model.name, "unkeyed"] = dataclasses.replace(known, looks=looks)
    config = PanelConfig(images=120, sizes=(20, 120), keys=2, decoys=2000)
    rows = [row for row in judge_panel(models, scores, message, config) if row["n"] == 120]
    for row in rows:
        strange = row["kind"] == "other set"
        assert row["p_verdict"] == (1.0 if strange else row["p_ks_matched"])
        assert (row["looks_apart"] > 0.9) == strange
    table = {(row["test"], row["group"]): row for row in summarise_panel(rows)}
    verdict = "verdict against the matched reference"
    assert (
        table[verdict, "innocent"]["at_0.01"]
        < table["KS, matched clean reference", "innocent"]["at_0.01"]
    )
    assert table[verdict, "guilty, 100 %"]["at_0.001"] == 1
    # scores of another day, which do not tell how their pictures look
    blind = {key: dataclasses.replace(known, looks=None) for key, known in scores.items()}
    rows = [row for row in judge_panel(models, blind, message, config) if row["n"] == 120]
    assert all(row.get("p_verdict", row["p_ks_matched"]) == row["p_ks_matched"] for row in rows)
    assert {"p_verdict" in row for row in rows if row["p_ks_matched"] > 0.05} == {True}
    assert {"p_verdict" in row for row in rows if row["p_ks_matched"] <= 0.05} == {False}


def test_a_panel_in_progress_has_rows_for_what_is_there(tmp_path: Path) -> None:
    models, scores, message = known_panel()
    config = PanelConfig(images=120, sizes=(20,), keys=5, decoys=100)
    some = {key: value for key, value in scores.items() if key[0] in ("clean_0", "clean_1")}
    rows = judge_panel(models, some, message, config)
    assert [row["model"] for row in rows] == ["clean_0", "clean_1"]
    assert "p_ks_matched" not in rows[0]
    assert rows[0]["p_rank"] in (0.5, 1.0)
    plot_panel(rows, tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert min(picture.size) > 200


# -- end to end -----------------------------------------------------------------------------


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
--set sizes=[2,3] --set steps=1 --set theme_images=2 --set keys=5 --set decoys=50
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
    assert "another settings" in refused.output


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
