"""The extension's parts that need no Gradio: installer, flags, generation, against our host."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from gradio_servers import ROOT, output_of
from PIL import Image

from siren_ext.errors import AdapterError, Cancelled
from siren_ext.panels.lora import Order
from siren_ext.progress import NULL, Progress

EXTENSION = ROOT / "a1111_extension"
WEBUI = Path(__file__).with_name("webui")
OURS = ("modules", "networks", "launch", "siren_a1111")


@pytest.fixture
def webui(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The host's modules, importable for one test."""
    monkeypatch.setenv("SIREN_TEST_DATA", str(tmp_path))
    monkeypatch.syspath_prepend(str(EXTENSION))
    monkeypatch.syspath_prepend(str(WEBUI))
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
        del sys.modules[name]


def install(tmp_path: Path, absent: str) -> list[dict[str, str]]:
    log = tmp_path / "pip.jsonl"
    output_of(
        [sys.executable, "-c",
         f"import sys, runpy; sys.path.insert(0, {str(WEBUI)!r}); "
         f"runpy.run_path({str(EXTENSION / 'install.py')!r})"],
        SIREN_TEST_PIP_LOG=str(log), SIREN_TEST_ABSENT=absent,
    )  # fmt: skip
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_nothing_is_installed_where_nothing_is_missing(tmp_path: Path) -> None:
    assert install(tmp_path, "") == []


def test_only_what_is_missing_is_installed(tmp_path: Path) -> None:
    (call,) = install(tmp_path, "jinja2,tomli_w")
    words = call["command"].split(" -c ")[0]
    assert words == 'install "jinja2>=3.0" "tomli-w>=1.0"'
    assert "numpy==" in call["constraints"]
    assert "torch==" in call["constraints"]
    for kept in ("torch", "numpy", "Pillow", "gradio", "transformers"):
        assert kept not in words


def test_the_package_is_installed_without_its_requirements(tmp_path: Path) -> None:
    (call,) = install(tmp_path, "siren_ext")
    assert call["command"] == f'install --no-deps "{ROOT}"'


def test_flags(webui: Path) -> None:
    parser = argparse.ArgumentParser()
    preload = load("preload", EXTENSION / "preload.py")
    preload.preload(parser)
    given = parser.parse_args(["--siren-allow-folders", "--siren-coater-dir", "x"])
    assert given.siren_allow_folders
    assert given.siren_coater_dir == "x"


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("flags", "allowed"),
    [
        ({}, True),
        ({"listen": True}, False),
        ({"share": True}, False),
        ({"hide_ui_dir_config": True}, False),
        ({"listen": True, "siren_allow_folders": True}, True),
    ],
)
def test_folders_only_where_nobody_else_comes(
    webui: Path, flags: dict[str, bool], allowed: bool
) -> None:
    settings = importlib.import_module("siren_a1111.settings")
    shared = importlib.import_module("modules.shared")
    shared.cmd_opts = argparse.Namespace(**flags)
    desk = settings.make_desk()
    assert desk.limits.folders is allowed
    assert desk.shelf.folder == webui / "models" / "siren"
    assert desk.outputs == webui / "outputs" / "siren"


def order(**changes: object) -> Order:
    values = {
        "checkpoint": "tiny.safetensors [0123456789]", "loras": (), "prompts": ("a dog", "a cat"),
        "count": 3, "seed": 40, "steps": 2, "guidance": 7.0, "size": 64,
    }  # fmt: skip
    return Order(**{**values, **changes})


def test_generation_through_the_web_ui(webui: Path) -> None:
    host = importlib.import_module("siren_a1111.host").WebuiHost()
    processing = importlib.import_module("modules.processing")
    shared = importlib.import_module("modules.shared")
    assert host.checkpoints()[0].startswith("tiny")
    assert host.loras() == ["guilty", "innocent", "odd<name"]
    with_lora = order(loras=(("innocent", 0.8),))
    facts = host.generate(with_lora, webui / "suspect", NULL)
    host.generate(order(), webui / "reference", NULL)
    calls = processing.CALLS
    assert [call["seed"] for call in calls] == [40, 41, 42] * 2
    assert calls[0]["prompt"] == "a dog <lora:innocent:0.8>"
    assert [call["prompt"] for call in calls[3:]] == ["a dog", "a cat", "a dog"]
    assert all(call["locked"] and call["closed"] and call["job"] == "siren" for call in calls)
    assert (shared.state.begun, shared.state.ended) == (2, 2)
    files = sorted((webui / "suspect").iterdir())
    assert [path.name for path in files] == ["00000.png", "00001.png", "00002.png"]
    with Image.open(files[0]) as image:
        assert (image.size, image.mode) == ((64, 64), "RGB")
    assert facts["prompts"] == ["a dog", "a cat"]
    assert facts["loras"] == [{"name": "innocent", "weight": 0.8, "hash": ""}]


def test_another_checkpoint_is_asked_for(webui: Path) -> None:
    host = importlib.import_module("siren_a1111.host").WebuiHost()
    shared = importlib.import_module("modules.shared")
    other = "other.safetensors [0123456789]"
    host.generate(order(checkpoint=other, count=2), webui / "x", NULL)
    assert shared.opts.sd_model_checkpoint == other


def test_both_ways_to_stop(webui: Path) -> None:
    host = importlib.import_module("siren_a1111.host").WebuiHost()
    processing = importlib.import_module("modules.processing")
    shared = importlib.import_module("modules.shared")

    class Interrupt(Progress):
        def advance(self, units: int = 1, note: str = "") -> None:
            shared.state.interrupted = True

    with pytest.raises(Cancelled):
        host.generate(order(count=9), webui / "a", Interrupt())
    assert len(processing.CALLS) == 2
    with pytest.raises(Cancelled):
        host.generate(order(count=9), webui / "b", Progress(lambda: True))
    assert len(processing.CALLS) == 3
    assert shared.state.ended == 2


def test_a_name_that_would_break_the_prompt(webui: Path) -> None:
    host = importlib.import_module("siren_a1111.host").WebuiHost()
    with pytest.raises(AdapterError, match="odd<name"):
        host.generate(order(loras=(("odd<name", 1.0),)), webui / "x", NULL)
