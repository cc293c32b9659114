"""The command line: help, settings, exit codes, and the owner's commands on real files."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from siren_ext.cli.common import (
    command,
    gather,
    parse_assignment,
    report_skipped,
    settings,
    watched,
)
from siren_ext.cli.demo import _SETTINGS, describe_settings, settings_class
from siren_ext.errors import Cancelled, ConfigError, SirenError
from siren_ext.verdict.config import VerifyConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMMANDS = (
    "demo",
    "train",
    "meta",
    "coat",
    "personalize",
    "generate",
    "score",
    "verify",
    "investigate",
    "commit",
    "trace",
    "plan",
    "adapter",
    "settings",
)


@pytest.fixture
def failing() -> Callable[[BaseException], typer.Typer]:
    """An app whose command ``work`` raises the given error."""

    def make(error: BaseException) -> typer.Typer:
        trial = typer.Typer(pretty_exceptions_enable=False)

        @command(trial, "work", example="x work a")
        def work(path: Path) -> None:
            """Do it."""
            raise error

        @trial.callback()
        def _options() -> None:
            """Keep 'work' a named command."""

        return trial

    return make


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(
    name: str, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = call(name, "--help")
    assert code == 0
    assert re.search(rf"Example: siren-ext {name} [-\w]", re.sub(r"\x1b\[[0-9;]*m", "", out))
    assert "--debug" in out


def test_help_breaks_lines_for_the_terminal_and_not_for_the_source(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    _, out, _ = call("demo", "--help")
    assert "one innocent model on the clean originals, generates from both" in out
    assert "without a GPU or a download.  " in out, "paragraphs stay apart"


def test_overview_lists_the_commands(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)


def test_version(call: Callable[..., tuple[int, str, str]]) -> None:
    import siren_ext

    assert call("--version") == (0, siren_ext.__version__ + "\n", "")


def test_siren_error_is_one_message_and_exit_2(call, failing) -> None:
    trial = failing(SirenError("Found a cat, expected a dog; give a dog."))
    code, out, err = call("work", "x", of=trial)
    assert code == 2
    assert out == ""
    assert err == "Error: Found a cat, expected a dog; give a dog.\n"


@pytest.mark.parametrize("error", [SirenError("no"), Cancelled("stop")])
def test_debug_lets_the_error_through(failing, error: SirenError) -> None:
    with pytest.raises(type(error), match=str(error)):
        failing(error)(["work", "x", "--debug"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled("stop")])
def test_interrupt_says_how_to_go_on(call, failing, error: BaseException) -> None:
    code, _, err = call("work", "x", of=failing(error))
    assert code == 130
    assert "the same command goes on" in err


def test_other_errors_are_not_hidden(failing) -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())(["work", "x"])


def test_skipped_files_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    report_skipped((), "files")
    with pytest.raises(typer.Exit) as stop:
        report_skipped((("a.png", "is cut off"), ("b.gif", "is empty")), "files were")
    assert stop.value.exit_code == 3
    err = capsys.readouterr().err
    assert "2 files were skipped" in err
    assert "a.png: is cut off" in err
    assert "b.gif: is empty" in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps=400", ("steps", 400)),
        ("learning-rate = 1e-4", ("learning_rate", 1e-4)),
        ("flip=false", ("flip", False)),
        ("prompts=['a', 'b']", ("prompts", ["a", "b"])),
        ("prompt=an image of a = sign", ("prompt", "an image of a = sign")),
        ("negative=", ("negative", "")),
    ],
)
def test_assignment(text: str, expected: tuple[str, object]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["steps", "=3", ""])
def test_malformed_assignment(text: str) -> None:
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        parse_assignment(text)


def test_assignment_can_not_smuggle_a_second_setting() -> None:
    assert parse_assignment("steps=1\nseed=2") == ("steps", "1\nseed=2")


def test_options_beat_assignments_beat_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("alpha = 0.1\n")
    assert settings(VerifyConfig, path).alpha == 0.1
    assert settings(VerifyConfig, path, ["alpha=0.2"]).alpha == 0.2
    assert settings(VerifyConfig, path, ["alpha=0.2"], alpha=0.3).alpha == 0.3
    assert settings(VerifyConfig, path, ["alpha=0.2"], alpha=None).alpha == 0.2


def test_assignments_reach_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("steps = 1\n[coater]\nbits = 2\nfeatures = 3\n")
    assert gather(path, ["coater.bits=4", "surrogate.rank=8", "seed=5"], steps=9) == {
        "steps": 9,
        "seed": 5,
        "coater": {"bits": 4, "features": 3},
        "surrogate": {"rank": 8},
    }
    with pytest.raises(ConfigError, match="not a group"):
        gather(path, ["steps.x=1"])


def test_bad_settings_name_file_or_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        settings(VerifyConfig, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="alpah"):
        settings(VerifyConfig, None, ["alpah=0.1"])


@pytest.mark.parametrize("name", sorted(_SETTINGS))
def test_printed_settings_are_the_defaults(name: str, call) -> None:
    kind = settings_class(name)
    code, out, _ = call("settings", name)
    assert code == 0
    assert kind.from_dict(tomllib.loads(out)) == kind()
    assert out.startswith(describe_settings(kind))


def test_groups_of_train_are_ready_to_be_uncommented(call) -> None:
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.personalize.config import PersonalizeConfig

    _, out, _ = call("settings", "train")
    for part, kind in (("coater", CoaterConfig), ("surrogate", PersonalizeConfig)):
        lines = out[out.index(f"# [{part}]") :].split("\n\n")[0].splitlines()
        text = "\n".join(line[2:] for line in lines if " = " in line or line.startswith("# ["))
        values = tomllib.loads(text.replace("= (not set)", "= ''"))[part]
        assert set(values) == {field.name for field in dataclasses.fields(kind)}


def test_settings_of_an_unknown_command(call) -> None:
    code, _, err = call("settings", "cook")
    assert code == 2
    assert "'cook' has no settings; expected one of demo, train" in err


def test_watched_turns_interrupt_into_a_clean_stop() -> None:
    with watched(quiet=True) as progress:
        progress.stage("work", 2)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Cancelled):
            progress.advance()


# --- the owner's commands on real files -------------------------------------------------------


@pytest.fixture(scope="module")
def coater_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny, untrained coater."""
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig

    config = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=32
    )
    path = tmp_path_factory.mktemp("coater") / "coater.safetensors"
    Coater(config, seed=1).save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four small pictures with a caption."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "0.txt").write_text("a fox")
    return folder


