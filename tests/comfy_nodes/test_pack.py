"""The files of the node pack, and what loading them costs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.comfy_server import PACK, ROOT
from support.comfy_workflows import EXAMPLES, example
from support.fake_host import FakeHost, nodes_of_pack
from support.processes import with_support

LANGUAGES = ("en", "zh", "ja")


def test_import_loads_nothing() -> None:
    heavy = ("torch", "numpy", "siren_ext")
    code = f"import sys, comfy_nodes; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_loading_all_nodes_pulls_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys, time; import pytest, torch; from support import fake_host\n"
        "from pathlib import Path\n"
        "fake_host.PARTS, parts = (), fake_host.PARTS\n"
        "try: fake_host.install(pytest.MonkeyPatch(), Path(sys.argv[1]))\n"
        "except KeyError: pass\n"
        "import importlib; start = time.process_time()\n"
        "for part in parts: importlib.import_module('comfy_nodes' + part)\n"
        "took = time.process_time() - start\n"
        "heavy = ('diffusers', 'transformers', 'peft', 'scipy', 'matplotlib', 'jinja2')\n"
        "print([name for name in heavy if name in sys.modules], took)"
    )
    found = []
    for attempt in range(3):
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            [*command, str(tmp_path / str(attempt))],
            capture_output=True,
            text=True,
            check=True,
            env=with_support(),
        )
        heavy, took = done.stdout.rsplit(maxsplit=1)
        assert heavy == "[]"
        found.append(float(took))
    assert min(found) < 0.1


def test_requirements_touch_no_shared_package() -> None:
    lines = (PACK / "requirements.txt").read_text().split()
    names = {re.split(r"[\[<>=~!;]", line)[0].casefold() for line in lines}
    assert not names & {"torch", "torchvision", "numpy", "transformers", "opencv-python", "pillow"}
    assert not any("==" in line for line in lines)


def test_project_file_is_what_the_registry_reads() -> None:
    text = (PACK / "pyproject.toml").read_text()
    assert re.search(r'^name = "[a-z-]+"$', text, re.MULTILINE)
    assert "comfyui" not in re.findall(r'^name = "(.*)"', text, re.MULTILINE)[0].casefold()
    assert "[tool.comfy]" in text
    assert 'license = { file = "LICENSE" }' in text
    assert (PACK / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_every_node_has_a_page_and_words_in_each_language(host: FakeHost) -> None:
    found = nodes_of_pack()
    assert {path.stem for path in (PACK / "web" / "docs").glob("*.md")} == set(found)
    for name in found:
        pages = {path.stem for path in (PACK / "web" / "docs" / name).glob("*.md")}
        assert pages == set(LANGUAGES) - {"en"}, name
    for language in LANGUAGES:
        words = json.loads((PACK / "locales" / language / "nodeDefs.json").read_text("utf-8"))
        assert set(words) == set(found)
        for name, node in found.items():
            schema = node.define_schema()
            assert set(words[name]["inputs"]) == {part.id for part in schema.inputs}, name
            assert words[name]["display_name"]
            assert words[name]["description"]
            for entry in words[name]["inputs"].values():
                assert entry["name"]
                assert entry["tooltip"]
        if language == "en":
            for name, node in found.items():
                schema = node.define_schema()
                assert words[name]["display_name"] == schema.options["display_name"]
                for part in schema.inputs:
                    assert words[name]["inputs"][part.id]["tooltip"] == part.options["tooltip"]


def test_float_widgets_say_how_to_round(host: FakeHost) -> None:
    for node in nodes_of_pack().values():
        for part in node.define_schema().inputs:
            assert part.options["tooltip"].endswith("."), part.id
            if type(part).__qualname__ == "Input" and isinstance(
                part.options.get("default"), float
            ):
                assert {"step", "round", "min", "max"} <= set(part.options), part.id


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_fit_the_nodes(host: FakeHost, name: str) -> None:
    found = nodes_of_pack()
    ours = [node for node in example(name)["nodes"] if node["type"].startswith("Siren")]
    assert ours
    for node in ours:
        schema = found[node["type"]].define_schema()
        assert [entry["name"] for entry in node["inputs"]] == [part.id for part in schema.inputs]
        shown = [part.options["display_name"] for part in schema.outputs]
        assert [entry["name"] for entry in node["outputs"]] == shown


def test_artists_words_find_nodes(host: FakeHost) -> None:
    found = {
        name: node.define_schema().options.get("search_aliases", [])
        for name, node in nodes_of_pack().items()
    }
    wanted = {
        "watermark": {"SirenLoadCoater", "SirenCoatImage", "SirenSaveCoatedImage"},
        "protect image": {"SirenLoadCoater", "SirenCoatImage", "SirenSaveCoatedImage"},
        "glaze": {"SirenLoadCoater", "SirenCoatImage", "SirenCoatFolder", "SirenTrainCoater"},
        "cloak": {"SirenCoatImage"},
        "copyright": {"SirenKSVerify", "SirenKeyedVerify", "SirenCommit"},
        "verify lora": {"SirenScoreCoating", "SirenKSVerify", "SirenKeyedVerify"},
    }
    for word, names in wanted.items():
        assert names <= {name for name, words in found.items() if word in words}, word
