"""The installer installs what is missing, and nothing else."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from support.gradio_servers import ROOT, output_of
from support.webui import EXTENSION, WEBUI


def install(tmp_path: Path, absent: str) -> list[dict[str, str]]:
    log = tmp_path / "pip.jsonl"
    output_of(
        [sys.executable, str(EXTENSION / "install.py")],
        PYTHONPATH=os.pathsep.join((str(WEBUI), str(ROOT))),
        SIREN_TEST_PIP_LOG=str(log),
        SIREN_TEST_ABSENT=absent,
        SIREN_TEST_PRESENT="cryptography",  # the tests must pass where it is not
    )
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_nothing_is_installed_where_nothing_is_missing(tmp_path: Path) -> None:
    assert install(tmp_path, "") == []


def test_only_what_is_missing_is_installed(tmp_path: Path) -> None:
    (call,) = install(tmp_path, "jinja2,msgspec,tomli_w,cryptography")
    words = call["command"].split(" -c ")[0]
    assert words == 'install "jinja2>=3.0" "msgspec>=0.18" "tomli-w>=1.0" "cryptography>=41"'
    assert "numpy==" in call["constraints"]
    assert "torch==" in call["constraints"]
    for kept in ("torch", "numpy", "Pillow", "gradio", "transformers"):
        assert kept not in words


def test_the_package_is_installed_without_its_requirements(tmp_path: Path) -> None:
    (call,) = install(tmp_path, "siren_ext")
    assert call["command"] == f'install --no-deps --editable "{ROOT}"'
