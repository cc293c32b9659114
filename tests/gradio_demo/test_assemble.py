"""The folder of a Space is whole, and its requirements are those of the package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.gradio_servers import ROOT
from support.scripts import load_script

DEMO = ROOT / "gradio_demo"


def test_a_space_folder_is_whole(tmp_path: Path) -> None:
    assemble = load_script(DEMO / "assemble.py")
    out = tmp_path / "space"
    assemble.assemble(out)
    head = (out / "README.md").read_text(encoding="utf-8").split("---")[1]
    values = dict(line.split(": ", 1) for line in head.strip().splitlines())
    assert values["sdk"] == "gradio"
    assert (out / values["app_file"]).is_file()
    assert len(values["short_description"]) <= 60
    for part in ("siren_ext/panels/coat.py", "siren_ext/panels/cards.html", "LICENSE"):
        assert (out / part).is_file()
    assert not list(out.rglob("__pycache__"))
    wanted = (out / "requirements.txt").read_text(encoding="utf-8")
    assert values["sdk_version"].rsplit(".", 1)[0] in wanted
    with pytest.raises(FileExistsError):
        assemble.assemble(out)


def test_requirements_are_those_of_the_package() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("reads pyproject.toml with tomllib")
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = [*project["dependencies"], *project["optional-dependencies"]["models"]]
    text = (DEMO / "requirements.txt").read_text(encoding="utf-8").replace('"', "'")
    listed = {line.strip() for line in text.splitlines()}
    shell_only = ("typer", "rich")  # the command line's, which a page does without
    assert {line for line in base if not line.startswith(shell_only)} <= listed
