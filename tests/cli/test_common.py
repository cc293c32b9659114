"""What the commands share: exit codes, skipped files, settings from files and assignments."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from siren_ext.cli.common import (
    command,
    gather,
    report_notes,
    report_skipped,
    settings,
    split_assignment,
    watched,
)
from siren_ext.coater.config import CoaterConfig
from siren_ext.config import Config
from siren_ext.errors import Cancelled, ConfigError, SirenError
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.suspects.base import PromptPlan
from siren_ext.training.config import TrainConfig
from siren_ext.verdict.config import VerifyConfig
from siren_ext.workflows.demo import DemoConfig


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


def test_siren_error_is_one_message_and_exit_2(call, failing) -> None:
    trial = failing(SirenError("Found a cat, expected a dog; give a dog."))
    code, out, err = call("work", "x", of=trial)
    assert code == 2
    assert out == ""
    assert err == "Error: Found a cat, expected a dog; give a dog.\n"


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (IsADirectoryError(21, "Is a directory", "/a/.part-x1", None, "photos"), "photos"),
        (FileNotFoundError(2, "No such file or directory", "/proc/.part-x2"), "/proc"),
        (OSError(28, "No space left on device", "a\nb"), "a\\nb"),
    ],
)
def test_path_that_can_not_be_used_is_one_message(call, failing, error, place) -> None:
    code, out, err = call("work", "x", of=failing(error))
    assert (code, out) == (2, "")
    assert err == (
        f"Error: {place} can't be read or written ({error.strerror}); check the path, its "
        "permissions and the free space.\n"
    )
    with pytest.raises(type(error)):
        failing(error)(["work", "x", "--debug"])


def test_a_file_where_a_folder_should_be_is_named(call, failing) -> None:
    code, out, err = call("work", "x", of=failing(FileExistsError(17, "File exists", "text.txt")))
    assert (code, out) == (2, "")
    assert err == (
        "Error: text.txt is a file or a broken link; expected a folder. Choose another place.\n"
    )


def test_closed_output_is_left_to_the_parser(call, failing) -> None:
    code, out, err = call("work", "x", of=failing(BrokenPipeError(32, "Broken pipe")))
    assert (code, out, err) == (1, "", "")


@pytest.mark.parametrize("error", [SirenError("no"), Cancelled("stop")])
def test_debug_lets_the_error_through(failing, error: SirenError) -> None:
    with pytest.raises(type(error), match=str(error)):
        failing(error)(["work", "x", "--debug"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled("stop")])
def test_interrupt_says_how_to_go_on(call, failing, error: BaseException) -> None:
    code, _, err = call("work", "x", of=failing(error))
    assert code == 130
    assert "run the same command again to resume" in err


def test_other_errors_are_not_hidden(failing) -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())(["work", "x"])


def test_skipped_files_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    report_skipped((), "file")
    with pytest.raises(typer.Exit) as stop:
        report_skipped((("a.png", "is cut off"), ("b.gif", "is empty")), "file")
    assert stop.value.exit_code == 3
    err = capsys.readouterr().err
    assert "Skipped 2 files:" in err
    assert "a.png: is cut off" in err
    assert "b.gif: is empty" in err


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (TrainConfig, "steps=400", {"steps": 400}),
        (TrainConfig, "learning-rate = 1e-4", {"learning_rate": 1e-4}),
        (TrainConfig, "distort=no", {"distort": False}),
        (TrainConfig, "distort=On", {"distort": True}),
        (TrainConfig, "objective=sum", {"objective": "sum"}),
        (PromptPlan, "prompts=['a', 'b']", {"prompts": ["a", "b"]}),
        (PromptPlan, "negative=an image of a = sign", {"negative": "an image of a = sign"}),
        (PromptPlan, "negative=400", {"negative": "400"}),
        (PromptPlan, "negative=", {"negative": ""}),
        (PromptPlan, "steps=1\nseed=2", {"steps": "1\nseed=2"}),
        (DemoConfig, "data=folder with 5 cats", {"data": "folder with 5 cats"}),
    ],
)
def test_assignment_is_read_by_the_type_of_its_setting(
    kind: type[Config], text: str, expected: dict[str, object]
) -> None:
    assert gather(kind, None, [text]) == expected


@pytest.mark.parametrize("text", ["steps", "=3", "", "x" * 10_000])
def test_malformed_assignment(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--limit was given .*NAME=VALUE") as caught:
        split_assignment(text, "--limit")
    assert len(str(caught.value)) < 200


def test_options_beat_assignments_beat_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("alpha = 0.1\n")
    assert settings(VerifyConfig, path).alpha == 0.1
    assert settings(VerifyConfig, path, ["alpha=0.2"]).alpha == 0.2
    assert settings(VerifyConfig, path, ["alpha=0.2"], alpha=0.3).alpha == 0.3
    assert settings(VerifyConfig, path, ["alpha=0.2"], alpha=None).alpha == 0.2


GROUPS = {"coater": CoaterConfig, "surrogate": PersonalizeConfig}


def test_assignments_reach_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("steps = 1\n[coater]\nbits = 2\nfeatures = 3\n")
    assigned = ["coater.bits=4", "surrogate.flip=off", "seed=5"]
    assert gather(TrainConfig, path, assigned, groups=GROUPS, steps=9) == {
        "steps": 9,
        "seed": 5,
        "coater": {"bits": 4, "features": 3},
        "surrogate": {"flip": False},
    }
    assert gather(TrainConfig, groups=GROUPS) == {"coater": {}, "surrogate": {}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("steps.x=1", "'steps' is not a group of settings; expected such as coater.NAME=VALUE"),
        ("coater=1", "'coater' is a group of settings; expected such as coater.NAME=VALUE"),
        ("x" * 9999 + ".x=1", "is not a group"),
    ],
)
def test_groups_are_named(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        gather(TrainConfig, None, [text], groups=GROUPS)
    assert len(str(caught.value)) < 300


def test_group_has_to_be_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("coater = 3\n")
    with pytest.raises(ConfigError, match=r"a\.toml: coater is a single value; expected a table"):
        gather(TrainConfig, path, groups=GROUPS)


EXTREME = {
    "text for a truth value": "distort=maybe",
    "fraction": "steps=2.5",
    "5,000 digits": "steps=" + "9" * 5000,
    "5,000 hexadecimal digits": "steps=0x" + "f" * 5000,
    "infinite": "learning_rate=inf",
    "not a number": "learning_rate=nan",
    "nested lists": "steps=" + "[" * 10_000,
    "nested tables": "steps=" + "{a=" * 10_000,
    "dotted key": "steps={" + ".".join("a" * 40_000) + "=1}",
    "half of a character": "objective=\udcff",
    "half of a character in a name": "st\ud800eps=3",
    "unknown name": "stepz=3",
    "the name of a parameter": "name=x",
    "long name": "s" * 50_000 + "=3",
}


@pytest.mark.parametrize("text", EXTREME.values(), ids=EXTREME)
def test_extreme_assignments_are_one_message_and_exit_2(call, tmp_path: Path, text: str) -> None:
    began = time.monotonic()
    line = f"train x --base pocket --class-word cat --out {tmp_path}/c".split()
    code, out, err = call(*line, "--set", text)
    assert code == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert "expected" in err or "it has" in err
    assert len(err) < 1000
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("text", EXTREME.values(), ids=EXTREME)
def test_extreme_settings_files_are_one_message_and_exit_2(call, tmp_path: Path, text: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    line = f"train x --base pocket --class-word cat --out {tmp_path}/c".split()
    code, out, err = call(*line, "--config", str(path))
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert len(err) < 1000


def test_bad_settings_name_file_or_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        settings(VerifyConfig, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="alpah"):
        settings(VerifyConfig, None, ["alpah=0.1"])


def test_watched_turns_interrupt_into_a_clean_stop() -> None:
    with watched(quiet=True) as progress:
        progress.stage("work", 2)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Cancelled):
            progress.advance()


def test_notes_are_listed_once_with_three_names(capsys: pytest.CaptureFixture[str]) -> None:
    report_notes([("CMYK was converted.", f"{i}.jpg") for i in range(5)] + [("Cut.", "x.gif")])
    assert capsys.readouterr().err == (
        "Note: CMYK was converted. (0.jpg, 1.jpg, 2.jpg and 2 more)\nNote: Cut. (x.gif)\n"
    )
