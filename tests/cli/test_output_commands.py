"""No command replaces a signed report: all commands with ``--out``, by a table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.reports import written
from support.score_sets import drawn

from siren_ext.cli.app import app
from siren_ext.keys.signing import Signer

REPORT, SEALED = "signed", "signed/report.json"
COATER, SCORES = ("--coater", "coater.safetensors"), ("--suspect", "scores.json")
BASE, WORD = ("--base", "pocket"), ("--class-word", "fox")
LORA = ("--adapter", "lora.safetensors")
FOLDERS: dict[str, tuple[str, ...]] = {
    "verify": (*SCORES, "--reference", "scores.json"),
    "passive": ("--published", "photos", "--unpublished", "photos", *BASE, *LORA),
    "robustness": ("photos", *COATER),
    "attack": ("photos", "--with", "jpeg"),
    "attribute shadow": (
        *("--source", "pocket", "--others", "photos", "--data", "photos", "--images", "1"),
        *BASE,
    ),
}
"""They refuse the folder of a signed report."""
BESIDE: dict[str, tuple[str, ...]] = {
    "coat": ("photos", *COATER),
    "generate": ("--suspect", "photos", "--prompt", "a fox", "-n", "4"),
    "decoys": ("coater.safetensors", "photos", *BASE),
    "watch": ("photos", *COATER, "--once", "--settle", "0"),
}
"""Their files have other names, so they may write beside one."""
FILES: dict[str, tuple[str, ...]] = {
    "train": ("photos", *BASE, *WORD),
    "meta": ("photos", *BASE),
    "import-official": ("coater.safetensors", "coater.safetensors"),
    "personalize": ("photos", *BASE),
    "uncoat": ("photos", "photos"),
    "score": ("photos", *COATER),
    "preference": ("photos", *BASE, *COATER),
    "twins": (*BASE, "--published", "photos", "--twins", "photos"),
    "commit new": COATER,
    "report open": (REPORT, *SCORES, "--key", "keys.json", "--commitment", "commitment.json"),
}
CHAIN = ("--salt", "s", "--commitment", "c", "--timestamp", "t", "--root", "r")
PLACED: dict[str, tuple[str, ...]] = {
    "key new": (SEALED,),
    "key salt": (SEALED,),
    "key derive": (SEALED, *CHAIN),
    "key signing": (SEALED,),
    "demo": (REPORT,),
}
"""They take the place to write as an argument."""
FORCED = {
    *("verify", "passive", "robustness", "attribute images", "attribute source", "investigate"),
    *("personalize", "score", "preference", "twins"),
}
"""They have ``--force``; the others never replace anything."""


def commands(group: Any, name: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every command with its options."""
    for word, inner in getattr(group, "commands", {}).items():
        found = f"{name} {word}".strip()
        if getattr(inner, "commands", None):
            yield from commands(inner, found)
        else:
            yield found, {option for given in inner.params for option in given.opts}


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed report and its scores; don't change them."""
    pytest.importorskip("cryptography")
    home = tmp_path_factory.mktemp("signed")
    drawn(5, 12, seed=1).save(home / "scores.json")
    written(drawn(2, 12), drawn(5, 12, seed=1), home / REPORT, signer=Signer.draw())
    return home


@pytest.fixture
def report(
    tmp_path: Path,
    photos: Path,
    signed: Path,
    coater_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, bytes]:
    """A signed report in the current folder, and what the commands read beside it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(signed, tmp_path, dirs_exist_ok=True)
    shutil.copyfile(coater_file, tmp_path / "coater.safetensors")
    return files(tmp_path / REPORT)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_table_has_all_commands_with_an_output() -> None:
    found = dict(commands(typer.main.get_command(app)))
    outputs = {name for name, options in found.items() if "--out" in options}
    attributions = {"attribute images", "attribute source"}
    assert outputs == {*FOLDERS, *BESIDE, *FILES, *attributions, "investigate"}
    assert {name for name, options in found.items() if "--force" in options} == FORCED
    assert set(PLACED) <= set(found)


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_a_signed_report_is_not_replaced(
    call, report: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    line = (*name.split(), *FOLDERS.get(name, FILES.get(name, ())))
    for place in (REPORT,) if name in FOLDERS else (SEALED, f"{REPORT}/report.seal.json", REPORT):
        code, _, err = call(*line, "--out", place)
        assert code == 2, err
        assert place in err
        assert files(tmp_path / REPORT) == report


@pytest.mark.parametrize("name", PLACED)
def test_no_key_file_replaces_a_report(
    call, report: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    code, _, err = call(*name.split(), *PLACED[name])
    assert code == 2
    assert REPORT in err
    assert files(tmp_path / REPORT) == report


@pytest.mark.parametrize("name", BESIDE)
def test_other_files_are_written_beside_a_report(
    call, report: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    call(*name.split(), *BESIDE[name], "--out", REPORT)
    assert files(tmp_path / REPORT).items() >= report.items()


def test_an_investigation_keeps_the_signed_report_in_its_folder(
    call, report: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / REPORT).rename(tmp_path / "case" / "report")
    line = ("investigate", "--suspect", "photos", "--reference", "scores.json", *COATER)
    code, _, err = call(*line, "--out", "case", "--prompt", "a fox", "-n", "4")
    assert code == 2
    assert "contains a signed report, which was not replaced" in err
    assert files(tmp_path / "case" / "report") == report