def test_coat_then_score_then_verify(call, photos: Path, coater_file: Path, tmp_path: Path) -> None:
    coated = tmp_path / "coated"
    code, out, err = call("coat", photos, "--coater", coater_file, "--out", coated)
    assert code == 0, err
    assert "4 of 4 images coated" in out
    assert (coated / "0.txt").read_text() == "a fox"
    scores = {}
    for name, folder in (("suspect", coated), ("clean", photos)):
        scores[name] = tmp_path / f"{name}.json"
        code, out, err = call("score", folder, "--coater", coater_file, "--out", scores[name])
        assert code == 0, err
        assert "4 scores" in out
        assert len(json.loads(scores[name].read_text())["images"]) == 4
    report = tmp_path / "report"
    arguments = ["--suspect", scores["suspect"], "--reference", scores["clean"], "--out", report]
    code, out, err = call("verify", *arguments, "--mimicries", coated)
    assert code == 0, err
    html = Path(out.splitlines()[-1])
    assert html.is_file()
    assert "n = 4, m = 4" in out
    assert "inconclusive" in out, "four images can't reach alpha 1e-6"


def test_coat_share(call, photos: Path, coater_file: Path, tmp_path: Path) -> None:
    code, out, _ = call(
        "coat", photos, "--coater", coater_file, "--out", tmp_path / "c", "--share", "0.5"
    )
    assert code == 0
    assert "2 of 4 images coated" in out


