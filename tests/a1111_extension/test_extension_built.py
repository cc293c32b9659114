"""The built extension, and the whole repository as one: a web UI loads the tab of both."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.gradio_servers import ROOT, interpreter, output_of
from support.scripts import load_script
from support.webui import WEBUI

packs = load_script(ROOT / "build_packs.py")
LOAD = (
    "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
    "import serve; root = Path(sys.argv[2]); serve.load_scripts(root)\n"
    "from modules import script_callbacks; import siren_ext.errors\n"
    "print(sorted(script_callbacks.REGISTERED), siren_ext.errors.__file__)\n"
    "print(serve.parse(root, ['--siren-allow-folders']).siren_allow_folders)"
)


@pytest.mark.parametrize("kind", ["built", "repository"])
def test_the_tab_and_the_flags_are_loaded(tmp_path: Path, kind: str) -> None:
    python = interpreter("3")
    folder = ROOT
    if kind == "built":
        _, folder = packs.build(tmp_path / "packs")
        assert (folder / "style.css").is_file()
    first, second = output_of(
        [python, "-c", LOAD, str(WEBUI), str(folder)], PYTHONPATH=str(WEBUI)
    ).splitlines()
    callbacks, _, package = first.rpartition(" ")
    assert "ui_tabs" in callbacks
    assert "ui_settings" in callbacks
    assert Path(package).is_relative_to(folder)
    assert second == "True"


def test_the_repositorys_style_is_the_extensions() -> None:
    assert '@import url("a1111_extension/style.css");' in (ROOT / "style.css").read_text()


def test_the_repositorys_installer_is_the_extensions(tmp_path: Path) -> None:
    log = tmp_path / "pip.jsonl"
    output_of(
        [sys.executable, str(ROOT / "install.py")],
        PYTHONPATH=str(WEBUI),
        SIREN_TEST_PIP_LOG=str(log),
        SIREN_TEST_ABSENT="jinja2",
        SIREN_TEST_PRESENT="cryptography",
    )
    assert "jinja2>=3.0" in log.read_text()