def test_broken_file_is_named_and_exit_3(call, photos: Path, coater_file: Path, tmp_path) -> None:
    whole = (photos / "1.png").read_bytes()
    (photos / "bad.png").write_bytes(whole[: len(whole) // 2])
    code, out, err = call("coat", photos, "--coater", coater_file, "--out", tmp_path / "c")
    assert code == 3
    assert "4 of 4 images coated" in out
    assert "bad.png" in err
    assert "Traceback" not in err
    code, _, err = call("score", photos, "--coater", coater_file, "--out", tmp_path / "s.json")
    assert code == 3
    assert "bad.png" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("coat", "{tmp}/none", "--coater", "{coater}", "--out", "{tmp}/c"), "none"),
        (("coat", "{photos}", "--coater", "{tmp}/no.safetensors", "--out", "{tmp}/c"), "no.saf"),
        (("coat", "{photos}", "--coater", "{coater}", "--out", "{tmp}/c", "--share", "2"), "share"),
        (("score", "{photos}", "--coater", "{photos}/0.png", "--out", "{tmp}/s"), "0.png"),
        (
            ("verify", "--suspect", "{tmp}/s", "--reference", "{tmp}/s", "--out", "{tmp}/r"),
            "{tmp}/s",
        ),
    ],
)
def test_mistakes_exit_2_and_name_the_culprit(
    call, photos: Path, coater_file: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    places = {"tmp": str(tmp_path), "photos": str(photos), "coater": str(coater_file)}
    code, _, err = call(*(argument.format(**places) for argument in arguments))
    assert code == 2
    assert err.startswith("Error: ")
    assert message.format(**places) in err
    assert "Traceback" not in err


def test_missing_option_is_a_usage_error(call, photos: Path) -> None:
    code, _, err = call("coat", photos)
    assert code == 2
    assert "--coater" in err


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_interrupted_coating_resumes(photos: Path, coater_file: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number in range(60):
        pixels = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"more{number}.png")
    out = tmp_path / "coated"
    line = [sys.executable, "-m", "siren_ext", "coat", photos, "--coater", coater_file]
    line += ["--out", out, "--batch-size", "1", "--workers", "1"]
    first = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while first.poll() is None and time.monotonic() < deadline and not list(out.glob("*.png")):
        time.sleep(0.02)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 130, err
    assert "goes on" in err
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert 0 < len(kept) < 64
    second = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert second.returncode == 0, second.stderr
    assert len(list(out.glob("*.png"))) == 64
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "nothing is coated twice"


# --- arguments reach the functions ------------------------------------------------------------


def test_personalize_passes_its_settings(call, photos: Path, tmp_path: Path, monkeypatch) -> None:
    from siren_ext.personalize import run as module
    from siren_ext.personalize.config import PersonalizeConfig

    seen: dict[str, object] = {}

    def stand_in(data, model, config, out, *, device, progress) -> None:
        seen.update(data=len(data), model=model, config=config, out=out, device=device)

    monkeypatch.setattr(module, "personalize", stand_in)
    out = tmp_path / "lora.safetensors"
    line = ["personalize", photos, "--base", "pocket", "--out", out, "--steps", "7"]
    code, _, err = call(*line, "--set", "rank=4", "--device", "cpu")
    assert code == 0, err
    assert (seen["data"], seen["model"], seen["out"], seen["device"]) == (4, "pocket", out, "cpu")
    assert seen["config"] == PersonalizeConfig(steps=7, rank=4)


@pytest.mark.models
def test_train_passes_its_settings(
    call, photos: Path, coater_file: Path, tmp_path: Path, monkeypatch
) -> None:
    import siren_ext.training.recipes as module
    from siren_ext.coater.bundled import coater_path, usual_start
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.training.config import TrainConfig

    seen: dict[str, object] = {}

    def stand_in(data, base, word, out, config, **rest) -> None:
        seen.update(rest, data=len(data), base=base, word=word, out=out, config=config)

    monkeypatch.setattr(module, "train_for_base", stand_in)
    out = tmp_path / "c.safetensors"
    line = ["train", photos, "--base", "pocket", "--class-word", "fox", "--out", out]
    code, _, err = call(*line, "--start", coater_file, "--steps", "5", "--set", "surrogate.rank=4")
    assert code == 0, err
    assert (seen["data"], seen["base"], seen["word"], seen["out"]) == (4, "pocket", "fox", out)
    assert seen["config"] == TrainConfig(steps=5)
    assert seen["start"].config.channels == 4
    assert seen["surrogate"].rank == 4
    assert seen["coater"] is None
    code, _, err = call(*line)
    assert code == 0, err
    assert seen["start"].fingerprint == Coater.load(coater_path(usual_start())).fingerprint
    code, _, err = call(*line, "--set", "coater.bits=8")
    assert code == 0, err
    assert (seen["start"], seen["coater"]) == (None, CoaterConfig(bits=8))
    code, _, err = call(*line, "--start", "none", "--preset", "paper", "--set", "nu=0.2")
    assert code == 0, err
    assert seen["config"] == TrainConfig.preset("paper", nu=0.2, steps=60 * 4)
    assert seen["coater"] == CoaterConfig.preset("paper")
    code, _, err = call(*line, "--start", coater_file, "--preset", "official", "--steps", "7")
    assert code == 0, err
    assert seen["config"] == TrainConfig.preset("official", steps=7)
    code, _, err = call(*line, "--preset", "keyed")
    assert code == 0, err
    assert seen["config"].steps == 0
    assert (seen["coater"], seen["start"]) == (CoaterConfig.preset("keyed"), None)
    assert seen["coater"].message_bits == 48
    code, _, err = call(*line, "--start", "none", "--preset", "best")
    assert code == 2
    assert "expected one of default, coarse, keyed, official, paper" in err
    code, _, err = call(*line, "--start", coater_file, "--set", "coater.bits=8")
    assert code == 2
    assert "--start none" in err


def test_generate_passes_its_plan(call, tmp_path: Path, monkeypatch) -> None:
    from siren_ext.suspects import base, local
    from siren_ext.suspects.local import WeightedAdapter

    seen: dict[str, object] = {}

    def stand_in(suspect, plan, out, *, progress) -> list[Path]:
        seen.update(suspect=suspect, plan=plan, out=out)
        return [out / "00000.png"]

    monkeypatch.setattr(local, "LocalSuspect", lambda *args, **kwargs: (args, kwargs))
    monkeypatch.setattr(base, "generate_images", stand_in)
    line = ["generate", "--base", "m", "--adapter", "a.safetensors", "--prompt", "a", "--prompt"]
    code, out, err = call(*line, "b", "-n", "5", "--seed", "3", "--out", tmp_path / "g")
    assert code == 0, err
    assert "1 images" in out
    assert seen["plan"] == base.PromptPlan(prompts=("a", "b"), count=5, seed=3)
    assert seen["suspect"][0] == ("m", [WeightedAdapter(Path("a.safetensors"))])
